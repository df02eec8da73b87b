"""One sitting of a refiner's training: corpus -> steps -> weights, with checkpoints from which it goes on exactly."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from unmingle.model.config import ModelConfig
from unmingle.model.network.refiner import Refiner
from unmingle.model.network.trunk import DualPathNet, EmbeddingNet, make_network
from unmingle.model.refining.config import RefinerConfig
from unmingle.training import checkpoint, machine
from unmingle.training.corpus import read_corpus
from unmingle.training.errors import TrainingError
from unmingle.training.optimisation import GradientClipper, learning_rate
from unmingle.training.refining.drawing import ExampleSource
from unmingle.training.refining.examples import Examples
from unmingle.training.refining.losses import snr_db, thresholded_snr
from unmingle.training.refining.refine_config import RefineConfig

CHECKPOINT, WEIGHTS, CONFIG, HISTORY = "checkpoint.pt", "refiner.pt", "config.json", "history.jsonl"
CHECKPOINT_EVERY_S = 120.0
VALIDATION_SEED = 20160325


@dataclasses.dataclass
class State:
    """Everything of a run that changes from step to step; `average` is what comes of it."""

    refiner: Refiner
    average: AveragedModel
    optimiser: torch.optim.Optimizer
    clipper: GradientClipper
    source: ExampleSource
    step: int = 0
    used_s: float = 0.0
    validations: int = 0

    def save(self, path: Path) -> None:
        """Write all that `restore` needs; the file appears whole or not at all."""
        checkpoint.write(
            path,
            {
                "refiner": self.refiner.state_dict(),
                "average": self.average.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "gradient_norms": list(self.clipper.norms),
                "source": self.source.state(),
                "step": self.step,
                "used_s": self.used_s,
                "validations": self.validations,
            },
        )

    def restore(self, path: Path) -> None:
        """Raises: TrainingError: there is no such checkpoint, or it is another run's."""
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
            self.refiner.load_state_dict(saved["refiner"])
            self.average.load_state_dict(saved["average"])
            self.optimiser.load_state_dict(saved["optimiser"])
            self.clipper.norms.extend(saved["gradient_norms"])
            self.source.restore(saved["source"])
            self.step, self.used_s, self.validations = saved["step"], saved["used_s"], saved["validations"]
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            raise TrainingError(f"The checkpoint {path} cannot be gone on from: {error}.") from error


def train(folder: Path, config: RefineConfig, resume: bool = False) -> Path:
    """Train until the budget is used up; the moving average of the weights is written to the folder.

    Returns:
        The file of the weights.

    Raises:
        TrainingError: the corpus, the trunk or the checkpoint is not usable.
    """
    state, validation = begin(config, Path(config.cache) if config.cache else folder.parent / ".decoded")
    if resume:
        state.restore(folder / CHECKPOINT)
        print(f"going on with {folder} after step {state.step}", flush=True)
    else:
        folder.mkdir(parents=True)
        (folder / CONFIG).write_text(config.to_json())
        print(f"step 0: {_validated(state.refiner, validation, config)}", flush=True)
    _run_steps(folder, config, state, validation)
    state.save(folder / CHECKPOINT)
    save_weights(folder / WEIGHTS, state.average.module)
    return folder / WEIGHTS


def begin(config: RefineConfig, cache: Path) -> tuple[State, list[Examples]]:
    """A run before its first step, and the mixtures of held-out speakers that it is measured on.

    Args:
        cache: folder for decoded recordings.

    Raises:
        TrainingError: the corpus, the trunk or the listener is not usable.
    """
    machine.set_threads(config.threads)
    device = machine.choose_device(config.device)
    torch.manual_seed(config.seed)
    trunk = _frozen(Path(config.trunk), mask_sharpness=config.mask_sharpness).to(device)
    refiner = new_refiner(config, trunk.config)
    if config.init:
        refiner.load_state_dict(load_weights(Path(config.init)).state_dict())
    refiner = refiner.to(device)
    rate, data = trunk.config.sample_rate, Path(config.data)
    corpus = read_corpus(data, "train", rate, cache).to(device)
    held_out = read_corpus(data, "valid", rate, cache, speech_only=True).to(device)
    source = ExampleSource(config, corpus, trunk, corpus, cache, config.seed)
    judge = ExampleSource(config.of_speech(), held_out, trunk, corpus, cache, VALIDATION_SEED)
    validation = [judge.draw() for _ in range(config.validation_batches)]
    state = State(
        refiner,
        AveragedModel(refiner, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay)),  # type: ignore[no-untyped-call]
        torch.optim.Adam([p for p in refiner.parameters() if p.requires_grad], config.learning_rate),
        GradientClipper(config.clip_percentile),
        source,
    )
    return state, validation


def _run_steps(folder: Path, config: RefineConfig, state: State, validation: list[Examples]) -> None:
    began, used_before, saved_at = time.monotonic(), state.used_s, time.monotonic()
    with (folder / HISTORY).open("a") as history:
        while (progress := state.step / config.steps if config.steps else state.used_s / (60 * config.minutes)) < 1:
            record = take_step(config, state, progress)
            state.used_s = used_before + time.monotonic() - began
            history.write(json.dumps({"step": state.step, "used_s": round(state.used_s, 1), **record}) + "\n")
            history.flush()
            if int(progress * config.validations) > state.validations:
                state.validations = int(progress * config.validations)
                found = _validated(state.average.module, validation, config)
                print(f"step {state.step}, {state.used_s:.0f} s: {found}", flush=True)
            if time.monotonic() - saved_at > CHECKPOINT_EVERY_S:
                state.save(folder / CHECKPOINT)
                saved_at = time.monotonic()


def take_step(config: RefineConfig, state: State, progress: float) -> Mapping[str, float]:
    """Learn from a batch; what is worth logging of it."""
    examples, pieces = state.source.draw(), config.mixtures.pieces
    rate = learning_rate(config.learning_rate, state.step, progress, config.warm_up)
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    state.optimiser.zero_grad()
    loss = thresholded_snr(refined(state.refiner, examples), examples, pieces)
    before = thresholded_snr(examples.shares, examples, pieces)
    loss.backward()  # type: ignore[no-untyped-call]  # torch's
    norm = state.clipper.clip(p for p in state.refiner.parameters() if p.requires_grad)
    if norm < float("inf"):
        state.optimiser.step()
        state.average.update_parameters(state.refiner)
    state.step += 1
    value = float(loss.detach())
    return {"loss": value, "gain": float(before) - value, "gradient_norm": norm, "learning_rate": rate}


def refined(refiner: torch.nn.Module, examples: Examples) -> Tensor:
    """(item, source, frame, band) masks of a batch."""
    made: Tensor = refiner(examples.features, examples.behind, examples.shares, examples.centroids)
    return made


def _validated(refiner: torch.nn.Module, validation: list[Examples], config: RefineConfig) -> str:
    before, after = [], []
    with torch.no_grad():
        for examples in validation:
            pieces = config.mixtures.pieces
            before.append(snr_db(examples.shares, examples, pieces)[:, :-1].mean(1))
            after.append(snr_db(refined(refiner, examples), examples, pieces)[:, :-1].mean(1))
    gain = torch.cat(after) - torch.cat(before)
    worse = float((gain < -0.5).float().mean())
    return f"SNR {float(torch.cat(before).mean()):.2f} dB, refined {float(gain.mean()):+.3f}; {worse:.1%} lose 0.5 dB"


def new_refiner(config: RefineConfig, trunk: ModelConfig) -> Refiner:
    """A refiner that does nothing yet, with its listener, from whose last layers its own start.

    Raises:
        TrainingError: the listener does not hear what the trunk hears.
    """
    listener = _frozen(Path(config.listener))
    if not isinstance(listener, DualPathNet) or _grid(listener.config) != _grid(trunk):
        raise TrainingError(
            f"The listener {config.listener} must be a dual_path network with the bands and frames of the trunk."
        )
    shape = RefinerConfig(
        trunk.bands,
        listener.config.frames_per_step,
        trunk.embedding_dim,
        config.layers,
        hears_background=max(config.found_chance) > 0,
    )
    refiner = Refiner(shape, listener.config)
    refiner.listener.load_state_dict(listener.state_dict())
    refiner.listener.requires_grad_(False)
    for layer, known in zip(refiner.across_frames, list(listener.across_frames)[-config.layers :], strict=True):
        layer.load_state_dict(known.state_dict())
    return refiner


def save_weights(path: Path, refiner: torch.nn.Module) -> None:
    """Write what `load_weights` needs, in half precision."""
    if not isinstance(refiner, Refiner):
        raise TypeError("expected a Refiner")
    content = {
        "refiner": {key: value.half() for key, value in refiner.state_dict().items()},
        "config": refiner.config.to_json(),
        "listener": refiner.listener.config.to_json(),
    }
    checkpoint.write(path, content)


def load_weights(path: Path) -> Refiner:
    """A refiner that was written by `save_weights`.

    Raises:
        TrainingError: there is none in this file.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        refiner = Refiner(RefinerConfig.from_json(saved["config"]), ModelConfig.from_json(saved["listener"]))
        refiner.load_state_dict(saved["refiner"])
    except (OSError, RuntimeError, KeyError, TypeError) as error:
        raise TrainingError(f"{path} holds no refiner of training/recipe.py: {error}.") from error
    return refiner.eval()


def _frozen(path: Path, **changes: Any) -> EmbeddingNet:
    network = make_network(dataclasses.replace(checkpoint.read_network_config(path), **changes))
    checkpoint.load_weights(path, network)
    return network.eval().requires_grad_(False)


def _grid(c: ModelConfig) -> tuple[object, ...]:
    return c.sample_rate, c.window, c.hop, c.floor_db, c.full_resolution_hz, c.high_group
