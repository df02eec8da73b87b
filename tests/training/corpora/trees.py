"""Small trees in the shape of published corpora, with real speech in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import soxr

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples"
RATE = 16_000

LIBRIMIX = [("103-1240-0003", "1235-135887-0017"), ("19-198-0001", "103-1240-0004"), ("27-123349-0000", "19-198-0002")]
WSJ0 = [("011a0101", "20la010a"), ("012b0102", "011a0103"), ("20la010b", "013c0101")]


def write(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    """Write a recording at a rate, from samples at 16 kHz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples if rate == RATE else soxr.resample(samples, RATE, rate), rate)
    return path


def a_tree(folder: Path, names: list[str], voices: np.ndarray, rate: int, mixed: tuple[str, ...], suffix: str = ""):
    """One split of a tree of mixtures: the kinds of mixtures that are asked for, s1, s2... and noise."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(names):
        count = name.count("-") // 2 if "-" in name and "." not in name else (name.count("_") + 1) // 2
        parts = np.stack([np.roll(voices[i % 2], 800 * (number + i)) for i in range(count)]) * np.float32(0.5)
        noise = 0.01 * rng.standard_normal(parts.shape[1]).astype(np.float32)
        for i, part in enumerate(parts, start=1):
            write(folder / f"s{i}{suffix}" / f"{name}.wav", part, rate)
        for kind in mixed:
            noisy = "both" in kind
            write(folder / kind / f"{name}.wav", parts.sum(0) + noisy * noise, rate)
        if any("both" in kind for kind in mixed):
            write(folder / "noise" / f"{name}.wav", noise, rate)
