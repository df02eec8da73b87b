"""Mixtures are drawn as configured, and the trainer's spectra and features are those of the separator."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import soundfile
import torch

from unmingle.model.config import ModelConfig
from unmingle.model.signal import features, stft
from unmingle.training.corpus import find_recordings, load_corpus
from unmingle.training.errors import TrainingError
from unmingle.training.mixtures import (
    QUIET_DB,
    Draw,
    MixtureConfig,
    MixtureSampler,
    limits,
    log_magnitude,
    make_batch,
    pick,
    samples_for,
    spectra,
)
from unmingle.training.objectives import evaluate, parse_objective

CONFIG = ModelConfig()
SAMPLES = samples_for(60, CONFIG)

devices = pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"))],
)


def a_sampler(corpus, seed=0, **how):
    return MixtureSampler(corpus, MixtureConfig(**how), torch.Generator().manual_seed(seed))


def some_sources(corpus, batch=4, **how):
    sampler = a_sampler(corpus, **how)
    return sampler.sources(sampler.draw(batch, SAMPLES), SAMPLES)


@devices
@pytest.mark.parametrize("config", [CONFIG, ModelConfig(window=256, hop=64, full_resolution_hz=8000.0)])
def test_spectra_on_any_device_are_those_of_the_separator(speech, config, device):
    signals = some_sources(speech).to(device)
    theirs = stft.analyse(signals.cpu().numpy(), config.window, config.hop)
    lead = config.window // config.hop - 1  # frames that reach before the signal
    ours = spectra(signals, config).cpu().numpy()
    assert ours.shape[-2] > 50
    assert np.abs(ours - theirs[..., lead : lead + ours.shape[-2], :]).max() < 1e-5


@devices
def test_features_on_any_device_are_those_of_the_separator(speech, device):
    sources = some_sources(speech).to(device)
    batch = make_batch(sources, CONFIG)
    spectrum = spectra(sources, CONFIG).sum(1).cpu().numpy()
    magnitude = features.band_magnitude(np.square(np.abs(spectrum)), CONFIG)
    assert np.abs(batch.magnitudes.cpu().numpy() - magnitude).max() < 1e-4
    assert np.abs(batch.features.cpu().numpy() - features.log_magnitude(magnitude, CONFIG.floor_db)).max() < 1e-4


def test_weights_are_those_of_clustering_up_to_their_sum(speech):
    batch = make_batch(some_sources(speech), CONFIG)
    assert batch.weights.sum((1, 2)).numpy() == pytest.approx(np.ones(4), rel=1e-5)
    for magnitude, weights in zip(batch.magnitudes.numpy(), batch.weights.numpy(), strict=True):
        expected = features.clustering_weights(magnitude)
        assert weights == pytest.approx(expected / expected.sum(), abs=1e-7)


def some_magnitudes():
    """(items, frames, bands) of what levels are made of: even sound, a bang in it, a word in a silence, silence."""
    even = torch.rand(8, 200, CONFIG.bands, generator=torch.Generator().manual_seed(0)) + 0.1
    even[1, 100:103] *= 100.0
    even[2, :150] = 0.0
    even[2, 154:] = 0.0
    even[3, 20:] *= 1e-3
    even[4] = 0.0
    even[5, 7] *= 1e4
    even[6] *= 1e-6
    even[7, 1:] = 0.0
    return even


@devices
@pytest.mark.parametrize("frames", [1, 2, 30, 200])
def test_limits_and_features_and_weights_in_torch_are_those_in_numpy(frames, device):
    magnitude = some_magnitudes()[:, 99 - min(99, frames // 2) :][:, :frames]
    here = magnitude.to(device)
    theirs = features.limits(magnitude.numpy()) * magnitude.numpy()
    np.testing.assert_allclose((limits(here) * here).cpu(), theirs, rtol=1e-5, atol=1e-9)
    logs = features.log_magnitude(magnitude.numpy(), CONFIG.floor_db)
    np.testing.assert_allclose(log_magnitude(here, CONFIG.floor_db).cpu(), logs, rtol=1e-5, atol=1e-5)


def test_a_bang_hardly_moves_the_level_and_a_word_in_a_silence_is_no_bang():
    even, bang, word = (features.log_magnitude(x, CONFIG.floor_db) for x in some_magnitudes()[:3].numpy())
    calm = np.r_[0:100, 103:200]
    without = features.log_magnitude(np.delete(some_magnitudes()[1].numpy(), [100, 101, 102], 0), CONFIG.floor_db)
    assert np.abs(bang[calm] - without).max() < 0.2
    assert np.abs(word[150:154].mean() - even.mean()) < np.log(np.sqrt(200 / 4)) + 0.1
    weights = features.clustering_weights(some_magnitudes()[2].numpy())
    assert (weights[150:154] > 0).all()
    assert not weights[:150].any()
    bang_weights = features.clustering_weights(some_magnitudes()[1].numpy())
    assert (bang_weights[calm] > 0).mean() > 0.99


def test_all_of_the_loudest_is_the_whole_batch(speech):
    batch = make_batch(some_sources(speech), CONFIG)
    whole, index = batch.loudest(1.0)
    assert torch.equal(index, torch.arange(60 * CONFIG.bands).expand(4, -1))
    for field in dataclasses.fields(batch):
        torch.testing.assert_close(getattr(whole, field.name), getattr(batch, field.name))


def test_the_loudest_bands_are_kept_with_all_that_belongs_to_them(speech):
    batch = make_batch(some_sources(speech), CONFIG)
    half, index = batch.loudest(0.25)
    kept = round(0.25 * CONFIG.bands)
    assert half.targets.shape == (4, 60, kept, batch.targets.shape[-1])
    assert half.weights.sum((1, 2)).numpy() == pytest.approx(np.ones(4), rel=1e-5)
    for item in range(4):
        flat = batch.weights[item].flatten()
        left_out = torch.ones_like(flat, dtype=torch.bool)
        left_out[index[item]] = False
        assert flat[left_out].max() <= flat[index[item]].min()
        chosen = batch.memberships[item].flatten(0, 1)[index[item]]
        assert torch.equal(half.memberships[item].flatten(0, 1), chosen)
    assert torch.equal(pick(batch.magnitudes, index, 60), half.magnitudes)


def test_losses_on_all_of_the_loudest_are_those_on_the_whole_batch(speech):
    config = dataclasses.replace(CONFIG, background_sharpness=5.0)
    batch = make_batch(some_sources(speech), config)
    shape = (4, 60, CONFIG.bands, 6)
    embeddings = torch.nn.functional.normalize(torch.randn(shape, generator=torch.Generator().manual_seed(0)), dim=-1)
    whole, index = batch.loudest(1.0)
    for objective in ("affinity", "whitened_kmeans", "kmeans_mask", "background"):
        terms = parse_objective(objective)
        expected = float(evaluate(terms, embeddings, batch, config))
        assert float(evaluate(terms, pick(embeddings, index, 60), whole, config)) == pytest.approx(expected, rel=1e-5)


def test_equal_weights_count_active_bands(speech):
    sources = some_sources(speech)
    by_magnitude, equal = make_batch(sources, CONFIG).weights, make_batch(sources, CONFIG, "equal").weights
    assert torch.equal(by_magnitude > 0, equal > 0)
    assert all(len(item[item > 0].unique()) == 1 for item in equal)


def test_a_band_belongs_to_the_source_with_the_most_power_in_it(speech):
    sources = some_sources(speech, num_sources=(0.0, 0.0, 1.0))
    power = spectra(sources, CONFIG).abs().square()
    sums = torch.tensor(np.add.reduceat(power.numpy(), CONFIG.band_starts, axis=-1))
    memberships = make_batch(sources, CONFIG).memberships
    assert not memberships[..., -1].any()  # the background's, and there is none
    memberships = memberships[..., :-1]
    assert torch.equal(memberships.sum(-1), torch.ones(memberships.shape[:-1]))
    loudest = sums.amax(1)
    assert (torch.einsum("bsfk,bfks->bfk", sums, memberships) / loudest).min() > 1 - 1e-5


def test_targets_are_phase_sensitive_magnitudes_of_single_bins(speech):
    sources = some_sources(speech)
    batch = make_batch(sources, CONFIG)
    separate, mixture = spectra(sources, CONFIG), spectra(sources.sum(1), CONFIG)
    low = CONFIG.full_resolution_bins
    angle = separate.angle() - mixture.angle().unsqueeze(1)
    expected = (separate.abs() * angle.cos()).clamp_min(0.0).minimum(mixture.abs().unsqueeze(1))
    assert torch.allclose(batch.targets[:, :, :low, :-1], expected.movedim(1, -1)[:, :, :low], atol=1e-3)
    assert not batch.targets[..., -1].any()
    assert (batch.targets <= batch.magnitudes.unsqueeze(-1)).all()


def test_silence_makes_a_batch_without_nan():
    batch = make_batch(torch.zeros(1, 2, SAMPLES), CONFIG)
    assert all(torch.isfinite(getattr(batch, field.name)).all() for field in dataclasses.fields(batch))
    assert (batch.features == batch.features.min()).all()


def test_sources_of_a_mixture_are_different_speakers_within_the_level_range(speech):
    draw = a_sampler(speech, num_sources=(0.0, 0.5, 0.5)).draw(500, SAMPLES)
    present = draw.gain > 0
    who = speech.speaker[draw.recording]
    assert all(len(set(w[p].tolist())) == int(p.sum()) for w, p in zip(who, present, strict=True))
    level_db = 20 * torch.log10(draw.gain * speech.rms[draw.recording])
    apart = [float(v[p].max() - v[p].min()) for v, p in zip(level_db, present, strict=True)]
    assert 4.0 < max(apart) <= 5.0 + 1e-4
    assert min(apart) < 0.5


def test_some_mixtures_have_voices_much_farther_away_than_others(speech):
    draw = a_sampler(speech, num_sources=(0.0, 1.0), quiet_chance=0.5).draw(2000, SAMPLES)
    level_db = 20 * torch.log10(draw.gain * speech.rms[draw.recording])
    apart = (level_db[:, 0] - level_db[:, 1]).abs()
    assert 13.0 < apart.max() <= QUIET_DB
    # Differences of two uniform levels: of those drawn from 15 dB, four ninths are more than 5 dB apart.
    assert float((apart > 5.0).float().mean()) == pytest.approx(0.5 * 4 / 9, abs=0.05)


def test_datasets_are_weighed_by_hours_and_not_by_names(speech):
    """Three names for an hour of one dataset, and one for the same hour of another: each is drawn about as often."""
    alike = dataclasses.replace(
        speech, lengths=torch.tensor([1000, 1000, 1000, 3000]), dataset=torch.tensor([0, 0, 0, 1])
    )
    draw = a_sampler(alike, num_sources=(1.0,), sound_chance=0.0).draw(4000, 100)
    who = torch.bincount(alike.speaker[draw.recording[:, 0]], minlength=4) / 4000
    assert float(who[3]) == pytest.approx(0.5, abs=0.03)
    assert who[:3].tolist() == pytest.approx([1 / 6] * 3, abs=0.03)


def test_numbers_of_sources_follow_their_chances(speech):
    draw = a_sampler(speech, num_sources=(0.1, 0.6, 0.3)).draw(2000, SAMPLES)
    counted = torch.bincount((draw.gain > 0).sum(1), minlength=4)[1:] / 2000
    assert counted.tolist() == pytest.approx([0.1, 0.6, 0.3], abs=0.05)


def test_at_most_one_source_is_not_speech_and_never_the_only_one(speech):
    with_sounds = dataclasses.replace(speech, is_speech=torch.tensor([True, True, True, False]))
    draw = a_sampler(with_sounds, num_sources=(0.3, 0.3, 0.4), sound_chance=0.5).draw(1000, SAMPLES)
    present = draw.gain > 0
    sounds = (~with_sounds.is_speech[with_sounds.speaker[draw.recording]] & present).sum(1)
    assert sounds.max() == 1
    assert sounds[present.sum(1) == 1].max() == 0
    assert float((sounds[present.sum(1) > 1] == 1).float().mean()) == pytest.approx(0.5, abs=0.08)


def test_pieces_of_a_mixture_are_the_same_voices_at_the_same_levels_from_other_places(speech):
    draw = a_sampler(speech, num_sources=(0.0, 0.5, 0.5), speed_range=0.1, pieces=3).draw(12, SAMPLES)
    level = draw.gain * speech.rms[draw.recording]
    for same in (speech.speaker[draw.recording], level, draw.speed):
        by_mixture = same.reshape(4, 3, -1)
        assert torch.allclose(by_mixture, by_mixture[:, :1].expand_as(by_mixture))
    starts = draw.start.reshape(4, 3, -1)
    assert (starts[:, 0] != starts[:, 1]).all()


def test_joined_pieces_are_one_item_in_order_whose_weights_sum_to_1(speech):
    sampler = a_sampler(speech, pieces=2)
    batch = make_batch(sampler.sources(sampler.draw(4, SAMPLES), SAMPLES), CONFIG)
    joined = batch.joined(2)
    assert joined.memberships.shape == (2, 120, CONFIG.bands, 4)  # three sources and the background
    assert torch.equal(joined.features[1, :60], batch.features[2])
    assert torch.equal(joined.targets[1, 60:], batch.targets[3])
    assert joined.weights.sum((1, 2)).numpy() == pytest.approx(np.ones(2), rel=1e-5)


def test_the_same_seed_draws_the_same_mixtures_and_another_one_others(speech):
    first, again, other = (some_sources(speech, seed=seed, speed_range=0.1) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_sources_are_pieces_of_their_recordings(speech):
    sampler = a_sampler(speech, num_sources=(0.0, 1.0))
    draw = sampler.draw(8, SAMPLES)
    sources = sampler.sources(draw, SAMPLES)
    for b in range(8):
        for s in range(2):
            start = int(draw.start[b, s])
            recording = speech.samples(int(draw.recording[b, s]))
            piece = recording[start : start + SAMPLES].float() / 32768.0 * draw.gain[b, s]
            assert torch.allclose(sources[b, s], piece, atol=1e-7)


@pytest.mark.parametrize("speed", [0.9, 1.0, 1.1])
def test_speed_moves_pitch_and_a_recording_ends_in_silence_not_in_its_neighbour(tmp_path, speed):
    rate = CONFIG.sample_rate
    tone = 0.5 * np.sin(2 * np.pi * 1000.0 * np.arange(rate // 2) / rate)
    for name in "abcd":
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "tone.wav", tone, rate)
    corpus = load_corpus(find_recordings(tmp_path), rate)
    sampler = a_sampler(corpus, num_sources=(0.0, 1.0), speed_range=0.1)
    index = torch.tensor([[1, 3]])
    draw = Draw(index, torch.zeros_like(index), torch.ones(1, 2), torch.full((1, 2), speed))
    heard = sampler.sources(draw, rate)
    spectrum = np.abs(np.fft.rfft(heard[0, 0, : rate // 4].numpy() * np.hanning(rate // 4)))
    assert np.argmax(spectrum) * 4 == pytest.approx(1000.0 * speed, abs=4.0)
    last = round(rate / 2 / speed)
    assert heard[0, :, last - 200 : last].abs().max() > 0.4
    assert heard[0, :, last + 1 :].abs().max() == 0.0


def test_more_sources_than_speakers_are_refused(speech):
    with pytest.raises(TrainingError, match=r"5 sources need as many speakers; the corpus has 4.*--num-sources"):
        a_sampler(speech, num_sources=(0.0, 0.5, 0.2, 0.2, 0.1))


@pytest.mark.parametrize("how", [{"num_sources": ()}, {"num_sources": (-1.0, 2.0)}, {"speed_range": 0.7}])
def test_mixtures_that_cannot_be_drawn_are_refused(how):
    with pytest.raises(TrainingError, match=r"[Ee]xpected"):
        MixtureConfig(**how)
