"""Which mixtures under which conditions: all that is measured, as small descriptions that travel to processes."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unmingle.training.evaluation.mixture_list import ListedMixture, Part, read_list

SEED = 2016


@dataclasses.dataclass(frozen=True)
class Condition:
    """What is done to the sources of a mixture before they are added up.

    Attributes:
        title: in tables.
        rt60_s: each source is heard in a room; 0 is none.
        noise: none, white noise, or recordings of sounds that are not speech.
        snr_db: of the mixture of all sources over the noise.
        level_db: how much louder the first source is than the second; None leaves them as they are.
        stems_more: how many more stems are asked for than there are sources.
    """

    title: str
    rt60_s: float = 0.0
    noise: str = ""
    snr_db: float = 0.0
    level_db: float | None = None
    stems_more: int = 0


@dataclasses.dataclass(frozen=True)
class Case:
    """One mixture under one condition.

    Attributes:
        group: of which table it is.
        noise_file: what is heard besides; None for white noise or none.
        seed: of its room and its noise.
    """

    group: str
    condition: Condition
    listed: ListedMixture
    noise_file: Path | None
    seed: int


CLEAN = Condition("clean")
CONDITIONS = (
    CLEAN,
    *(Condition(f"room, RT60 {t} s", rt60_s=t) for t in (0.3, 0.6)),
    *(Condition(f"white noise, {snr} dB below", noise="white", snr_db=snr) for snr in (20, 10, 0)),
    *(Condition(f"everyday sounds, {snr} dB below", noise="sounds", snr_db=snr) for snr in (20, 10, 0)),
    *(Condition(f"the same, {snr} dB, a stem more", noise="sounds", snr_db=snr, stems_more=1) for snr in (10, 0)),
    Condition("room, RT60 0.3 s, and white noise, 20 dB below", rt60_s=0.3, noise="white", snr_db=20),
)
LEVELS = tuple(Condition(f"{db} dB", level_db=db) for db in (0, 5, 10, 15))


def cases(corpus: Path, subset: int) -> list[Case]:
    """Everything to measure: three times `subset` of test_2mix as they are, and `subset` for each thing else.

    Raises:
        EvaluationError: a list is not there or not right.
    """
    pairs = read_list(corpus / "test_2mix.csv")
    threes, sounds = read_list(corpus / "test_3mix.csv"), read_list(corpus / "test_speech_sound.csv")
    few = drawn(pairs, subset)
    noises = noise_files(corpus)
    found = [Case("pairs", CLEAN, mixture, None, 0) for mixture in drawn(pairs, 3 * subset)]
    for condition in CONDITIONS:
        for n, mixture in enumerate(few):
            noise = noises[n % len(noises)] if condition.noise == "sounds" and noises else None
            if condition.noise != "sounds" or noise:
                found.append(Case("conditions", condition, mixture, noise, n))
    found += [Case("levels", condition, mixture, None, n) for condition in LEVELS for n, mixture in enumerate(few)]
    many = {2: few, 3: drawn(threes, subset), 4: together(pairs, pairs, subset), 5: together(pairs, threes, subset)}
    for number, mixtures in many.items():
        found += [Case("numbers", Condition(str(number)), mixture, None, 0) for mixture in mixtures]
    found += [Case("sounds", CLEAN, mixture, None, 0) for mixture in drawn(sounds, subset)]
    return found


def drawn(listed: Sequence[ListedMixture], count: int) -> list[ListedMixture]:
    """`count` of them, in the order of the list; all where there are fewer."""
    chosen = np.random.default_rng(SEED).permutation(len(listed))[:count]
    return [listed[i] for i in sorted(chosen)]


def together(some: Sequence[ListedMixture], others: Sequence[ListedMixture], count: int) -> list[ListedMixture]:
    """Mixtures of more speakers: two of a list at once, no speaker twice."""
    rng = np.random.default_rng(SEED)
    first, second = rng.permutation(len(some)), rng.permutation(len(others))
    found: list[ListedMixture] = []
    for n, a in enumerate(first[:count]):
        for b in np.roll(second, -n):
            parts = some[a].parts + others[b].parts
            if len({speaker(part) for part in parts}) == len(parts):
                seconds = min(some[a].seconds, others[b].seconds)
                found.append(ListedMixture(f"{some[a].id}+{others[b].id}", seconds, parts))
                break
    return found


def speaker(part: Part) -> str:
    """Who speaks: the folder of the recording."""
    return part.path.parent.name


def noise_files(corpus: Path) -> list[Path]:
    """Recordings of the corpus's test split that are not speech, in a drawn order."""
    table = corpus / "metadata.csv"
    if not table.is_file():
        return []
    with table.open(newline="", encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row["split"] == "test" and row.get("language") == "-"]
    order = np.random.default_rng(SEED).permutation(len(rows))
    return [corpus / rows[i]["path"] for i in order]
