"""Training a refiner: the objective, resuming, and a rehearsal of a whole recipe on a few real voices."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from unmingle.model.config import ModelConfig
from unmingle.model.network.export_refiner import export_refiner
from unmingle.model.network.trunk import make_network
from unmingle.model.refining.refiner import OnnxRefiner
from unmingle.training import arguments, checkpoint, recipe
from unmingle.training.errors import TrainingError
from unmingle.training.mixtures import band_sums
from unmingle.training.refining.examples import Examples
from unmingle.training.refining.losses import error_energies, snr_db, thresholded_snr
from unmingle.training.refining.refine_config import RefineConfig
from unmingle.training.refining.run import State, begin, load_weights, take_step

ROOT = Path(__file__).parents[3]
TINY = ModelConfig(
    trunk="dual_path",
    layers=1,
    hidden=8,
    channels=8,
    embedding_dim=6,
    frames_per_step=4,
    patch_bands=10,
    background_sharpness=5.0,
)
FIELDS = {
    "steps": 4,
    "batch": 2,
    "frames": 40,
    "threads": 1,
    "rooms": 1,
    "validation_batches": 1,
    "validations": 2,
    "learning_rate": 0.01,
    "mixtures": {"num_sources": [0.0, 1.0], "pieces": 1},
    "conditions": {"noise_chance": 0.5},
}

RECIPE = """
[[stage]]
kind = "trunk"
name = "first"
[stage.options]
trunk = "dual_path"
layers = 1
hidden = 8
channels = 8
embedding_dim = 6
frames_per_step = 4
patch_bands = 10
objective = "whitened_kmeans+background"
background_sharpness = 5
frames = 40
batch = 4
steps = 2
num_sources = [0, 1]
validation_mixtures = 2
validations = 1
device = "cpu"
threads = 1

[[stage]]
kind = "mean"
name = "whole"
of = ["first", "first"]

[[stage]]
kind = "refiner"
name = "refiner"
[stage.options]
trunk = "whole"
listener = "first"
steps = 2
batch = 2
frames = 40
threads = 1
validation_batches = 1
[stage.options.mixtures]
num_sources = [0, 1]
pieces = 1

[[stage]]
kind = "refiner"
name = "longer"
[stage.options]
trunk = "whole"
listener = "first"
init = "refiner"
steps = 2
batch = 2
frames = 40
threads = 1
validation_batches = 1
[stage.options.mixtures]
num_sources = [0, 1]
pieces = 1
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, speech_folder: Path) -> RefineConfig:
    """A run of four steps behind a network that was never trained."""
    path = tmp_path_factory.mktemp("trunk") / "trunk.pt"
    torch.manual_seed(1)
    checkpoint.save_network(path, make_network(TINY))
    return RefineConfig.from_fields({**FIELDS, "data": str(speech_folder), "trunk": str(path), "listener": str(path)})


def random_examples(items: int = 4, sources: int = 2) -> tuple[Examples, torch.Tensor, torch.Tensor]:
    """Examples whose true sources are random spectra, these, and the mixture's spectrum."""
    rng = torch.Generator().manual_seed(3)
    shape = (items, sources + 1, 12, TINY.bins)
    separate = torch.complex(torch.randn(shape, generator=rng), torch.randn(shape, generator=rng))
    heard = separate.sum(1)

    def bands(x: torch.Tensor) -> torch.Tensor:
        return band_sums(x, TINY)

    power = bands(heard.abs().square())
    nothing = torch.zeros_like(power)
    shares = torch.rand((items, sources, 12, TINY.bands), generator=rng).softmax(1) * 0.8
    products = bands((separate * heard.unsqueeze(1).conj()).real)
    examples = Examples(
        nothing, nothing, shares, torch.zeros(items, sources, 6), bands(separate.abs().square()), products, power
    )
    return examples, separate, heard


def test_the_error_is_that_of_masked_spectra() -> None:
    examples, separate, heard = random_examples()
    everything = torch.cat((examples.shares, 1 - examples.shares.sum(1, keepdim=True)), 1)
    low = TINY.full_resolution_bins
    spread = torch.cat((everything[..., :low], everything[..., low:].repeat_interleave(TINY.high_group, -1)), -1)
    wanted = band_sums((separate - spread * heard.unsqueeze(1)).abs().square(), TINY)
    torch.testing.assert_close(error_energies(examples.shares, examples), wanted, rtol=1e-3, atol=1e-3)


def test_the_loss_falls_towards_the_best_masks_and_sources_may_swap() -> None:
    examples, _, _ = random_examples()
    best = (examples.products / examples.power.unsqueeze(1))[:, :-1]
    assert thresholded_snr(best, examples, 2) < thresholded_snr(examples.shares, examples, 2)
    order = [1, 0]
    swapped = dataclasses.replace(
        examples, energies=examples.energies[:, [*order, 2]], products=examples.products[:, [*order, 2]]
    )
    torch.testing.assert_close(
        snr_db(examples.shares[:, order], swapped, 2)[:, order], snr_db(examples.shares, examples, 2)[:, :2]
    )
    assert snr_db(examples.shares, examples, 2).shape == (2, 3)


def test_examples_are_what_the_separator_would_hear(config: RefineConfig, tmp_path: Path) -> None:
    state, validation = begin(config, tmp_path / "cache")
    for examples in (state.source.draw(), *validation):
        together = examples.shares.sum(1) + examples.behind
        torch.testing.assert_close(together, torch.ones_like(together))
        # Each mask is the one that fits its source: swapping would let less of the sources through.
        loud = examples.power.sqrt().unsqueeze(1) * examples.energies[:, :-1].sqrt()
        as_is = (examples.shares * loud).sum()
        assert as_is >= (examples.shares.flip(1) * loud).sum()


def test_a_resumed_run_goes_on_exactly(config: RefineConfig, tmp_path: Path) -> None:
    whole, _ = begin(config, tmp_path / "cache")
    for step in range(4):
        if step == 2:
            whole.save(tmp_path / "checkpoint.pt")
        take_step(config, whole, step / 4)
    resumed, _ = begin(config, tmp_path / "cache")
    resumed.restore(tmp_path / "checkpoint.pt")
    assert resumed.step == 2
    for step in (2, 3):
        take_step(config, resumed, step / 4)
    assert_same(whole, resumed)


def assert_same(one: State, other: State) -> None:
    """The same weights, also averaged, and they moved."""
    for name, value in one.average.state_dict().items():
        torch.testing.assert_close(other.average.state_dict()[name], value, rtol=0, atol=0, msg=name)
    for name, value in one.refiner.state_dict().items():
        torch.testing.assert_close(other.refiner.state_dict()[name], value, rtol=0, atol=0, msg=name)
    assert one.refiner.head.weight.abs().max() > 0


def test_a_checkpoint_of_something_else_is_refused(config: RefineConfig, tmp_path: Path) -> None:
    state, _ = begin(config, tmp_path / "cache")
    torch.save({"refiner": {}}, tmp_path / "other.pt")
    with pytest.raises(TrainingError, match="cannot be gone on from"):
        state.restore(tmp_path / "other.pt")


@pytest.mark.slow
def test_a_recipe_trains_trunk_and_refiner(tmp_path: Path, speech_folder: Path, capsys: pytest.CaptureFixture) -> None:
    file = tmp_path / "tiny.toml"
    file.write_text(RECIPE)
    command = [str(file), "--data", str(speech_folder), "--runs", str(tmp_path / "runs")]
    assert recipe.main(command) == 0
    weights = tmp_path / "runs" / "longer" / "refiner.pt"
    refiner = load_weights(weights)
    history = (weights.parent / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in history] == [1, 2]
    export_refiner(refiner, tmp_path / "refiner.onnx", ["0123456789ab"])
    shares = np.full((3, 8, refiner.config.bands), 1 / 3, np.float32)
    refined = OnnxRefiner(tmp_path / "refiner.onnx", "cpu", threads=1).refine(
        np.zeros((8, refiner.config.bands), np.float32), None, shares, np.zeros((3, 6), np.float32)
    )
    np.testing.assert_allclose(refined.sum(0), 1.0, atol=1e-5)
    capsys.readouterr()
    assert recipe.main(command) == 0  # everything is done: nothing is trained again
    assert "going on with" in capsys.readouterr().out
    assert len((weights.parent / "history.jsonl").read_text().splitlines()) == 2


def test_the_recipe_of_the_shipped_model_can_be_run() -> None:
    runs = Path("no-runs-yet")
    stages = recipe.read(ROOT / "training" / "recipes" / "unmingle-6.toml")
    assert [stage.kind for stage in stages] == ["trunk"] * 4 + ["mean", "refiner", "refiner"]
    first = arguments.parse(recipe.trunk_arguments(stages[0], "CORPUS", runs)).given
    assert Path(first["init"]).is_file()
    config = recipe.refiner_config(stages[-2], "CORPUS", runs)
    assert Path(config.trunk).is_file()
    assert Path(config.listener).is_file()
    assert recipe.refiner_config(stages[-1], "CORPUS", runs).init == str(runs / "refiner-0" / "refiner.pt")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "is no recipe"),
        ("[[stage]]\nkind = 'trunk'\n", "is no recipe"),
        ("[[stage]]\nkind = 'polish'\nname = 'a'\n", "is of kind 'polish'; expected trunk, mean, refiner"),
        ("[[stage]]\nkind = 'refiner'\nname = 'a'\n[stage.options]\nsteps = 2\n", "configuration of a refiner's run"),
    ],
)
def test_what_is_no_recipe_is_refused(tmp_path: Path, text: str, wanted: str, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "bad.toml").write_text(text)
    assert recipe.main([str(tmp_path / "bad.toml"), "--data", str(tmp_path), "--runs", str(tmp_path / "runs")]) == 1
    assert wanted in capsys.readouterr().err
