"""What a request wants of a kept recording, as the separator is told."""

from __future__ import annotations

import numpy as np

from unmingle.model.choices import Wish
from unmingle.model.options import MAX_SOURCES
from unmingle.model.signal.arrangement import Box
from unmingle.service.problems import Problem
from unmingle.service.schemas import SeparationRequest


def wish_of(asked: SeparationRequest) -> Wish:
    """Look whether its members go together.

    Raises:
        Problem: they do not.
    """
    centroids, groups, part = asked.centroids, asked.groups, asked.selection
    if (asked.num_sources is None) == (centroids is None):
        raise _invalid("Expected either num_sources or centroids.")
    sounds = asked.num_sources or len(centroids or ())
    if groups is not None and (len(groups) != sounds or set(groups) != set(range(max(groups) + 1))):
        raise _invalid(f"groups={groups}; expected {sounds} numbers, from 0 on without gaps.")
    if groups is None and sounds > MAX_SOURCES:
        raise _invalid(f"There are {sounds} centroids; expected at most {MAX_SOURCES}, or groups.")
    if part is not None and (part.start_s >= part.end_s or part.low_hz >= part.high_hz):
        raise _invalid("The selection is empty; expected start_s below end_s, and low_hz below high_hz.")
    vectors = None
    if centroids is not None:
        if len({len(centroid) for centroid in centroids}) != 1:
            raise _invalid("The centroids differ in length; expected vectors of one length.")
        vectors = np.array(centroids, np.float32)
        if not np.allclose(np.linalg.norm(vectors, axis=-1), 1.0, atol=0.01):
            raise _invalid("The centroids are no directions; expected vectors of length 1.")
    box = None if part is None else Box(part.start_s, part.end_s, part.low_hz, part.high_hz)
    return Wish(asked.num_sources, vectors, groups, box)


def _invalid(detail: str) -> Problem:
    return Problem("parameter_invalid", detail)
