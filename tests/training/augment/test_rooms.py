"""Rooms decay as asked, each voice has a place in them, and echo belongs to the voice."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unmingle.training.augment.rooms import absorption, heard_in, make_rooms

RATE = 16_000


def decay_s(response):
    """RT60 by Schroeder's backward integration, from the slope between -5 and -25 dB (T20) after the direct sound."""
    energy = np.square(response[round(0.005 * RATE) :], dtype=np.float64)
    left_db = 10.0 * np.log10(np.cumsum(energy[::-1])[::-1] / energy.sum() + 1e-30)
    return 3.0 * ((left_db < -25.0).argmax() - (left_db < -5.0).argmax()) / RATE


@pytest.mark.parametrize("rt60_s", [0.2, 0.5, 0.8])
def test_a_room_decays_by_60_db_in_its_time(rt60_s):
    bank = make_rooms(8, 4, RATE, np.random.default_rng(0), (rt60_s, rt60_s))
    found = np.array([decay_s(place) for place in bank.responses.numpy().reshape(32, -1)])
    # In a room so dead that 0.2 s are enough, Eyring's formula is itself some 15 % off.
    assert np.median(found) == pytest.approx(rt60_s, rel=0.15 if rt60_s < 0.3 else 0.1)
    assert np.percentile(np.abs(found / rt60_s - 1.0), 80) < 0.3


def test_responses_begin_with_the_direct_sound_and_have_energy_1():
    responses = make_rooms(4, 5, RATE, np.random.default_rng(1)).responses
    assert responses.shape == (4, 5, round(0.8 * RATE))
    assert responses.square().sum(-1).numpy() == pytest.approx(np.ones((4, 5)), rel=1e-4)
    loudest = responses.abs().amax(-1)
    assert (responses[..., :2].abs().amax(-1) > 0.25 * loudest).all()


def test_some_are_near_and_some_are_far_and_no_two_places_are_the_same():
    responses = make_rooms(6, 6, RATE, np.random.default_rng(2)).responses
    early = responses[..., : round(0.003 * RATE)].square().sum(-1)
    direct_to_echo_db = 10.0 * torch.log10(early / (1.0 - early))
    assert direct_to_echo_db.max() > 5.0
    assert direct_to_echo_db.min() < -5.0
    for room in responses:
        alike = torch.corrcoef(room[:, 100:])
        assert (alike - torch.eye(6)).max() < 0.6


def test_the_same_seed_makes_the_same_rooms():
    first, again, other = (make_rooms(2, 2, RATE, np.random.default_rng(seed)).responses for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_absorption_is_eyrings():
    """A cube of 5 m whose walls take half: 0.161 V / (-S ln(1 - a)) = 0.194 s."""
    assert absorption(np.full(3, 5.0), 0.161 * 125.0 / (150.0 * np.log(2.0))) == pytest.approx(0.5, abs=0.002)


def test_hearing_through_a_response_is_convolution_and_silence_stays_silence():
    rng = torch.Generator().manual_seed(0)
    sources, responses = torch.randn(2, 3, 500, generator=rng), torch.randn(2, 3, 90, generator=rng)
    sources[1, 2] = 0.0
    heard = heard_in(sources, responses)
    expected = np.stack(
        [[np.convolve(s, r)[:500] for s, r in zip(*pair, strict=True)] for pair in zip(sources, responses, strict=True)]
    )
    np.testing.assert_allclose(heard, expected, atol=1e-4)
    assert not heard[1, 2].any()
