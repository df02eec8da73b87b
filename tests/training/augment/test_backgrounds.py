"""Noise has the colour and hum the harmonics that they should have, at the level that was asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unmingle.training.augment import backgrounds

RATE = 16_000


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def level_db(noise, low_hz, high_hz):
    """Power per Hz between two frequencies."""
    power = torch.fft.rfft(noise).abs().square()
    bins = [round(hz * noise.shape[-1] / RATE) for hz in (low_hz, high_hz)]
    return 10.0 * torch.log10(power[..., slice(*bins)].mean(-1))


@pytest.mark.parametrize(("steepness", "per_octave_db"), [(0.0, 0.0), (0.5, -3.01), (1.0, -6.02)])
def test_white_pink_and_brown_fall_by_0_3_and_6_db_per_octave(steepness, per_octave_db):
    noise = backgrounds.coloured_noise(torch.full((20,), steepness), 2 * RATE, RATE, generator())
    octaves = [level_db(noise, hz, 2 * hz).mean() for hz in (250, 500, 1000, 2000, 4000)]
    assert np.diff(octaves) == pytest.approx(np.full(4, per_octave_db), abs=0.3)
    assert noise.square().mean(-1).numpy() == pytest.approx(np.ones(20), rel=1e-4)


def test_a_level_wanders_slowly_and_within_its_depth():
    gains_db = 20.0 * torch.log10(backgrounds.slow_changes(50, 2 * RATE, RATE, generator()))
    assert gains_db.abs().max() <= 10.0 + 1e-3
    assert gains_db.std(-1).mean() > 2.0
    assert gains_db.diff(dim=-1).abs().max() * RATE < 20.0 / 0.4


def test_hum_is_harmonics_of_50_or_60_hz():
    spectra = torch.fft.rfft(backgrounds.hum(40, RATE, RATE, generator())).abs().square()  # bins of 1 Hz
    shares = {hz: spectra[:, ::hz].sum(-1) / spectra.sum(-1) for hz in (50, 60)}
    assert ((shares[50] > 0.999) | (shares[60] > 0.999)).all()
    assert min(float((shares[hz] > 0.999).float().mean()) for hz in (50, 60)) > 0.2


def test_a_background_is_as_far_below_the_voices_as_asked():
    voices, noise = torch.randn(5, RATE, generator=generator()), 7.0 * torch.randn(5, RATE, generator=generator(1))
    wanted_db = torch.tensor([-5.0, 0.0, 10.0, 20.0, 30.0])
    set_to = backgrounds.at_snr(noise, voices, wanted_db)
    found_db = 10.0 * torch.log10(voices.square().sum(-1) / set_to.square().sum(-1))
    assert found_db.numpy() == pytest.approx(wanted_db.numpy(), abs=0.01)


def test_silent_backgrounds_stay_silent_and_silent_voices_leave_a_background_that_is_heard():
    nothing, noise = torch.zeros(1, RATE), torch.randn(1, RATE, generator=generator())
    assert not backgrounds.at_snr(nothing, noise, torch.tensor([5.0])).any()
    alone = backgrounds.at_snr(noise, nothing, torch.tensor([5.0]))
    assert alone.square().mean().sqrt() == pytest.approx(backgrounds.VOICE_RMS, rel=1e-3)
