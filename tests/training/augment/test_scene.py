"""Whole scenes: parts add up, the pieces of a mixture share their conditions, one seed gives the same bytes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from unmingle.model.config import ModelConfig
from unmingle.model.signal import high_pass
from unmingle.training.augment import scene
from unmingle.training.augment.conditions import Conditions
from unmingle.training.augment.rooms import make_rooms
from unmingle.training.augment.scene import Surroundings, high_passed, make_scene
from unmingle.training.errors import TrainingError
from unmingle.training.mixtures import MixtureConfig, MixtureSampler, make_batch, samples_for, spectra

RATE = 16_000
SAMPLES = samples_for(100, ModelConfig())
LINEAR = Conditions(
    talk_chance=0.5,
    room_chance=0.5,
    noise_chance=0.7,
    telephone_chance=0.0,
    band_chance=0.4,
    equaliser_chance=0.5,
    gain_control_chance=0.5,
)
EVERYTHING = dataclasses.replace(LINEAR, telephone_chance=0.3, clipping_chance=0.3, codec_chance=0.2)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def surroundings(corpus, rng, pieces=1):
    """Rooms, noises and babble; speakers stand for recorded noises."""
    noises = MixtureSampler(corpus, MixtureConfig((0.5, 0.5), pieces=pieces), rng)
    babble = MixtureSampler(corpus, MixtureConfig((0.0, 0.0, 0.0, 1.0), pieces=pieces), rng)
    return Surroundings(make_rooms(4, 6, RATE, np.random.default_rng(0)), noises, babble)


def voices(corpus, batch=8, pieces=1, seed=1):
    config = MixtureConfig((0.2, 0.4, 0.4), pieces=pieces)
    sampler = MixtureSampler(corpus, config, generator(seed))
    return sampler.sources(sampler.draw(batch, SAMPLES), SAMPLES)


def a_scene(corpus, conditions, batch=8, pieces=1, seed=0):
    rng = generator(seed)
    return make_scene(voices(corpus, batch, pieces), conditions, surroundings(corpus, rng, pieces), pieces, RATE, rng)


@pytest.mark.parametrize("seed", range(3))
def test_sources_and_background_add_up_where_nothing_is_distorted(speech, seed):
    made = a_scene(speech, LINEAR, 16, seed=seed)
    torch.testing.assert_close(made.sources.sum(1) + made.background, made.mixture, atol=1e-5, rtol=0)
    assert made.background.any()


def test_what_is_clipped_or_coded_still_is_mostly_its_sources(speech):
    made = a_scene(speech, dataclasses.replace(EVERYTHING, codec_chance=0.0), 32)
    whole = made.sources.sum(1) + made.background
    changed = (whole - made.mixture).abs().amax(-1) > 1e-4
    assert 0.2 < changed.float().mean() < 0.9
    alike = torch.nn.functional.cosine_similarity(whole, made.mixture)
    assert alike.min() > 0.9
    assert (alike[~changed] > 0.9999).all()


def test_what_went_through_a_codec_is_in_step_with_its_sources(speech):
    """Only in step: AMR is made for voices, and gives back another noise than it got."""
    made = a_scene(speech, dataclasses.replace(LINEAR, codec_chance=1.0), 16)
    whole = made.sources.sum(1) + made.background
    match = torch.fft.irfft(torch.fft.rfft(made.mixture) * torch.fft.rfft(whole).conj(), SAMPLES)
    lag = match.argmax(-1)
    assert lag.minimum(SAMPLES - lag).max() <= 1


def test_by_default_voices_are_only_high_passed(speech):
    rng = generator()
    made = make_scene(voices(speech), Conditions(), Surroundings(), 1, RATE, rng)
    torch.testing.assert_close(made.sources, high_passed(voices(speech), RATE), atol=1e-6, rtol=0)
    assert not made.background.any()


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(speech):
    first, again, other = (a_scene(speech, EVERYTHING, pieces=2, seed=seed) for seed in (5, 5, 6))
    for field in ("sources", "background", "mixture"):
        assert torch.equal(getattr(first, field), getattr(again, field))
        assert not torch.equal(getattr(first, field), getattr(other, field))


@pytest.mark.parametrize(
    "chance", ["room_chance", "telephone_chance", "band_chance", "equaliser_chance", "clipping_chance", "codec_chance"]
)
def test_pieces_of_a_mixture_share_their_conditions(speech, chance):
    """Two pieces of the same sound, through whatever it is, come out the same; those of another mixture do not."""
    sound = voices(speech, 1).repeat(12, 1, 1)
    with_rooms = surroundings(speech, generator(), 2)
    made = make_scene(sound, Conditions(**{chance: 0.7}), with_rooms, 2, RATE, generator(3))
    assert torch.equal(made.mixture[::2], made.mixture[1::2])
    assert len(made.mixture[::2].unique(dim=0)) > 2


def test_pieces_share_the_kind_of_their_background_and_its_level(speech, monkeypatch):
    monkeypatch.setattr(scene, "KINDS", {"hum": 1.0})
    sound = voices(speech, 1).repeat(8, 1, 1)
    made = make_scene(sound, Conditions(noise_chance=0.7), Surroundings(), 2, RATE, generator(4))
    assert torch.equal(made.background[::2], made.background[1::2])
    assert len(made.background[::2].unique(dim=0)) > 2


@pytest.mark.parametrize("kind", list(scene.KINDS))
def test_every_kind_of_background_is_as_loud_as_drawn(speech, kind, monkeypatch):
    monkeypatch.setattr(scene, "KINDS", {kind: 1.0})
    conditions = Conditions(noise_chance=1.0, loud_noise_db=10.0, soft_noise_db=10.0)
    rng = generator()
    # Without the high-pass, which takes a part of hum away.
    monkeypatch.setattr(scene, "high_passed", lambda signals, _: signals)
    made = make_scene(voices(speech), conditions, surroundings(speech, rng), 1, RATE, rng)
    snr_db = 10.0 * torch.log10(made.sources.sum(1).square().sum(-1) / made.background.square().sum(-1))
    assert snr_db.numpy() == pytest.approx(np.full(8, 10.0), abs=0.05)


def test_conditions_are_as_frequent_as_asked_for(speech):
    sound = voices(speech, 1)[..., :12_000].repeat(200, 1, 1)  # longer than gain control takes
    made = make_scene(sound, Conditions(noise_chance=0.6), Surroundings(), 1, RATE, generator())
    assert made.background.any(-1).float().mean() == pytest.approx(0.6, abs=0.1)
    made = make_scene(sound, Conditions(gain_control_chance=0.3), Surroundings(), 1, RATE, generator())
    assert (made.sources != high_passed(sound, RATE)).flatten(1).any(1).float().mean() == pytest.approx(0.3, abs=0.1)


def test_only_telephones_are_coded_and_half_of_them_are(speech):
    sound = voices(speech, 1)[..., :4_000].repeat(400, 1, 1)
    made = make_scene(sound, Conditions(telephone_chance=0.5), Surroundings(), 1, RATE, generator())
    telephone = (made.sources - high_passed(sound, RATE)).abs().flatten(1).amax(1) > 1e-4
    coded = (made.sources.sum(1) - made.mixture).abs().amax(-1) > 1e-5
    assert not (coded & ~telephone).any()
    assert coded[telephone].float().mean() == pytest.approx(0.5, abs=0.1)


def test_silence_stays_silence(speech):
    silent = torch.zeros(16, 3, SAMPLES)
    made = make_scene(
        silent,
        dataclasses.replace(EVERYTHING, noise_chance=0.0),
        surroundings(speech, generator()),
        2,
        RATE,
        generator(),
    )
    assert not made.sources.any()
    assert not made.mixture.any()
    batch = make_batch(made.sources, ModelConfig(), background=made.background, mixture=made.mixture)
    assert all(torch.isfinite(getattr(batch, field.name)).all() for field in dataclasses.fields(batch))


def test_absent_sources_stay_absent(speech):
    sources = voices(speech, 16)
    rng = generator()
    made = make_scene(sources, EVERYTHING, surroundings(speech, rng), 1, RATE, rng)
    absent = ~sources.any(-1)
    assert absent.any()
    assert not made.sources[absent].any()


def test_bins_that_noise_dominates_belong_to_the_background(speech):
    conditions = Conditions(noise_chance=1.0, loud_noise_db=0.0, soft_noise_db=0.0)
    made = a_scene(speech, conditions)
    config = ModelConfig()
    batch = make_batch(made.sources, config, background=made.background, mixture=made.mixture)
    low = slice(0, config.full_resolution_bins)
    power = spectra(torch.cat((made.sources, made.background.unsqueeze(1)), 1), config).abs().square()[..., low]
    loudest = power[:, -1] >= power[:, :-1].amax(1)
    assert torch.equal(batch.memberships[:, :, low, -1] > 0, loudest)
    assert 0.1 < loudest.float().mean() < 0.95
    assert batch.targets.shape[-1] == made.sources.shape[1] + 1
    heard = spectra(made.mixture, config).abs()[..., low]
    torch.testing.assert_close(batch.magnitudes[..., low], heard, atol=1e-4, rtol=0)


def test_the_trainers_high_pass_is_the_separators(speech):
    signal = voices(speech, 2).sum(1)
    filtering = high_pass.HighPass(RATE, 2)
    theirs = np.concatenate((filtering.push(signal.numpy()), filtering.finish()), -1)
    np.testing.assert_allclose(high_passed(signal, RATE), theirs, atol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [{"room_chance": 1.5}, {"noise_chance": -0.1}, {"codec_chance": float("nan")}, {"loud_noise_db": 40.0}],
)
def test_conditions_that_cannot_be_are_refused(wrong):
    with pytest.raises(TrainingError, match="expected"):
        Conditions(**wrong)
