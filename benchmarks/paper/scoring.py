"""A method on a list of mixtures -> figures, clustering all at once and segment by segment."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from benchmarks.paper.hearing import hear
from benchmarks.paper.methods import Method
from benchmarks.paper.rows import FRAMES
from unmingle.model.config import ModelConfig
from unmingle.training.evaluation.mixture_list import ListedMixture

GLOBAL, LOCAL = "global", "local"
Figures = dict[str, dict[str, float]]
"""By way of clustering and by pairing, mean SI-SDRi in dB; under `sdr`, that of SDRi; under `seconds`, CPU time
for masks per recording."""


def score(method: Method, listed: Sequence[ListedMixture], config: ModelConfig, title: str) -> Figures:
    """Separate every mixture of a list by a method.

    GLOBAL: masks of the whole recording at once. LOCAL: masks of each segment of FRAMES frames alone, put into the
    order of the sources by an oracle; what is lost from LOCAL to GLOBAL is lost by not knowing that order.
    """
    found: dict[str, list[float]] = {GLOBAL: [], LOCAL: []}
    seconds: dict[str, list[float]] = {GLOBAL: [], LOCAL: []}
    sdr: list[float] = []
    for mixture in tqdm(listed, desc=title, unit="mixture", mininterval=30.0):
        heard = hear(mixture, config)
        masker = method(heard)
        for way, parts in ((GLOBAL, [heard.whole]), (LOCAL, heard.segments(FRAMES))):
            began = time.process_time()
            masks = [masker(part) for part in parts]
            seconds[way].append(time.process_time() - began)
            if way == LOCAL:
                masks = [heard.in_order(m, part) for m, part in zip(masks, parts, strict=True)]
            found[way].append(heard.improvement_db(np.concatenate(masks, axis=1)))
            if way == GLOBAL:
                sdr.append(heard.sdr_improvement_db(masks[0]))
    figures = {way: by_pairing(listed, found[way]) | {"seconds": float(np.mean(seconds[way]))} for way in found}
    figures[GLOBAL]["sdr"] = float(np.nanmean(sdr))
    return figures


def score_ideal(listed: Sequence[ListedMixture], config: ModelConfig) -> Figures:
    """The ideal binary mask: what no binary mask on these bins can surpass."""
    all_heard = [hear(mixture, config) for mixture in listed]
    figures = by_pairing(listed, [heard.improvement_db(heard.ideal()) for heard in all_heard])
    sdr = float(np.nanmean([heard.sdr_improvement_db(heard.ideal()) for heard in all_heard]))
    return {GLOBAL: figures | {"sdr": sdr}}


def by_pairing(listed: Sequence[ListedMixture], improvements_db: Sequence[float]) -> dict[str, float]:
    """Means over all mixtures, over those of one gender, and over those of both; a group without any is left out."""
    same = np.array([len(set(mixture.pairing)) == 1 for mixture in listed])
    values = np.array(improvements_db)
    groups = {"all": np.ones(len(values), bool), "same": same, "different": ~same}
    return {name: float(np.nanmean(values[group])) for name, group in groups.items() if group.any()}
