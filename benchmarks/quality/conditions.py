"""Which mixtures under which conditions: all that is measured, as small descriptions that travel to processes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unmingle.training.evaluation import conditions as heard_under
from unmingle.training.evaluation.conditions import CONDITIONS, Condition, sounds_of
from unmingle.training.evaluation.drawn_mixtures import mixtures_of
from unmingle.training.evaluation.mixture_list import ListedMixture, read_list

SEED = 2016


@dataclasses.dataclass(frozen=True)
class Case:
    """One mixture under one condition, and where it belongs on the page.

    Attributes:
        group: of which table it is.
        title: of which line.
        heard: the mixture and its condition.
        stems_more: how many more stems are asked for than there are sources.
    """

    group: str
    title: str
    heard: heard_under.Case
    stems_more: int = 0

    @property
    def listed(self) -> ListedMixture:
        """The mixture's row."""
        return self.heard.listed


CLEAN = CONDITIONS["clean"]
UNDER: Sequence[tuple[Condition, int]] = (
    (CLEAN, 0),
    *((Condition(f"room, RT60 {t} s", rt60_s=t), 0) for t in (0.3, 0.6)),
    *((Condition(f"white noise, {snr} dB below", background="white", snr_db=snr), 0) for snr in (20, 10, 0)),
    *((Condition(f"everyday sounds, {snr} dB below", background="sounds", snr_db=snr), 0) for snr in (20, 10, 0)),
    *((Condition(f"the same, {snr} dB, a stem more", background="sounds", snr_db=snr), 1) for snr in (10, 0)),
    (Condition("room, RT60 0.3 s, and white noise, 20 dB below", rt60_s=0.3, background="white", snr_db=20), 0),
    *((CONDITIONS[name], 0) for name in ("babble", "pink", "hum", "8khz", "telephone", "codec", "clipped")),
)
"""Conditions, and how many stems more are asked for."""
LEVELS = tuple(Condition(f"{db} dB", level_db=db) for db in (0, 5, 10, 15))


def cases(corpus: Path, subset: int) -> list[Case]:
    """Everything to measure: three times `subset` of test_2mix as they are, and `subset` for each thing else.

    Everyday sounds are left out where the corpus has none.

    Raises:
        EvaluationError: a list is not there or not right.
    """
    pairs = read_list(corpus / "test_2mix.csv")
    threes, with_sounds = read_list(corpus / "test_3mix.csv"), read_list(corpus / "test_speech_sound.csv")
    few, sounds = drawn(pairs, subset), sounds_of(corpus)

    def under(group: str, mixtures: Sequence[ListedMixture], condition: Condition, stems_more: int = 0) -> list[Case]:
        made = heard_under.cases(mixtures, condition, sounds, voices=pairs + threes)
        return [Case(group, condition.title, case, stems_more) for case in made]

    found = under("pairs", drawn(pairs, 3 * subset), CLEAN)
    for condition, stems_more in UNDER:
        if condition.background != "sounds" or sounds:
            found += under("conditions", few, condition, stems_more)
    for condition in LEVELS:
        found += under("levels", few, condition)
    many = {2: few, 3: drawn(threes, subset)} | {n: mixtures_of(corpus, "test", n, subset) for n in (4, 5)}
    for number, mixtures in many.items():
        found += under("numbers", mixtures, Condition(str(number)))
    return found + under("sounds", drawn(with_sounds, subset), CLEAN)


def drawn(listed: Sequence[ListedMixture], count: int) -> list[ListedMixture]:
    """`count` of them, in the order of the list; all where there are fewer."""
    chosen = np.random.default_rng(SEED).permutation(len(listed))[:count]
    return [listed[i] for i in sorted(chosen)]
