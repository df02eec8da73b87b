"""M4A files, by FFmpeg through PyAV."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unmingle.model.reading.ffmpeg import available

__all__ = ["available", "write_m4a"]

_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
_BITS_PER_CHANNEL = 96_000


def write_m4a(blocks: Iterable[NDArray[np.float32]], target: Path, channels: int, sample_rate: int) -> None:
    """Write blocks of (samples, channels) as AAC in MP4."""
    import av

    with av.open(str(target), "w", format="ipod", options={"fflags": "+bitexact"}) as container:
        track: Any = container.add_stream("aac", rate=sample_rate)
        track.layout = _LAYOUTS[channels]
        track.bit_rate = _BITS_PER_CHANNEL * channels
        written = 0
        for block in blocks:
            samples = np.ascontiguousarray(block, np.float32).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(samples, "flt", _LAYOUTS[channels])
            frame.sample_rate, frame.pts = sample_rate, written
            written += len(block)
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
