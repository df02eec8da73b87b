"""Who is heard when, frame by frame: in truth, and as a separation says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unmingle.model.recording import Samples
from unmingle.model.signal.activity import Stretch, beside_itself

Flags = NDArray[np.bool_]


def heard_frames(sources: Samples, sample_rate: int, frame_s: float, below_loud_db: float) -> Flags:
    """(sources, samples) -> (sources, frames): where each is no further below its own loud frames; not if silent."""
    frame = max(1, round(frame_s * sample_rate))
    whole = sources.shape[1] // frame * frame
    energy = np.square(sources[:, :whole], dtype=np.float64).reshape(len(sources), -1, frame).sum(2)
    return beside_itself(energy, below_loud_db)


def frames_of(stretches: Sequence[Stretch], frames: int, frame_s: float) -> Flags:
    """(frames,): whether the middle of each is within a stretch."""
    middle = (np.arange(frames) + 0.5) * frame_s
    within = np.zeros(frames, bool)
    for stretch in stretches:
        within |= (middle >= stretch.start_s) & (middle < stretch.end_s)
    return within
