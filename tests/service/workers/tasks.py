"""Tasks that tests give to workers. Files tell what they are doing, and let them go on."""

from __future__ import annotations

import builtins
import dataclasses
import gc
import os
import signal
import time
from pathlib import Path

import numpy as np

from unmingle.model.separator import Separator
from unmingle.service.scheduling.work import Control


@dataclasses.dataclass(frozen=True)
class SeparateNoise:
    """Gives the number of stems."""

    def run(self, separator: Separator, control: Control) -> int:
        noise = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000).astype(np.float32)
        return len(separator.separate(noise, 16_000, 2, progress=control).stems)


@dataclasses.dataclass(frozen=True)
class Raise:
    error: str

    def run(self, separator: Separator, control: Control) -> None:
        raise getattr(builtins, self.error)("on purpose")


@dataclasses.dataclass(frozen=True)
class Endless:
    """Works until it is stopped, with a file in its hands."""

    begun: Path
    file: Path

    def run(self, separator: Separator, control: Control) -> None:
        gc.disable()  # so that nothing is let go of by chance
        with self.file.open("wb"):
            self.begun.touch()
            while True:
                control(0.5)
                time.sleep(0.001)


@dataclasses.dataclass(frozen=True)
class Deaf:
    """Does not stop when it is asked to."""

    begun: Path

    def run(self, separator: Separator, control: Control) -> None:
        self.begun.touch()
        time.sleep(600)


@dataclasses.dataclass(frozen=True)
class Wait:
    """Gives how often it was begun, once it may go on."""

    begun: Path
    go_on: Path

    def run(self, separator: Separator, control: Control) -> int:
        times = len(list(self.begun.parent.glob(self.begun.name + "-*"))) + 1
        self.begun.with_name(f"{self.begun.name}-{times}").touch()
        while not self.go_on.exists():
            control(0.5)
            time.sleep(0.001)
        return times


@dataclasses.dataclass(frozen=True)
class Strike:
    """Its process gets a signal, each time."""

    signal: signal.Signals

    def run(self, separator: Separator, control: Control) -> None:
        os.kill(os.getpid(), self.signal)
        time.sleep(600)


@dataclasses.dataclass(frozen=True)
class Unpicklable:
    """Gives what cannot be sent back."""

    def run(self, separator: Separator, control: Control) -> object:
        return lambda: None
