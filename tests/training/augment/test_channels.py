"""Channels do to a recording what the standards and a listener's ears say they do."""

from __future__ import annotations

import numpy as np
import pytest
import soxr
import torch

from unmingle.training.augment import channels

RATE = 16_000


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def energy_outside(signal, low_hz, high_hz):
    spectrum = torch.fft.rfft(signal).abs().square()
    frequency = torch.fft.rfftfreq(signal.shape[-1], 1 / RATE)
    return spectrum[..., (frequency < low_hz) | (frequency > high_hz)].sum()


def tone(hz, samples=RATE, rate=RATE):
    return torch.sin(2 * np.pi * hz * torch.arange(samples, dtype=torch.float64) / rate).float().unsqueeze(0)


def snr_db(heard, sent):
    return float(10.0 * torch.log10(sent.square().sum() / (heard - sent).square().sum()))


def test_a_telephone_band_leaves_a_ten_thousandth_outside_and_all_inside():
    noise = torch.randn(1, RATE, generator=generator())
    gains = channels.band_limit(torch.tensor([300.0]), torch.tensor([3400.0]), RATE // 2 + 1, RATE)
    heard = channels.filtered(noise, gains)
    assert energy_outside(heard, 300.0, 3400.0) < 1e-4 * energy_outside(noise, 300.0, 3400.0)
    for hz in (400, 1000, 3000):
        torch.testing.assert_close(channels.filtered(tone(hz), gains), tone(hz), atol=1e-4, rtol=0)
    for hz in (50, 200, 4000, 7000):
        assert channels.filtered(tone(hz), gains).abs().max() < 0.01


def test_a_filter_treats_the_sources_of_a_mixture_alike_and_each_mixture_by_its_own_gains():
    sources = torch.randn(2, 3, 999, generator=generator())
    gains = channels.equaliser(2, 500, RATE, generator(1))
    heard = channels.filtered(sources, gains)
    torch.testing.assert_close(heard.sum(1), channels.filtered(sources.sum(1), gains), atol=1e-4, rtol=0)
    torch.testing.assert_close(heard[1], channels.filtered(sources[1:], gains[1:])[0])
    assert not torch.allclose(gains[0], gains[1])


def test_an_equaliser_is_uneven_by_no_more_than_it_says():
    gains_db = 20.0 * torch.log10(channels.equaliser(200, 4001, RATE, generator()))
    assert gains_db.abs().max() < 24.1  # a tilt of 6 dB, and three peaks of 6 dB in one place
    assert 2.0 < (gains_db.amax(-1) - gains_db.amin(-1)).median() < 20.0


@pytest.mark.parametrize(("rate", "wanted"), [(16_000, 8_000), (8_000, 16_000), (44_100, 8_000), (16_000, 16_000)])
@pytest.mark.parametrize("seconds", [1.0, 0.83217])
def test_resampling_is_in_step_and_leaves_tones_that_fit(rate, wanted, seconds):
    samples = round(seconds * rate)
    heard = channels.resampled(tone(1000, samples, rate), rate, wanted)
    expected = tone(1000, heard.shape[-1], wanted)
    assert abs(heard.shape[-1] - samples * wanted / rate) < 1
    edge = wanted // 50  # where a tone begins and ends, it is none
    assert (heard - expected)[..., edge:-edge].abs().max() < 0.02
    by_soxr = torch.from_numpy(soxr.resample(tone(1000, samples, rate)[0].numpy(), rate, wanted))
    size = min(heard.shape[-1], len(by_soxr))
    assert (heard[0, :size] - by_soxr[:size])[edge:-edge].abs().max() < 0.02


def mu_law_decoder():
    """The values of ITU-T G.711, table 2, of full scale 8159: eight segments of sixteen steps, each twice as wide."""
    positive = [((2 * step + 33) << segment) - 33 for segment in range(8) for step in range(16)]
    return np.array([*(-v for v in positive), *positive]) / 8159.0


def a_law_decoder():
    """The values of ITU-T G.711, table 1, of full scale 4096."""
    positive = [2 * step + 1 if not s else (2 * step + 33) << (s - 1) for s in range(8) for step in range(16)]
    return np.array([*(-v for v in positive), *positive]) / 4096.0


@pytest.mark.parametrize(
    ("law", "decoder"), [(channels.mu_law, mu_law_decoder()), (channels.a_law, a_law_decoder())], ids=["mu", "A"]
)
def test_coding_is_as_fine_as_g711_at_every_level(law, decoder):
    voice = torch.randn(1, 4 * RATE, generator=generator())
    voice = voice / voice.abs().max()
    for peak in (1.0, 0.1, 0.01):
        standard = decoder[np.abs(voice.numpy()[0, :, None] * peak - decoder).argmin(-1)] / peak
        standard_db = snr_db(torch.from_numpy(standard).float(), voice[0])
        assert snr_db(law(voice, torch.tensor([peak])), voice) == pytest.approx(standard_db, abs=1.5)


@pytest.mark.parametrize("law", [channels.mu_law, channels.a_law])
def test_a_sine_through_a_coded_line_has_38_db(law):
    """The familiar figure of G.711 at high levels, hardly less 30 dB below."""
    assert snr_db(law(tone(1004.0), torch.tensor([0.9])), tone(1004.0)) == pytest.approx(38.0, abs=1.5)
    assert snr_db(law(tone(1004.0), torch.tensor([0.03])), tone(1004.0)) > 32.0


def test_a_coded_line_has_8_khz_and_both_laws():
    noise = torch.randn(2, RATE, generator=generator())
    heard = channels.line_coded(noise, torch.tensor([True, False]), torch.full((2,), 0.5), RATE)
    assert heard.shape == noise.shape
    assert energy_outside(heard, 0.0, 4000.0) < 1e-6 * energy_outside(noise, 0.0, 4000.0)
    assert not torch.allclose(heard[0], channels.line_coded(noise[:1], torch.tensor([False]), torch.ones(1) / 2, RATE))
    low = channels.resampled(channels.resampled(noise, RATE, 8_000), 8_000, RATE)
    assert 32.0 < snr_db(heard, low) < 42.0


def test_gain_control_evens_out_levels_within_15_db():
    quiet_then_loud = torch.cat((0.01 * tone(500, 2 * RATE), tone(500, 2 * RATE)), -1)
    follow = channels.gain_control(quiet_then_loud, torch.tensor([0.5]), RATE)
    change_db = 20.0 * torch.log10(follow[0, [RATE, 3 * RATE]])
    assert change_db[0] == pytest.approx(7.5, abs=0.2)  # half of no more than 15
    assert change_db[1] == pytest.approx(-1.5, abs=0.2)  # half of the 3 dB that it is above the mean
    # No clicks: a loud sample that comes into the window has 1/8000 of its energy, which is 15 dB below the mean.
    assert (follow.diff(dim=-1) / follow[:, 1:]).abs().max() < 0.005
    assert (channels.gain_control(quiet_then_loud, torch.zeros(1), RATE) == 1.0).all()


def test_clipping_cuts_at_a_part_of_the_peak():
    wave = torch.cat((tone(100), 0.1 * tone(100)))
    heard = channels.clipped(wave, torch.tensor([0.3, 0.5]))
    assert heard.abs().amax(-1).numpy() == pytest.approx([0.3, 0.05], rel=1e-3)
    gentle = wave[0].abs() < 0.29
    assert torch.equal(heard[0, gentle], wave[0, gentle])


def test_silence_stays_silence():
    nothing, one = torch.zeros(1, RATE), torch.tensor([0.5])
    assert not channels.clipped(nothing, one).any()
    assert not channels.line_coded(nothing, torch.tensor([True]), one, RATE).any()
    assert not channels.line_coded(nothing, torch.tensor([False]), one, RATE).any()
    assert torch.isfinite(channels.gain_control(nothing, one, RATE)).all()
