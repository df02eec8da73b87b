"""What the first pass over a recording finds out, besides the embeddings themselves; of its parts, it can be joined."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from unmingle.model.clustering import background, kmeans
from unmingle.model.diarisation.people import People
from unmingle.model.diarisation.track import LocalTurns
from unmingle.model.signal.high_pass import BlockEnergy


@dataclasses.dataclass
class Heard:
    """What was found out.

    Attributes:
        sample: of all embeddings.
        foreground_sample: of those that are not background.
        foreground: how much of the recording that is.
        energy: before and after what is too low to be heard was taken away.
        segments: how many there are.
        turns: who speaks when, within each of them.
        people: who they are.
        rng: the generator as the first segment leaves it, for what comes after.
    """

    sample: kmeans.EmbeddingSample
    foreground_sample: kmeans.EmbeddingSample
    foreground: background.Foreground
    energy: BlockEnergy
    segments: int
    turns: LocalTurns
    people: People
    rng: np.random.Generator

    @classmethod
    def nothing(cls, rng: np.random.Generator, first_segment: int = 0) -> Heard:
        """Before anything is heard; `first_segment` is the number of the one that will be heard first."""
        samples = (kmeans.EmbeddingSample(first_segment=first_segment) for _ in range(2))
        foreground, energy = background.Foreground(), BlockEnergy()
        return cls(next(samples), next(samples), foreground, energy, 0, LocalTurns(), People(), rng)

    def extend(self, later: Heard) -> None:
        """Take in what was heard in what follows in the same recording."""
        self.sample.extend(later.sample)
        self.foreground_sample.extend(later.foreground_sample)
        self.foreground.extend(later.foreground)
        self.energy.extend(later.energy)
        self.segments += later.segments
        self.turns.extend(later.turns)
        self.people.extend(later.people)

    def save(self, path: Path) -> None:
        """Write it into a file (NumPy's .npz)."""
        samples = {"all": self.sample.arrays(), "foreground": self.foreground_sample.arrays()}
        facts = {
            "foreground": self.foreground.segments,
            "first_block": self.energy.first_block,
            "energy": self.energy.blocks,
            "segments": self.segments,
            "rng": self.rng.bit_generator.state,
        }
        named: dict[str, Any] = {
            f"{which}_{name}": array for which, arrays in samples.items() for name, array in arrays.items()
        }
        named |= {f"turns_{name}": array for name, array in self.turns.arrays().items()}
        named |= {f"people_{name}": array for name, array in self.people.arrays().items()}
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, facts=np.array(json.dumps(facts)), **named)

    @classmethod
    def load(cls, path: Path) -> Heard:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            facts = json.loads(str(arrays["facts"]))
            parts = {
                which: {name.removeprefix(which): arrays[name] for name in arrays.files if name.startswith(which)}
                for which in ("all_", "foreground_", "turns_", "people_")
            }
        rng = np.random.default_rng()
        rng.bit_generator.state = facts["rng"]
        return cls(
            kmeans.EmbeddingSample.of_arrays(parts["all_"]),
            kmeans.EmbeddingSample.of_arrays(parts["foreground_"]),
            background.Foreground(facts["foreground"]),
            BlockEnergy(facts["first_block"], facts["energy"]),
            facts["segments"],
            LocalTurns.of_arrays(parts["turns_"]),
            People.of_arrays(parts["people_"]),
            rng,
        )
