"""The models that come with the project are fit to ship, and separate voices they have never heard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model import Separator, metrics
from model.bundled import DEFAULT_SIZE, SIZES, WEIGHTS, bundled_model, model_file

LIMIT_BYTES = 32_000_000


@pytest.fixture(scope="module", params=SIZES)
def separator(request):
    return Separator.load(request.param, device="cpu")


def test_they_are_small_enough_for_a_repository():
    files = list(WEIGHTS.glob("*.onnx"))
    assert {f"{size}.onnx" for size in SIZES} <= {file.name for file in files}
    assert all(file.stat().st_size < LIMIT_BYTES for file in files)


def test_a_size_or_a_file_says_which_model_is_meant(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert [model_file(size, "cpu") for size in SIZES] == [bundled_model(size) for size in SIZES]
    assert model_file(None, "cpu") == bundled_model(DEFAULT_SIZE)
    assert model_file(Path("mine.onnx"), "cpu") == Path("mine.onnx")


def test_it_has_a_name_and_hears_16_khz(separator):
    config = separator.embedder.config
    assert config.name != "unnamed"
    assert config.sample_rate == 16_000


def test_they_have_names_and_bytes_of_their_own():
    found = [Separator.load(size, device="cpu").embedder for size in SIZES]
    assert len({embedder.config.name for embedder in found}) == len({e.model_hash for e in found}) == len(SIZES)


@pytest.mark.parametrize("name,at_least_db", [("two_speakers", 4.0), ("three_speakers", 1.0)])
def test_it_separates_real_speech(separator, example, name, at_least_db):
    case = example(name)
    stems = separator.separate(case.mixture, 16_000, len(case.sources)).stems
    assert metrics.si_sdr_improvement_db(stems, case.sources, case.mixture).mean() > at_least_db


def test_what_is_embedded_beside_changes_nothing(separator):
    """Or the stems of one request would depend on those that happen to be there, too."""
    rng = np.random.default_rng(0)
    shape = (200, separator.embedder.config.bands)
    heard = np.stack([rng.normal(-2.0, scale, shape) for scale in (1.5, 0.0, 10.0)]).astype(np.float32)
    together = separator.embedder.embed(heard)
    for index, found in enumerate(together):
        assert np.abs(separator.embedder.embed(heard[index : index + 1])[0] - found).max() < 1e-5
