"""What can be seen of a recording, as it is sent: the outline of a waveform, points of a map, a picture of masks."""

from __future__ import annotations

import base64
from typing import Annotated

import numpy as np
from fastapi import Query
from numpy.typing import NDArray

from unmingle.model.overview import Points
from unmingle.service.output.peaks import Peaks
from unmingle.service.schemas import PeaksBody, PointsBody

FOREVER_S = 1e9
"""Longer than any recording, and yet a number of samples."""
Start = Annotated[float, Query(ge=0, le=FOREVER_S, description="Of the part that is wanted, in seconds.")]
End = Annotated[float, Query(ge=0, le=FOREVER_S, description="Of the part that is wanted, in seconds.")]


def outline(peaks: Peaks) -> PeaksBody:
    """In steps of a 127th of the largest sample."""
    scale = float(max(np.abs(peaks.low).max(), np.abs(peaks.high).max()))
    steps = 127.0 / max(scale, 1e-12)
    return PeaksBody(
        scale=scale,
        low=np.rint(peaks.low * steps).astype(int).tolist(),
        high=np.rint(peaks.high * steps).astype(int).tolist(),
    )


def points_body(points: Points) -> PointsBody:
    """Arrays in base64; the loudest point has weight 1."""
    loudest = max(1e-12, float(points.weights.max(initial=0.0)))
    return PointsBody(
        count=len(points.weights),
        dim=points.embeddings.shape[1],
        frames=_base64(points.places[:, 0].astype("<u4")),
        bands=_base64(points.places[:, 1].astype("<u2")),
        weights=_base64((points.weights / loudest).astype("<f4")),
        embeddings=_base64(np.rint(127.0 * points.embeddings).clip(-127, 127).astype(np.int8)),
    )


def _base64(array: NDArray[np.generic]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
