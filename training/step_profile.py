"""Where the time of training steps goes: `--profile`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Profile:
    """Adds up the time of the parts of a step. The first step, in which libraries are loaded, does not count."""

    def __init__(self, device: torch.device, wanted: bool) -> None:
        """Args:
        device: where the steps are computed.
        wanted: whether anybody is going to look; if not, nothing waits for a GPU.
        """
        self._device = device
        self._wanted = wanted
        self._seconds: dict[str, float] = {}
        self._steps = -1

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time inside to a part."""
        if not self._wanted:
            yield
            return
        began = self._now()
        yield
        if self._steps >= 0:
            self._seconds[name] = self._seconds.get(name, 0.0) + self._now() - began

    def end_step(self) -> None:
        """A step is done."""
        self._steps += 1

    def lines(self) -> list[str]:
        """Seconds and share of each part of a step; empty if nobody wanted to look, or there was only one step."""
        total = sum(self._seconds.values())
        if self._steps < 1 or total <= 0:
            return []
        rows = sorted(self._seconds.items(), key=lambda row: -row[1])
        head = f"a step takes {total / self._steps:.3f} s (mean of {self._steps}):"
        return [head, *(f"  {name:<24}{s / self._steps:8.3f} s {s / total:5.0%}" for name, s in rows)]

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()
