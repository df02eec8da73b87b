"""A corpus and conditions -> the rooms, noises and babble that scenes take theirs from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from unmingle.training.augment.conditions import Conditions
from unmingle.training.augment.rooms import make_rooms
from unmingle.training.augment.scene import Surroundings
from unmingle.training.corpus import Corpus, read_backgrounds
from unmingle.training.mixtures import MixtureConfig, MixtureSampler

ROOM_PLACES = 6
BLENDS = (0.6, 0.4)
"""Chance that a recorded background is one recording, or two at once."""
BABBLE = (0.0, 0.0, 0.0, 0.0, 0.25, 0.25, 0.25, 0.25)
"""Chance of each number of voices in babble."""


def find_surroundings(
    conditions: Conditions,
    data: Path,
    corpus: Corpus,
    most_sources: int,
    generator: torch.Generator,
    rooms: int,
    seed: int = 0,
    pieces: int = 1,
    cache: Path | None = None,
) -> Surroundings:
    """Rooms, recorded backgrounds and babble, as far as the conditions want them, on the corpus's device.

    Args:
        data: folder of the corpus, with or without backgrounds.
        corpus: whose voices babble.
        most_sources: in a mixture; there are as many places in a room, or more.
        generator: draws noises and babble.
        rooms: how many to make.
        seed: decides the rooms.
        pieces: of a mixture; they share noises and babble.
        cache: folder for decoded backgrounds, as of `read_corpus`.
    """
    rate, device = corpus.sample_rate, corpus.device
    bank = noises = babble = None
    if conditions.room_chance:
        places = max(ROOM_PLACES, most_sources)
        bank = make_rooms(rooms, places, rate, np.random.default_rng(seed)).to(device)
    if conditions.noise_chance:
        found = read_backgrounds(data, "train", rate, cache)
        if found:
            blends = MixtureConfig(BLENDS, level_range_db=15.0, sound_chance=0.0, speed_range=0.1, pieces=pieces)
            noises = MixtureSampler(found.to(device), blends, generator)
        if int(corpus.is_speech.sum()) >= len(BABBLE):
            crowds = MixtureConfig(BABBLE, sound_chance=0.0, speed_range=0.1, pieces=pieces)
            babble = MixtureSampler(corpus, crowds, generator)
    return Surroundings(bank, noises, babble)
