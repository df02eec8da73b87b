"""Validation takes the path of users, and leaves the network and its randomness alone."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch

from tests.training.conftest import ROOT
from unmingle.model.config import ModelConfig
from unmingle.model.embedding.embedder import OnnxEmbedder
from unmingle.model.network.export import export
from unmingle.model.network.trunk import make_network
from unmingle.training.corpus import load_corpus
from unmingle.training.errors import TrainingError
from unmingle.training.recordings import Recording
from unmingle.training.validation import TorchEmbedder, Validation, draw_validation, read_validation

CONFIG = ModelConfig(hidden=8, layers=2, embedding_dim=4, frames_per_step=4)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return make_network(CONFIG, dropout=0.5)


@pytest.mark.parametrize("frames", [0, 1, 7, 8])
def test_the_network_embeds_as_its_exported_file_does(network, tmp_path, frames):
    export(network, tmp_path / "m.onnx")
    features = np.random.default_rng(0).normal(size=(2, frames, CONFIG.bands)).astype(np.float32)
    ours = TorchEmbedder(network).embed(features)
    theirs = OnnxEmbedder(tmp_path / "m.onnx", "cpu").embed(features)
    assert ours.shape == theirs.shape == (2, frames, CONFIG.bands, CONFIG.embedding_dim)
    assert np.abs(ours - theirs).max(initial=0.0) < 1e-4


def test_validating_twice_gives_the_same_number_and_changes_nothing(network, speech):
    network.train()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    validation = draw_validation(speech, 2)
    first, again = (validation.measure(network) for _ in range(2))
    assert first == again == draw_validation(speech, 2).measure(network)
    assert np.isfinite(first.mean_db)
    assert network.training
    assert torch.equal(torch.get_rng_state(), before)


RATE = 16_000


@pytest.fixture
def pauses(tmp_path):
    """Two speakers who are silent three quarters of the time."""
    rng = np.random.default_rng(0)
    for name in "ab":
        signal = np.zeros(32 * RATE)
        signal[: 8 * RATE] = rng.normal(0.0, 0.1, 8 * RATE)
        soundfile.write(tmp_path / f"{name}.wav", signal, RATE)
    return load_corpus([Recording(tmp_path / f"{name}.wav", name, "valid") for name in "ab"], RATE)


def test_silent_pieces_are_never_measured(network, pauses):
    validation = draw_validation(pauses, 6)
    assert len(validation.mixtures) == 6
    assert all(np.square(sources).mean(-1).min() > 0 for sources, _ in validation.mixtures)
    assert np.isfinite(validation.measure(network).mean_db)


def test_a_network_of_nan_is_bad_and_not_nan(speech):
    broken = make_network(CONFIG)
    with torch.no_grad():
        for weights in broken.parameters():
            weights.fill_(float("nan"))
    assert np.isfinite(draw_validation(speech, 2).measure(broken).mean_db)


def test_a_silent_source_of_ones_own_gives_no_minus_infinity(network):
    sources = np.zeros((2, RATE))
    sources[0] = np.random.default_rng(0).normal(0.0, 0.1, RATE)
    assert np.isfinite(Validation([(sources, RATE)]).measure(network).mean_db)


def test_two_and_three_speakers_are_measured_with_a_standard_error(network, speech):
    found = draw_validation(speech, 4, most_sources=3).measure(network)
    assert set(found.by_number_db) == {2, 3}
    assert found.standard_error_db > 0
    assert "+-" in str(found)


def test_what_chooses_does_not_judge():
    choosing, judging = read_validation(ROOT / "examples" / "list.csv")
    rows = len((ROOT / "examples" / "list.csv").read_text().splitlines()) - 1
    assert len(choosing.mixtures) + len(judging.mixtures) == rows
    assert not any(np.array_equal(a, b) for a, _ in choosing.mixtures for b, _ in judging.mixtures)


def test_a_list_that_is_none_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="--validation-list: The list"):
        read_validation(tmp_path / "none.csv")
