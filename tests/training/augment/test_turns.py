"""Voices pause and take turns, and somebody always talks."""

from __future__ import annotations

import torch

from unmingle.training.augment.turns import RAMP_S, SHORTEST, take_turns

RATE = 16_000
SAMPLES = 8_000


def turns(present, seed=0, where=None):
    """Gates of voices that would talk all the time; `present` (batch, source)."""
    sources = present.float().unsqueeze(-1).expand(-1, -1, SAMPLES).contiguous()
    where = torch.ones(len(sources), dtype=torch.bool) if where is None else where
    return take_turns(sources, where, RATE, torch.Generator().manual_seed(seed))


def test_somebody_talks_in_every_piece_however_few_are_there():
    numbers = torch.arange(2_000) % 5 + 1
    gates = turns(torch.arange(5) < numbers.unsqueeze(1))
    talking = gates.amax(-1) > 0.99
    assert talking.any(1).all()
    assert (~talking[numbers == 2]).any(1).float().mean() > 0.2  # and somebody is often silent
    assert not (talking & (torch.arange(5) >= numbers.unsqueeze(1))).any()


def test_a_voice_that_is_absent_is_not_the_one_who_talks():
    present = torch.tensor([[False, True, False]]).expand(400, -1)
    assert (turns(present)[:, 1].amax(-1) > 0.99).all()


def test_overlap_goes_from_none_to_nearly_all():
    gates = turns(torch.ones(1_000, 2, dtype=torch.bool)) > 0.5
    both = gates.amax(-1).all(1)
    overlap = (gates[both].all(1).float().mean(-1) / gates[both].any(1).float().mean(-1)).sort().values
    assert overlap[0] == 0.0
    assert overlap[-1] > 0.9


def test_a_turn_is_one_stretch_with_soft_ends():
    gates = turns(torch.ones(100, 2, dtype=torch.bool)).flatten(0, 1)
    heard = gates[gates.amax(-1) > 0]
    edges = (heard > 0.5).int().diff(dim=-1).abs().sum(-1)
    assert edges.max() <= 2
    assert (heard > 0).float().mean(-1).min() > SHORTEST - 0.01
    assert heard.diff(dim=-1).abs().max() < 1.01 / (RAMP_S * RATE)


def test_other_pieces_stay_as_they_are():
    where = torch.tensor([True, False] * 20)
    gates = turns(torch.ones(40, 2, dtype=torch.bool), where=where)
    assert (gates[~where] == 1.0).all()
    assert (gates[where] < 1.0).any()
