"""What to hear of two channels: all of them, their sum, or their difference; or each on its own.

    python -m benchmarks.channels

Two of the mixtures in examples/ are panned in several ways. The masks of each column come of what its name says; they
are applied to the same two channels. SI-SDR improvement in dB over both channels, mean over sources and mixtures.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import soundfile

from unmingle import SeparationOptions, Separator
from unmingle.model import separator as separating
from unmingle.model.metrics import si_sdr_improvement_db
from unmingle.model.signal import segments

EXAMPLES = Path(__file__).parent.parent / "examples"
RATE = 16_000
PANNED = {
    "both in antiphase": ((1, -1), (1, -1)),
    "one on each channel": ((1, 0), (0, 1)),
    "10 dB to the left, 10 dB to the right": ((1, 0.316), (0.316, 1)),
    "one in the middle, one in antiphase": ((1, 1), (1, -1)),
}
"""Gain of either source in either channel."""
HEARD = {
    "all channels": np.eye(2),
    "sum": np.full((2, 2), 0.5),
    "difference": np.array([[0.5, -0.5], [0.5, -0.5]]),
}
"""What the network hears of (left, right)."""

_at_rate = segments._at_rate


def images(panned: tuple[tuple[float, ...], ...]) -> Iterator[np.ndarray]:
    """(source, channel, sample) of each mixture."""
    for name in ("two_speakers", "same_gender"):
        sources = [soundfile.read(EXAMPLES / name / f"source_{i}.flac", dtype="float32")[0] for i in (1, 2)]
        pairs = zip(panned, sources, strict=True)
        yield np.stack([np.outer(np.float32(gains), source) for gains, source in pairs])


def together_db(separator: Separator, image: np.ndarray, heard: np.ndarray) -> float:
    """With masks from what is heard."""

    def at_rate(*arguments: Any) -> Iterator[np.ndarray]:
        for block in _at_rate(*arguments):
            yield np.asarray(heard @ block, np.float32)

    options = SeparationOptions(num_sources=2, background="share", spatial="off")
    all_channels = mock.patch.object(separating, "what_the_network_hears", lambda recording, _: recording)
    with all_channels, mock.patch.object(segments, "_at_rate", at_rate):
        return score_db(separator.separate(image.sum(0), RATE, options=options).stems, image)


def separate_db(separator: Separator, image: np.ndarray) -> float:
    """With each channel on its own; somebody has put the stems of one voice together."""
    alone = not image[0, 1].any()
    options = SeparationOptions(num_sources=1 if alone else 2, background="share", channels="separate")
    stems = separator.separate(image.sum(0), RATE, options=options).stems
    scores = []
    for whose in itertools.product((0, 1), repeat=len(stems)):
        voices = np.stack([stems[np.equal(whose, voice)].sum(0) for voice in (0, 1)])
        if voices.any((1, 2)).all():
            scores.append(score_db(voices, image))
    return max(scores)


def score_db(stems: np.ndarray, image: np.ndarray) -> float:
    flat = stems.reshape(len(stems), -1), image.reshape(len(image), -1)
    return float(si_sdr_improvement_db(*flat, image.sum(0).ravel()).mean())


def main() -> None:
    """Print a table."""
    separator = Separator.load(device="cpu")
    print(f"| voices | {' | '.join(HEARD)} | channels=separate |\n|---|{'---|' * (len(HEARD) + 1)}")
    for name, panned in PANNED.items():
        row = [np.mean([together_db(separator, image, heard) for image in images(panned)]) for heard in HEARD.values()]
        row.append(np.mean([separate_db(separator, image) for image in images(panned)]))
        print(f"| {name} | {' | '.join(f'{value:.1f}' for value in row)} |")


if __name__ == "__main__":
    main()
