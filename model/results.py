"""What comes of a separation."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

from unmingle.model.options import Background
from unmingle.model.overview import Overview
from unmingle.model.recording import Samples
from unmingle.model.signal.activity import Stretch
from unmingle.model.spatial.blocks import SpatialReport


@dataclasses.dataclass(frozen=True)
class StemReport:
    """What is known of one stem.

    Attributes:
        energy_share: its part of the summed energy of the stems; 0 where all are silent.
        confidence: 0 to 1: how pure it is likely to be; see unmingle.model.signal.masks.Clarity.
        active: when it is heard.
        channel: the channel, from 1, that it is a stem of; None where the channels were separated together.
    """

    energy_share: float
    confidence: float
    active: tuple[Stretch, ...]
    channel: int | None = None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What is known of a separation besides the stems themselves, which went to a sink.

    Attributes:
        order: where in the sink's order the loudest stem is, then the next one... (a background is not among them: it
            is the sink's last).
        background: what became of the background.
        stems: a report each, loudest first.
        count_chance: how sure the number of sources is, 0 to 1; None where it was given.
        samples: length of every stem.
        stage_seconds: wall time by stage.
        warnings: what spoils the result, in words.
        spatial: how several channels were used together; None where each was masked alike.
        reference: the channel, from 0, that the stems are of, where only one was wanted.
        overview: what the separation looks like, where that was asked for.
    """

    order: tuple[int, ...]
    background: Background
    stems: tuple[StemReport, ...]
    count_chance: float | None
    samples: int
    stage_seconds: Mapping[str, float]
    warnings: tuple[str, ...] = ()
    spatial: SpatialReport | None = None
    reference: int | None = None
    overview: Overview | None = None


@dataclasses.dataclass(frozen=True)
class Separation:
    """What came of a recording in memory.

    Attributes:
        stems: (sources, samples), or (sources, channels, samples) where the mixture had channels; the mixture's
            length, rate and level, loudest first. With the background, where it is a stem, they add up to the mixture.
        background: (samples,) or (channels, samples): noise, music under speech, hum; None where it is not a stem.
        sample_rate: Hz, the mixture's.
        reports: what is known of each stem.
        count_chance: how sure the number of sources is, 0 to 1; None where it was given.
        stage_seconds: wall time by stage.
        warnings: what spoils the result, in words.
        spatial: how several channels were used together; None where each was masked alike.
        reference: the channel, from 0, that the stems are of, where only one was wanted.
    """

    stems: Samples
    background: Samples | None
    sample_rate: int
    reports: tuple[StemReport, ...]
    count_chance: float | None
    stage_seconds: Mapping[str, float]
    warnings: tuple[str, ...] = ()
    spatial: SpatialReport | None = None
    reference: int | None = None

    @property
    def energy_share(self) -> tuple[float, ...]:
        """Per stem, its part of the summed energy of the stems."""
        return tuple(report.energy_share for report in self.reports)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write stem_1.wav ... (32-bit float), background.wav where there is one, and activity.rttm.

        Args:
            folder: is made if it is not there; files of these names are replaced.

        Returns:
            The folder.
        """
        import soundfile

        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        named = [(f"stem_{number}", stem) for number, stem in enumerate(self.stems, 1)]
        if self.background is not None:
            named.append(("background", self.background))
        for name, samples in named:
            soundfile.write(target / f"{name}.wav", samples.T, self.sample_rate, "FLOAT")
        (target / "activity.rttm").write_text(
            "".join(
                f"SPEAKER recording 1 {stretch.start_s:.3f} {stretch.end_s - stretch.start_s:.3f} <NA> <NA> "
                f"stem_{number} <NA> <NA>\n"
                for number, report in enumerate(self.reports, 1)
                for stretch in report.active
            )
        )
        return target
