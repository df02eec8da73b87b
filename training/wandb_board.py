"""Weights & Biases, if a run is to be seen there: the optional extra `wandb`, asked for with `--wandb PROJECT`."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from unmingle.training.errors import TrainingError


class WandbBoard:
    """Shows a run's records, sounds and pictures in a project of Weights & Biases.

    What is logged for a step that was logged before, as after a rewind, is left out there; history.jsonl has it.
    """

    def __init__(self, project: str, folder: Path, config: dict[str, Any]) -> None:
        """Begin the run, or go on with it: its name and id are those of its folder.

        Args:
            project: where it is to be seen. Account, server and mode are those of the environment: WANDB_MODE=offline
                writes into the run's folder, and `wandb sync` sends it later.
            folder: the run's.
            config: what the run was asked for.

        Raises:
            TrainingError: the package is not installed, or the service does not take the run.
        """
        try:
            self._wandb: Any = importlib.import_module("wandb")
        except ImportError:
            raise TrainingError(
                "--wandb needs the package of Weights & Biases: pip install 'wandb>=0.19,<1'. Without it, "
                f"{folder} has history.jsonl and a TensorBoard log."
            ) from None
        os.environ.setdefault("WANDB_SILENT", "true")
        try:
            self._run = self._wandb.init(
                project=project, name=folder.name, id=folder.name, dir=str(folder), config=config, resume="allow"
            )
        except Exception as error:  # the package names no common ancestor of what it raises
            raise TrainingError(
                f"Weights & Biases did not take the run ({error}). Log in with `wandb login`, or set "
                "WANDB_MODE=offline."
            ) from error

    def add(self, record: dict[str, Any]) -> None:
        """Show one record; its `step` is the step."""
        self._run.log({name: value for name, value in record.items() if name != "step"}, step=record["step"])

    def add_audio(self, name: str, samples: np.ndarray, sample_rate: int, step: int) -> None:
        """Offer (samples,), with a peak of at most 1, to listen to."""
        self._run.log({name: self._wandb.Audio(samples, sample_rate=sample_rate)}, step=step)

    def add_picture(self, name: str, path: Path, step: int) -> None:
        """Show a picture file."""
        self._run.log({name: self._wandb.Image(str(path))}, step=step)

    def close(self) -> None:
        """Send what is left, and end the run there."""
        self._run.finish()
