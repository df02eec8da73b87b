"""What is measured on stems while they are made; of parts of a recording, it can be joined."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unmingle.model.clustering.speech import SpeechTrack
from unmingle.model.config import ModelConfig
from unmingle.model.options import Background
from unmingle.model.overview import Gathering
from unmingle.model.parts import Plan
from unmingle.model.recording import Recording
from unmingle.model.results import Outcome, StemReport
from unmingle.model.signal.activity import EnergyTrack
from unmingle.model.signal.masks import Clarity
from unmingle.model.spatial.blocks import SpatialReport
from unmingle.model.stage_clock import StageClock


@dataclasses.dataclass
class Measured:
    """What was measured.

    Attributes:
        track: energy of the stems over time.
        clarity: how far they can be believed.
        speech: when somebody speaks.
        gathering: for an overview; None where that is not wanted.
        stage_seconds: wall time by stage.
        samples: of each stem so far.
        spatial: how several channels were used together.
    """

    track: EnergyTrack
    clarity: Clarity
    speech: SpeechTrack
    gathering: Gathering | None
    stage_seconds: Mapping[str, float]
    samples: int = 0
    spatial: SpatialReport | None = None

    @classmethod
    def nothing(
        cls,
        recording: Recording,
        sources: int,
        config: ModelConfig,
        clock: StageClock,
        gathering: Gathering | None = None,
    ) -> Measured:
        """Before there are stems."""
        track = EnergyTrack(recording.sample_rate, sources)
        return cls(track, Clarity(sources), SpeechTrack(config), gathering, clock.seconds)

    def extend(self, later: Measured) -> None:
        """Take in what was measured on the stems of the part that follows."""
        self.track.extend(later.track)
        self.clarity.extend(later.clarity)
        self.speech.extend(later.speech)
        if self.gathering and later.gathering:
            self.gathering.extend(later.gathering)
        self.stage_seconds = added(self.stage_seconds, later.stage_seconds)
        self.samples += later.samples

    def outcome(self, plan: Plan, background: Background) -> Outcome:
        """Of a separation by this plan."""
        order, reports = _reports(self.track, self.clarity, self.speech, plan)
        overview = self.gathering.finish(plan.centroids, order) if self.gathering else None
        return Outcome(
            order,
            background,
            reports,
            plan.count_chance,
            self.samples,
            self.stage_seconds,
            spatial=self.spatial,
            overview=overview,
        )

    def save(self, path: Path) -> None:
        """Write it into a file (NumPy's .npz), without `spatial`."""
        facts = {"clarity": self.clarity.sums, "stage_seconds": dict(self.stage_seconds), "samples": self.samples}
        named: dict[str, Any] = {f"track_{name}": array for name, array in self.track.arrays().items()}
        named |= {f"speech_{name}": array for name, array in self.speech.arrays().items()}
        if self.gathering:
            named |= {f"gathering_{name}": array for name, array in self.gathering.arrays().items()}
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, facts=np.array(json.dumps(facts)), **named)

    def restore(self, path: Path, sources: int) -> None:
        """Read what `save` wrote of so many sources, in place of what was measured."""
        with np.load(path, allow_pickle=False) as arrays:
            facts = json.loads(str(arrays["facts"]))
            named = {name: arrays[name] for name in arrays.files}
        self.track.restore(_of("track_", named))
        self.speech.restore(_of("speech_", named))
        if self.gathering:
            self.gathering.restore(_of("gathering_", named))
        self.clarity = Clarity(sources, facts["clarity"])
        self.stage_seconds, self.samples = facts["stage_seconds"], facts["samples"]


def added(seconds: Mapping[str, float], more: Mapping[str, float]) -> dict[str, float]:
    """Time by stage, of both together."""
    return {stage: seconds.get(stage, 0.0) + more.get(stage, 0.0) for stage in {**seconds, **more}}


def _of(prefix: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _reports(
    track: EnergyTrack, clarity: Clarity, speech: SpeechTrack, plan: Plan
) -> tuple[tuple[int, ...], tuple[StemReport, ...]]:
    """The order of the stems, loudest first, and a report on each in that order."""
    energy = track.totals()
    order = np.argsort(-energy, kind="stable").tolist()
    total = float(energy.sum())
    stretches = track.stretches(speech.at, lambda seconds: plan.turns.windows(seconds, plan.talk))
    confidence = clarity.per_source()
    reports = (StemReport(float(energy[i] / total) if total > 0 else 0.0, confidence[i], stretches[i]) for i in order)
    return tuple(order), tuple(reports)
