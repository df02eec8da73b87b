"""What a run leaves to look at: history.jsonl, a TensorBoard log, and curves.png."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.tensorboard.writer import SummaryWriter

from unmingle.training.wandb_board import WandbBoard

HISTORY, CURVES, TENSORBOARD = "history.jsonl", "curves.png", "tensorboard"

Record = dict[str, Any]


class RunLog:
    """Appends records to a run's folder. A record is one step's or one validation's; both have `step`.

    Attributes:
        records: all there are, in order.
    """

    def __init__(self, folder: Path, step: int = 0, wandb: WandbBoard | None = None) -> None:
        """Open the log; what is in it beyond `step`, after which the run goes on, is forgotten.

        `wandb` is shown the same, and closed with the log.
        """
        self._folder, self._wandb = folder, wandb
        path = folder / HISTORY
        lines = path.read_text().splitlines() if step and path.is_file() else []
        # A machine that lost power may have left half a line.
        self.records: list[Record] = [json.loads(line) for line in lines if line.endswith("}")]
        self._open(step)

    def rewind(self, step: int) -> None:
        """Forget what is beyond `step`, after which the run goes on."""
        self._close_files()
        self._open(step)

    def _open(self, step: int) -> None:
        path = self._folder / HISTORY
        self.records = [r for r in self.records if r["step"] <= step]
        partial = path.with_suffix(".jsonl.partial")
        partial.write_text("".join(json.dumps(r) + "\n" for r in self.records))
        os.replace(partial, path)
        self._history = path.open("a", buffering=1)
        self._board = SummaryWriter(str(self._folder / TENSORBOARD), purge_step=step + 1)

    def add(self, record: Record) -> None:
        """Append one record. JSON knows no NaN or Infinity: such values are null."""
        record = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
        self.records.append(record)
        self._history.write(json.dumps(record, allow_nan=False) + "\n")
        for name, value in record.items():
            if name != "step" and isinstance(value, int | float):
                self._board.add_scalar(name, value, record["step"])
        if self._wandb:
            self._wandb.add(record)

    def add_audio(self, name: str, samples: np.ndarray, sample_rate: int, step: int) -> None:
        """Append (samples,) to listen to."""
        samples = samples / max(float(np.abs(samples).max()), 1e-6)
        self._board.add_audio(name, samples[None], step, sample_rate)
        if self._wandb:
            self._wandb.add_audio(name, samples, sample_rate, step)

    def add_picture(self, name: str, path: Path, step: int) -> None:
        """Append a picture file to look at."""
        from PIL import Image

        self._board.add_image(name, np.asarray(Image.open(path).convert("RGB")), step, dataformats="HWC")
        if self._wandb:
            self._wandb.add_picture(name, path, step)

    def flush(self) -> None:
        """Make sure that all records so far are on disk."""
        self._history.flush()
        self._board.flush()

    def recent_loss(self, steps: int = 50) -> float:
        """Mean loss of the last steps; nan before the first."""
        losses = [r["loss"] for r in self.records[-steps:] if r.get("loss") is not None]
        return float(np.mean(losses)) if losses else float("nan")

    def close(self) -> None:
        """Flush and close."""
        self._close_files()
        if self._wandb:
            self._wandb.close()

    def _close_files(self) -> None:
        self._history.close()
        self._board.close()

    def draw_curves(self) -> None:
        """Write curves.png: loss and SI-SDRi against steps."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 6))
        FigureCanvasAgg(figure)
        upper, lower = figure.subplots(2, 1, sharex=True)
        figure.subplots_adjust(0.1, 0.08, 0.98, 0.98, hspace=0.05)
        steps, losses = self._series("loss")
        if len(losses):
            width = max(1, min(100, len(losses) // 10))
            smooth = np.convolve(losses, np.ones(width) / width, "valid")
            upper.plot(steps, losses, color="0.8", linewidth=0.5, label="each step")
            upper.plot(steps[width - 1 :], smooth, label=f"mean of {width} steps")
            upper.legend()
        upper.set_ylabel("training loss")
        lower.plot(*self._series("si_sdr_improvement_db"), marker="o")
        lower.set_ylabel("validation SI-SDRi [dB]")
        lower.set_xlabel("step")
        for axes in (upper, lower):
            axes.grid(alpha=0.3)
        partial = self._folder / (CURVES + ".partial")
        figure.savefig(partial, dpi=120, format="png")
        os.replace(partial, self._folder / CURVES)

    def _series(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        chosen = [(r["step"], r[name]) for r in self.records if r.get(name) is not None]
        both = np.array(chosen, np.float64).reshape(-1, 2)
        return both[:, 0], both[:, 1]
