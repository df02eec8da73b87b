"""A checkpoint is whole or not there, and only its own network takes it."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from unmingle.model.config import ModelConfig
from unmingle.model.network.trunk import make_network
from unmingle.training import checkpoint
from unmingle.training.checkpoint import State
from unmingle.training.errors import TrainingError
from unmingle.training.optimisation import GradientClipper
from unmingle.training.train_config import TrainConfig

NETWORK = ModelConfig(hidden=8, layers=1, embedding_dim=4)
CONFIG = TrainConfig(network=NETWORK)


def a_state(seed, network=NETWORK):
    torch.manual_seed(seed)
    made = make_network(network)
    return State(
        made,
        torch.optim.Adam(made.parameters(), 1e-2),
        GradientClipper(10),
        torch.Generator().manual_seed(seed),
        torch.amp.GradScaler("cpu", enabled=False),
    )


def take_a_step(state):
    features = torch.randn(1, 4, NETWORK.bands, generator=state.generator)
    loss = (state.network(features) * torch.rand(NETWORK.embedding_dim)).sum()
    state.optimiser.zero_grad()
    loss.backward()
    state.clipper.clip(state.network.parameters())
    state.optimiser.step()
    state.step += 1
    return float(loss.detach())


def test_a_restored_state_goes_on_as_the_saved_one_did(tmp_path):
    state = a_state(1)
    take_a_step(state)
    state.best_db, state.elapsed_s, state.validations = 3.5, 12.0, 2
    checkpoint.save(tmp_path / "c.pt", state, CONFIG)
    expected = [take_a_step(state) for _ in range(3)]
    restored = a_state(2)
    checkpoint.restore(tmp_path / "c.pt", restored, CONFIG)
    assert (restored.step, restored.best_db, restored.elapsed_s, restored.validations) == (1, 3.5, 12.0, 2)
    assert [take_a_step(restored) for _ in range(3)] == expected
    assert restored.clipper.norms == state.clipper.norms


def test_saving_replaces_the_old_checkpoint_whole_and_leaves_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "c.pt"
    state = a_state(1)
    checkpoint.save(path, state, CONFIG)
    before = path.read_bytes()

    def full_disk(_):
        raise OSError("No space left on device")

    take_a_step(state)
    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full_disk)
        with pytest.raises(OSError, match="No space"):
            checkpoint.save(path, state, CONFIG)
    assert path.read_bytes() == before
    checkpoint.save(path, state, CONFIG)
    assert [p.name for p in tmp_path.iterdir()] == ["c.pt"]
    assert path.read_bytes() != before


def test_weights_fit_only_a_network_like_their_own(tmp_path):
    checkpoint.save_network(tmp_path / "w.pt", a_state(1).network)
    renamed = make_network(dataclasses.replace(NETWORK, name="other", mask_sharpness=7.0))
    checkpoint.load_weights(tmp_path / "w.pt", renamed)
    assert checkpoint.read_network_config(tmp_path / "w.pt") == NETWORK
    with pytest.raises(TrainingError, match=r"hidden 8 \(wanted 9\)"):
        checkpoint.load_weights(tmp_path / "w.pt", make_network(dataclasses.replace(NETWORK, hidden=9)))


def test_the_mean_of_several_runs(tmp_path):
    networks = [a_state(seed).network for seed in (1, 2)]
    paths = [tmp_path / f"{n}.pt" for n in (1, 2)]
    for path, network in zip(paths, networks, strict=True):
        checkpoint.save_network(path, network)
    mean = make_network(NETWORK)
    checkpoint.load_mean_weights(paths, mean)
    for key, value in mean.state_dict().items():
        expected = (networks[0].state_dict()[key] + networks[1].state_dict()[key]) / 2
        torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("content", [None, b"", b"nonsense", {"some": "dictionary"}, "cut"])
def test_what_is_not_a_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "c.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        torch.save(content, path)
    elif content == "cut":
        checkpoint.save(path, a_state(1), CONFIG)
        path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(TrainingError, match=r"c\.pt"):
        checkpoint.restore(path, a_state(1), CONFIG)


def test_weights_alone_are_not_enough_to_go_on(tmp_path):
    checkpoint.save_network(tmp_path / "w.pt", a_state(1).network)
    with pytest.raises(TrainingError, match="cannot be gone on from"):
        checkpoint.restore(tmp_path / "w.pt", a_state(1), CONFIG)
