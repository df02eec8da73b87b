"""The model that comes with the project is fit to ship, and separates voices it has never heard."""

from __future__ import annotations

import numpy as np
import pytest

from model import Separator, metrics
from model.embedder import BUNDLED_MODEL


@pytest.fixture(scope="module")
def separator():
    return Separator.load(device="cpu")


def test_it_is_small_enough_for_a_repository():
    assert BUNDLED_MODEL.stat().st_size < 32_000_000


def test_it_has_a_name_and_hears_16_khz(separator):
    config = separator.embedder.config
    assert config.name != "unnamed"
    assert config.sample_rate == 16_000


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
