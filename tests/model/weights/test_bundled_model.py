"""The model that comes with the project is fit to ship, and separates voices that it has never heard."""

from __future__ import annotations

import numpy as np
import pytest

from unmingle import Separator
from unmingle.model import metrics
from unmingle.model.clustering.counting import counts_up_to
from unmingle.model.embedding.embedder import OnnxEmbedder
from unmingle.model.weights.bundled import WEIGHTS

pytestmark = pytest.mark.slow

LIMIT_BYTES = 32_000_000


@pytest.fixture(scope="module")
def separator():
    return Separator.load(device="cpu")


def test_it_is_small_enough_for_a_repository():
    sizes = {file.name: file.stat().st_size for file in WEIGHTS.glob("*.onnx")}
    assert set(sizes) == {"unmingle.onnx", "unmingle-float16.onnx"}
    assert sum(sizes.values()) < LIMIT_BYTES


def test_it_has_a_name_hears_16_khz_and_can_count(separator):
    config = separator.embedder.config
    assert config.name != "unnamed"
    assert config.sample_rate == 16_000
    assert counts_up_to(config.count_weights) == 8


def test_for_gpus_it_is_the_same_model(separator):
    half = OnnxEmbedder(WEIGHTS / "unmingle-float16.onnx", "cpu")
    assert half.precision == "float16"
    assert half.config == separator.embedder.config
    heard = np.random.default_rng(0).normal(-2.0, 1.5, (1, 200, half.config.bands)).astype(np.float32)
    cosine = (half.embed(heard) * separator.embedder.embed(heard)).sum(-1)
    assert cosine.mean() > 0.999


@pytest.mark.parametrize("name,at_least_db", [("two_speakers", 4.0), ("three_speakers", 1.0)])
def test_it_separates_real_speech(separator, example, name, at_least_db):
    case = example(name)
    stems = separator.separate(case.mixture, 16_000, len(case.sources)).stems
    assert metrics.si_sdr_improvement_db(stems, case.sources, case.mixture).mean() > at_least_db


def test_what_is_embedded_beside_changes_nothing_bit_for_bit(separator):
    """Or the stems of one request would depend on those that happen to be there, too."""
    rng = np.random.default_rng(0)
    shape = (200, separator.embedder.config.bands)
    heard = np.stack([rng.normal(-2.0, scale, shape) for scale in (1.5, 0.0, 10.0)]).astype(np.float32)
    together = separator.embedder.embed(heard)
    for index, found in enumerate(together):
        assert separator.embedder.embed(heard[index : index + 1])[0].tobytes() == found.tobytes()
