"""Under which conditions a list can be heard: `--condition telephone`. evaluation.hearing makes them heard."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from unmingle.training.evaluation.errors import EvaluationError
from unmingle.training.evaluation.mixture_list import ListedMixture

Background = Literal["", "white", "pink", "hum", "babble", "sounds"]
Channel = Literal["", "telephone", "8khz", "amr", "opus", "clipped", "gain_control"]

BABBLE_VOICES = 6
FEWEST_IN_BABBLE = 4
SEED = 2016


@dataclasses.dataclass(frozen=True)
class Condition:
    """What happens to the sources of a mixture before anybody hears them.

    Attributes:
        title: in tables.
        level_db: how much louder the first source is than each of the others; None leaves them as they are.
        rt60_s: the sources are heard in a room, each in a place of its own; 0 is none.
        background: what is heard behind the sources, and is no source.
        snr_db: how far the background is below all sources together.
        channel: what the recording goes through.
    """

    title: str
    level_db: float | None = None
    rt60_s: float = 0.0
    background: Background = ""
    snr_db: float = 0.0
    channel: Channel = ""


CONDITIONS: Mapping[str, Condition] = {
    "clean": Condition("clean"),
    "quiet": Condition("15 dB apart", level_db=15.0),
    "room": Condition("room, RT60 0.5 s", rt60_s=0.5),
    "white": Condition("white noise, 10 dB below", background="white", snr_db=10.0),
    "pink": Condition("pink noise, 5 dB below", background="pink", snr_db=5.0),
    "hum": Condition("mains hum, 10 dB below", background="hum", snr_db=10.0),
    "babble": Condition("babble, 10 dB below", background="babble", snr_db=10.0),
    "sounds": Condition("everyday sounds, 10 dB below", background="sounds", snr_db=10.0),
    "8khz": Condition("8 kHz", channel="8khz"),
    "telephone": Condition("telephone: 300 to 3400 Hz, 8 kHz, mu-law", channel="telephone"),
    "codec": Condition("mobile telephone: AMR, 12.2 kbit/s", channel="amr"),
    "opus": Condition("Opus, 12 kbit/s", channel="opus"),
    "clipped": Condition("clipped at 30 % of the peak", channel="clipped"),
    "gain-control": Condition("automatic gain control", channel="gain_control"),
}


@dataclasses.dataclass(frozen=True)
class Case:
    """One mixture under one condition; small, so that it travels to processes.

    Attributes:
        behind: recordings that make the background, where it is recorded.
        seed: decides everything that is drawn.
    """

    listed: ListedMixture
    condition: Condition
    behind: tuple[Path, ...]
    seed: int


def cases(
    listed: Sequence[ListedMixture],
    condition: Condition,
    sounds: Sequence[Path],
    voices: Sequence[ListedMixture] = (),
) -> list[Case]:
    """All mixtures of a list under one condition, each with its row in the list as its seed.

    Args:
        sounds: recordings to choose from where the background is of everyday sounds.
        voices: mixtures whose speakers make babble, behind mixtures that they are not in; the list's own by default.

    Raises:
        EvaluationError: there is nothing to make the background of.
    """
    found = []
    for seed, mixture in enumerate(listed):
        behind: tuple[Path, ...] = ()
        if condition.background == "sounds":
            if not sounds:
                raise EvaluationError(
                    "Everyday sounds were asked for, but there are none: expected a metadata.csv beside the list, or "
                    "in the folder that --data names, with rows whose split is 'test' and whose language is '-'."
                )
            behind = (sounds[seed % len(sounds)],)
        if condition.background == "babble":
            behind = _others(voices or listed, mixture, seed)
        found.append(Case(mixture, condition, behind, seed))
    return found


def _others(voices: Sequence[ListedMixture], mixture: ListedMixture, seed: int) -> tuple[Path, ...]:
    """Voices for babble: of other speakers than the mixture's. Where nobody says who speaks, a folder is a speaker."""
    present = {part.speaker or part.path.parent for part in mixture.parts}
    every = {part.path: part.speaker or part.path.parent for other in voices for part in other.parts if part.is_speech}
    others = sorted(path for path, who in every.items() if who not in present)
    if len(others) < FEWEST_IN_BABBLE:
        raise EvaluationError(
            f"Babble was asked for behind mixture {mixture.id}, but the list has {len(others)} voices of other "
            f"speakers (recordings in other folders); expected {FEWEST_IN_BABBLE} or more."
        )
    order = np.random.default_rng(seed).permutation(len(others))
    return tuple(others[i] for i in order[:BABBLE_VOICES])


def sounds_of(corpus: Path) -> list[Path]:
    """Recordings of a corpus's test split that are not speech, in a drawn order; none where it has no metadata.csv."""
    table = corpus / "metadata.csv"
    if not table.is_file():
        return []
    with table.open(newline="", encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row.get("split") == "test" and row.get("language") == "-"]
    order = np.random.default_rng(SEED).permutation(len(rows))
    return [corpus / rows[i]["path"] for i in order]
