"""One row's network, trained for its share of the budget; a run that was stopped goes on where it was."""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks.paper.rows import Row
from model.network import EmbeddingNet
from training import checkpoint, train
from training.checkpoint import LATEST, State
from training.corpus import Corpus
from training.errors import TrainingError
from training.interruption import Interruption
from training.mixtures import MixtureSampler
from training.train_config import TrainConfig


@dataclasses.dataclass(frozen=True)
class Trained:
    """A network at the end of its budget.

    Attributes:
        hours_heard: of mixtures.
        wall_s: it took, over all sittings.
        last_loss: mean of the last steps of this sitting; nan without any.
    """

    network: EmbeddingNet
    hours_heard: float
    wall_s: float
    last_loss: float


def learn(row: Row, config: TrainConfig, corpus: Corpus, folder: Path, interruption: Interruption) -> Trained | None:
    """Train a row's network, or what is left of it; None if somebody asked to stop before the end.

    Raises:
        TrainingError: the folder holds a run with other settings.
    """
    torch.manual_seed(config.seed)
    sampler = MixtureSampler(corpus, config.mixtures, torch.Generator().manual_seed(config.seed))
    state = train.begin(config, sampler, torch.device("cpu"))
    if (folder / LATEST).is_file():
        if TrainConfig.from_json((folder / train.CONFIG).read_text()) != config:
            raise TrainingError(
                f"{folder} holds a run with another corpus, budget or seed: give another --out, or remove the folder."
            )
        checkpoint.restore(folder / LATEST, state, config)
    else:
        train.initialise(config, state, sampler)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / train.CONFIG).write_text(config.to_json())
    losses = _steps(row, config, state, sampler, folder, interruption)
    checkpoint.save(folder / LATEST, state, config)
    if state.step < config.steps:
        return None
    recent = losses[-100:]
    return Trained(
        state.network.eval(),
        state.step * config.seconds_per_step / 3600.0,
        state.elapsed_s,
        sum(recent) / len(recent) if recent else float("nan"),
    )


def _steps(
    row: Row, config: TrainConfig, state: State, sampler: MixtureSampler, folder: Path, interruption: Interruption
) -> list[float]:
    """Up to the last step, or until somebody asks to stop; the loss of each."""
    losses: list[float] = []
    used_before, began = state.elapsed_s, time.monotonic()
    saved_at = began
    state.network.train()
    quiet_s = 0.5 if sys.stderr.isatty() else 30.0
    with tqdm(total=config.steps, initial=state.step, desc=row.name, unit="step", mininterval=quiet_s) as bar:
        while state.step < config.steps and not interruption:
            losses.append(train.step(config, state, sampler, torch.float32, row.objective)["loss"])
            state.elapsed_s = used_before + time.monotonic() - began
            if time.monotonic() - saved_at > train.CHECKPOINT_EVERY_S:
                checkpoint.save(folder / LATEST, state, config)
                saved_at = time.monotonic()
            bar.set_postfix_str(f"loss {sum(losses[-100:]) / len(losses[-100:]):.4f}", refresh=False)
            bar.update()
    return losses
