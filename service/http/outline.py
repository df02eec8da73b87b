"""Peaks -> the body that says them."""

from __future__ import annotations

import numpy as np

from unmingle.service.output.peaks import Peaks
from unmingle.service.schemas import PeaksBody


def outline(peaks: Peaks) -> PeaksBody:
    """In steps of a 127th of the largest sample."""
    scale = float(max(np.abs(peaks.low).max(), np.abs(peaks.high).max()))
    steps = 127.0 / max(scale, 1e-12)
    return PeaksBody(
        scale=scale,
        low=np.rint(peaks.low * steps).astype(int).tolist(),
        high=np.rint(peaks.high * steps).astype(int).tolist(),
    )
