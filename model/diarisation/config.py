"""What a network for local diarisation hears, and what its numbers mean. Needs no ONNX Runtime."""

from __future__ import annotations

import dataclasses
import json
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from unmingle.model.errors import ModelError

Chances = NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class DiarisationConfig:
    """What a network hears, and what its numbers mean.

    Attributes:
        name: of the network.
        sample_rate: Hz, of what it hears.
        first: sample in the middle of its first frame.
        step: samples from one frame to the next.
        sets: for each of its numbers, the people who speak.
    """

    name: str
    sample_rate: int
    first: int
    step: int
    sets: tuple[tuple[int, ...], ...]

    def to_json(self) -> str:
        """As `from_json` reads it."""
        return json.dumps({"version": 1, **dataclasses.asdict(self)})

    @classmethod
    def from_json(cls, text: str) -> DiarisationConfig:
        """Read what `to_json` wrote.

        Raises:
            ModelError: it is of another version, or damaged.
        """
        try:
            read = json.loads(text)
            if read.pop("version") != 1:
                raise ModelError("The diarisation network is of another version of Unmingle; write its file again.")
            return cls(**{**read, "sets": tuple(map(tuple, read["sets"]))})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ModelError(f"The configuration of the diarisation network is damaged ({error}).") from error

    @property
    def membership(self) -> NDArray[np.float64]:
        """(sets, people): 1 where somebody is in a set."""
        people = 1 + max(max(s, default=-1) for s in self.sets)
        return np.array([[float(person in s) for person in range(people)] for s in self.sets])


class Diariser(Protocol):
    """Whatever tells who speaks within a segment."""

    @property
    def config(self) -> DiarisationConfig:
        """What it hears, and what its numbers mean."""
        ...

    def chances(self, samples: NDArray[np.float32]) -> Chances:
        """(samples,) at its rate -> (frames, sets), which sum to 1 over the sets."""
        ...

    def vector(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """(samples,) of one voice, at its rate -> (numbers,) of unit norm, alike for the same voice elsewhere."""
        ...
