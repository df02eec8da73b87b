"""One row's network, trained for its share of the budget; a run that was stopped goes on where it was."""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks.paper.rows import Row
from unmingle.model.network.trunk import EmbeddingNet
from unmingle.training import checkpoint, machine, train
from unmingle.training.augment.scene import Surroundings
from unmingle.training.checkpoint import LATEST, State
from unmingle.training.corpus import Corpus
from unmingle.training.interruption import Interruption
from unmingle.training.mixtures import MixtureSampler
from unmingle.training.processes import Processes
from unmingle.training.step_profile import Profile
from unmingle.training.stepping import Stepper
from unmingle.training.train_config import TrainConfig


@dataclasses.dataclass(frozen=True)
class Trained:
    """A network at the end of its budget.

    Attributes:
        hours_heard: of mixtures.
        wall_s: it took, over all sittings.
    """

    network: EmbeddingNet
    hours_heard: float
    wall_s: float


def learn(row: Row, config: TrainConfig, corpus: Corpus, folder: Path, interruption: Interruption) -> Trained | None:
    """Train a row's network, or what is left of it; None if somebody asked to stop before the end.

    Raises:
        TrainingError: it starts from a network that has not been trained.
    """
    if row.after:
        config = dataclasses.replace(config, init=str(folder.parent / row.after / LATEST))
    torch.manual_seed(config.seed)
    sampler = MixtureSampler(corpus, config.mixtures, torch.Generator().manual_seed(config.seed))
    state = train.begin(config, sampler, torch.device("cpu"), row.network(config.network))
    if (folder / LATEST).is_file():
        checkpoint.restore(folder / LATEST, state, config)
    else:
        train.initialise(config, state, sampler)
        folder.mkdir(parents=True, exist_ok=True)
    _steps(row, config, state, sampler, folder, interruption)
    checkpoint.save(folder / LATEST, state, config)
    if state.step < config.steps:
        return None
    return Trained(state.network.eval(), state.step * config.seconds_per_step / 3600.0, state.elapsed_s)


def _steps(
    row: Row, config: TrainConfig, state: State, sampler: MixtureSampler, folder: Path, interruption: Interruption
) -> None:
    """Up to the last step, or until somebody asks to stop."""
    used_before, began = state.elapsed_s, time.monotonic()
    saved_at = began
    state.network.train()
    profile = Profile(torch.device("cpu"), wanted=False)
    precision = machine.choose_precision(config.precision, torch.device("cpu"))
    stepper = Stepper(config, state, sampler, Surroundings(), precision, Processes(), profile, row.objective)
    quiet_s = 0.5 if sys.stderr.isatty() else 30.0
    with tqdm(total=config.steps, initial=state.step, desc=row.name, unit="step", mininterval=quiet_s) as bar:
        while state.step < config.steps and not interruption:
            record = stepper.step()
            state.elapsed_s = used_before + time.monotonic() - began
            if time.monotonic() - saved_at > train.CHECKPOINT_EVERY_S:
                checkpoint.save(folder / LATEST, state, config)
                saved_at = time.monotonic()
            bar.set_postfix_str(f"loss {record['loss']:.4f}", refresh=False)
            bar.update()


def load(row: Row, config: TrainConfig, folder: Path) -> EmbeddingNet:
    """The network of a row that has been trained.

    Raises:
        TrainingError: it has not.
    """
    network = row.network(config.network)
    checkpoint.load_weights(folder / LATEST, network)
    return network.eval()
