"""The state of a run, saved whole or not at all, and restored so that the run goes on exactly."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch.optim.swa_utils import AveragedModel

from unmingle.model.config import TAUGHT_LATER, ModelConfig
from unmingle.model.network.trunk import EmbeddingNet
from unmingle.training.errors import TrainingError
from unmingle.training.optimisation import GradientClipper
from unmingle.training.train_config import TrainConfig

LATEST, BEST = "checkpoint.pt", "best.pt"


@dataclasses.dataclass
class State:
    """Everything of a run that changes from step to step.

    Attributes:
        generator: decides the mixtures.
        scaler: of the loss, where gradients are computed in float16.
        step: steps done.
        elapsed_s: wall time used up, over all sittings.
        validations: how many of the run's were due so far.
        best_db: the highest SI-SDRi that a validation found; -inf before the first.
        since_best: validations since then.
        rate_factor: on the learning rate; below 1 after the run had to go back.
        rewinds: how often it went back.
        average: moving average of the weights (Polyak and Juditsky 1992), if the run keeps one.
        corpus: fingerprint of what it learns from; empty if not known.
    """

    network: EmbeddingNet
    optimiser: torch.optim.Optimizer
    clipper: GradientClipper
    generator: torch.Generator
    scaler: torch.amp.GradScaler
    step: int = 0
    elapsed_s: float = 0.0
    validations: int = 0
    best_db: float = -math.inf
    since_best: int = 0
    rate_factor: float = 1.0
    rewinds: int = 0
    average: AveragedModel | None = None
    corpus: str = ""

    @property
    def averaged_network(self) -> EmbeddingNet | None:
        """The network with averaged weights; None if there is none, or nothing was averaged yet."""
        return cast(EmbeddingNet, self.average.module) if self.average and int(self.average.n_averaged) else None

    def progress(self, config: TrainConfig) -> float:
        """Part of the run's budget that is used up; 1 or more when it is done."""
        return self.step / config.steps if config.steps else self.elapsed_s / (60.0 * config.minutes)


def save(path: Path, state: State, config: TrainConfig) -> None:
    """Write all that `restore` needs."""
    write(
        path,
        {
            **_weights(state.network),
            "config": config.to_json(),
            "optimiser": state.optimiser.state_dict(),
            "gradient_norms": list(state.clipper.norms),
            "scaler": state.scaler.state_dict(),
            "generator": state.generator.get_state(),
            "torch_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
            "step": state.step,
            "elapsed_s": state.elapsed_s,
            "validations": state.validations,
            "best_db": state.best_db,
            "since_best": state.since_best,
            "rate_factor": state.rate_factor,
            "rewinds": state.rewinds,
            "average": state.average.state_dict() if state.average else None,
            "corpus": state.corpus,
        },
    )


def save_network(path: Path, network: EmbeddingNet) -> None:
    """Write what `load_weights` needs: the network alone."""
    write(path, _weights(network))


def restore(path: Path, state: State, config: TrainConfig) -> None:
    """Bring `state`, freshly made for `config`, to where it was when saved; also the global random generators.

    The state may be on another device than the one that it was saved on.

    Raises:
        TrainingError: there is no such checkpoint, it is damaged, or it belongs to another network or corpus.
    """
    saved = _read(path)
    learnt = saved.get("corpus", "")  # runs from before there were fingerprints have none
    if learnt and state.corpus and learnt != state.corpus:
        raise TrainingError(
            f"The run of {path} learns from another corpus than {config.data}: files or speakers are not those that it "
            "began with. Give the first one with --data, or start a new run with --init."
        )
    try:
        _check_same_network(path, saved, config.network)
        state.network.load_state_dict(saved["network"])
        state.optimiser.load_state_dict(saved["optimiser"])
        state.clipper.norms.clear()
        state.clipper.norms.extend(saved["gradient_norms"])
        state.generator.set_state(saved["generator"])
        if saved["scaler"] and state.scaler.is_enabled():  # a CPU has none to save, nor needs one
            state.scaler.load_state_dict(saved["scaler"])
        torch.set_rng_state(saved["torch_rng"])
        if torch.cuda.is_available() and saved["cuda_rng"] is not None:
            torch.cuda.set_rng_state(saved["cuda_rng"])
        state.step, state.elapsed_s = saved["step"], saved["elapsed_s"]
        state.validations, state.best_db = saved["validations"], saved["best_db"]
        state.since_best, state.rewinds = saved.get("since_best", 0), saved.get("rewinds", 0)
        state.rate_factor = saved.get("rate_factor", 1.0)
        if state.average:
            state.average.load_state_dict(saved["average"])
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        raise TrainingError(f"The checkpoint {path} cannot be gone on from: {error}.") from error


def read_network_config(path: Path) -> ModelConfig:
    """The configuration of the network in a checkpoint."""
    return ModelConfig.from_json(_read(path)["network_config"])


def load_weights(path: Path, network: EmbeddingNet) -> None:
    """Take over the weights of another run.

    Raises:
        TrainingError: there is no such checkpoint, it is damaged, or its network is not like this one.
    """
    load_mean_weights([path], network)


def load_mean_weights(paths: Sequence[Path], network: EmbeddingNet) -> None:
    """Take over the mean of the weights of other runs, which should have begun from the same ones.

    Raises:
        TrainingError: as `load_weights`.
    """
    weights: list[dict[str, torch.Tensor]] = []
    for path in paths:
        saved = _read(path)
        _check_same_network(path, saved, network.config)
        weights.append(saved["network"])
    network.load_state_dict({key: torch.stack([w[key] for w in weights]).mean(0) for key in weights[0]})


def find(runs: Path, name: str) -> Path:
    """The checkpoint that is meant by a file, a run's folder, or a run's name; of a run, its best weights.

    Raises:
        TrainingError: there is none.
    """
    for place in (Path(name), runs / name):
        for file in (place, place / BEST, place / LATEST):
            if file.is_file():
                return file.resolve()
    raise TrainingError(f"There is no checkpoint {name}: expected a run in {runs}, its folder, or a .pt file.")


def _weights(network: EmbeddingNet) -> dict[str, Any]:
    return {"network": network.state_dict(), "network_config": network.config.to_json()}


def _check_same_network(path: Path, saved: dict[str, Any], wanted: ModelConfig) -> None:
    had, want = dataclasses.asdict(ModelConfig.from_json(saved["network_config"])), dataclasses.asdict(wanted)
    # Neither the name nor what is made of the embeddings touches the network's weights.
    different = [
        k
        for k in want
        if want[k] != had[k] and k not in ("name", "mask_sharpness", "background_sharpness", *TAUGHT_LATER)
    ]
    if different:
        listed = ", ".join(f"{k} {had[k]} (wanted {want[k]})" for k in different)
        raise TrainingError(
            f"The checkpoint {path} holds a network with {listed}: leave out the options that change it, or start a "
            "new run without --init."
        )


def write(path: Path, content: dict[str, Any]) -> None:
    """Write what torch can save; the file appears whole or not at all."""
    temporary = path.with_suffix(".pt.partial")
    with temporary.open("wb") as file:
        torch.save(content, file)
        file.flush()
        # Without this, a power cut after the renaming can leave an empty file under the right name.
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _read(path: Path) -> dict[str, Any]:
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise TrainingError(f"There is no checkpoint {path}: expected one that training/train.py wrote.") from error
    except Exception as error:  # a damaged file raises nearly anything
        raise TrainingError(f"{path} is not a checkpoint of training/train.py, or it is damaged: {error!r}.") from error
    if not isinstance(saved, dict) or not {"network", "network_config"} <= set(saved):
        raise TrainingError(f"{path} is not a checkpoint of training/train.py: it has no network and configuration.")
    return saved
