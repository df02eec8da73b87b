"""A ModelConfig survives its travels, and one that we would misread is refused."""

from __future__ import annotations

import itertools
import json

import pytest

from unmingle.model.config import ModelConfig
from unmingle.model.errors import ModelError, UnmingleError


def test_round_trip():
    config = ModelConfig(name="a name", hidden=77, embedding_dim=5, mask_sharpness=2.5)
    assert ModelConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize("change", [{"format_version": 999}, {"colour": "blue"}])
def test_what_is_not_known_is_refused(change):
    fields = json.loads(ModelConfig().to_json()) | change
    with pytest.raises(ModelError, match=r"999|colour"):
        ModelConfig.from_json(json.dumps(fields))


@pytest.mark.parametrize("text", ["", "not JSON", "[1]", "{}", "7"])
def test_what_is_not_a_config_is_refused(text):
    with pytest.raises(ModelError, match="expected"):
        ModelConfig.from_json(text)


@pytest.mark.parametrize(
    "fields", [{"hop": 0}, {"hop": 100}, {"window": 512, "hop": 512}, {"embedding_dim": 0}, {"frames_per_step": -1}]
)
def test_what_cannot_work_is_refused(fields):
    with pytest.raises(UnmingleError, match=str(next(iter(fields)))):
        ModelConfig(**fields)


@pytest.mark.parametrize("high_group", [1, 2, 4, 8])
@pytest.mark.parametrize("full_resolution_hz", [500.0, 4000.0, 8000.0, 20_000.0])
def test_bands_divide_the_bins(high_group, full_resolution_hz):
    config = ModelConfig(high_group=high_group, full_resolution_hz=full_resolution_hz)
    starts = (*config.band_starts, config.bins)
    widths = [end - start for start, end in itertools.pairwise(starts)]
    assert len(config.band_starts) == config.bands
    assert starts[0] == 0
    assert set(widths) <= {1, high_group}
