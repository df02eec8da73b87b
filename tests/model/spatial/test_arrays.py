"""Several microphones through the whole separator: real voices, and what microphones do to them."""

from __future__ import annotations

import numpy as np
import pytest

from unmingle import SeparationOptions, Separator
from unmingle.model.metrics import best_permutation, si_sdr_db
from unmingle.model.recording import ArrayRecording
from unmingle.model.spatial.survey import survey

RATE = 16_000
TWO = SeparationOptions(num_sources=2)
OFF = SeparationOptions(num_sources=2, spatial="off")


@pytest.fixture(scope="module")
def separator():
    return Separator.load(device="cpu")


@pytest.fixture(scope="module")
def images(example):
    """(source, channel, sample): two voices at four microphones of a small room, each path with echoes of its own."""
    sources = example("two_speakers").sources
    rng = np.random.default_rng(0)
    decay = np.exp(-np.arange(2400) / 400)

    def path(delay):
        response = 0.15 * rng.standard_normal(2400) * decay
        response[:delay] = 0.0
        response[delay] = 1.0
        return response

    return np.stack(
        [
            [np.convolve(source, path(delay))[: len(source)] for delay in delays]
            for source, delays in zip(sources, ((0, 3, 6, 9), (9, 6, 3, 0)), strict=True)
        ]
    ).astype(np.float32)


def quality(stems, images, channel=0):
    """Mean SI-SDR in dB of the sources in one channel."""
    scores = si_sdr_db(stems[None, :, channel], images[:, None, channel])
    return scores[np.arange(len(images)), best_permutation(scores)].mean()


def gain(separator, images, mixture):
    """By how many dB the stems are better than those of the best channel alone."""
    alone = [
        quality(separator.separate(mixture[c : c + 1], RATE, options=TWO).stems, images[:, c : c + 1])
        for c in range(len(mixture))
    ]
    found = separator.separate(mixture, RATE, options=TWO)
    assert found.spatial is not None
    return quality(found.stems, images, int(np.argmax(alone))) - max(alone)


def test_four_microphones_beat_the_best_of_them(separator, images):
    assert gain(separator, images, images.sum(0)) > 4.0


def test_two_microphones_beat_the_better_of_them(separator, images):
    assert gain(separator, images[:, ::3], images[:, ::3].sum(0)) > 2.0


def test_panned_voices_differ_in_level_only(separator, example):
    left_and_right = np.array([[0.94, 0.34], [0.34, 0.94]])
    panned = (left_and_right[:, :, None] * example("two_speakers").sources[:, None]).astype(np.float32)
    assert gain(separator, panned, panned.sum(0)) > 3.0


def test_voices_that_change_places_are_followed(separator, images):
    """In the middle, each of them goes where the other was."""
    half = images.shape[-1] // 2
    moving = images.copy()
    moving[:, :, half:] = images[:, ::-1, half:]
    assert gain(separator, moving, moving.sum(0)) > 2.0


TROUBLE = {
    "a silent channel": lambda mixture: np.concatenate((mixture, 0 * mixture[:1])),
    "a channel twice": lambda mixture: np.concatenate((mixture, mixture[:1])),
    "a channel in antiphase": lambda mixture: np.concatenate((mixture, -0.5 * mixture[:1])),
    "a channel of noise": lambda mixture: np.concatenate(
        (mixture, np.random.default_rng(1).normal(0, mixture.std(), mixture[:1].shape).astype(np.float32))
    ),
    "a channel that stops": lambda mixture: np.concatenate(
        (mixture, mixture[:1] * (np.arange(mixture.shape[1]) < RATE))
    ),
}


@pytest.mark.parametrize("trouble", TROUBLE)
def test_bad_channels_do_no_harm(separator, images, trouble):
    mixture = TROUBLE[trouble](images[:, :2].sum(0))
    alone = quality(separator.separate(mixture[:1], RATE, options=TWO).stems, images)
    found = separator.separate(mixture, RATE, options=TWO)
    assert quality(found.stems, images) > alone
    np.testing.assert_allclose(found.stems.sum(0) + found.background, mixture, atol=1e-5)


@pytest.mark.parametrize("seconds", [5, 16])
def test_a_microphone_that_mutes_itself_says_nothing_meanwhile(separator, example, seconds):
    """Each speaker has a channel; one of them mutes his after two seconds, for good where the recording is long."""
    voice, other = (np.resize(source, seconds * RATE) for source in example("two_speakers").sources)
    other = other * (np.arange(seconds * RATE) < 2 * RATE)
    truth = np.stack([[voice, 0 * voice], [0 * other, other]]).astype(np.float32)
    found = separator.separate(truth.sum(0), RATE, options=TWO)
    np.testing.assert_allclose(found.stems.sum(0) + found.background, truth.sum(0), atol=1e-5)
    muted = found.stems[:, :, 3 * RATE :]
    assert np.square(muted).mean((1, 2)).min() < 1e-3 * np.square(muted).mean((1, 2)).max()
    assert quality(found.stems.sum(1)[:, None], truth.sum(1)[:, None]) > 15.0


@pytest.mark.parametrize("other", [1.0, -1.0, 0.3, 0.0])
def test_channels_that_are_the_same_are_masked_as_one(separator, example, other):
    mixture = example("two_speakers").mixture
    both = np.stack([mixture, np.float32(other) * mixture])
    found = separator.separate(both, RATE, options=TWO)
    assert found.spatial is None
    np.testing.assert_array_equal(found.stems, separator.separate(both, RATE, options=OFF).stems)
    alone = separator.separate(mixture, RATE, options=TWO)
    sources = example("two_speakers").sources[:, None]
    assert abs(quality(found.stems, sources) - quality(alone.stems[:, None], sources)) < 0.1


def test_one_channel_knows_nothing_of_places(separator, example):
    mixture = example("two_speakers").mixture
    found, off = (separator.separate(mixture, RATE, options=options) for options in (TWO, OFF))
    assert found.spatial is None
    np.testing.assert_array_equal(found.stems, off.stems)


def test_silence_in_silence_out(separator):
    found = separator.separate(np.zeros((3, RATE), np.float32), RATE, options=TWO)
    assert not found.stems.any()


@pytest.mark.parametrize("background", ["stem", "share"])
@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_stems_and_background_add_up_in_every_channel(separator, images, background, rate):
    mixture = images.sum(0)[:3]
    options = SeparationOptions(num_sources=2, background=background)
    found = separator.separate(mixture, rate, options=options)
    assert found.spatial is not None and found.spatial.channels == (0, 1, 2)
    total = found.stems.sum(0) + (0 if found.background is None else found.background)
    np.testing.assert_allclose(total, mixture, atol=1e-5)
    again = separator.separate(mixture, rate, options=options)
    np.testing.assert_array_equal(found.stems, again.stems)


def test_one_channel_of_the_stems(separator, images):
    mixture = images.sum(0)
    kept = separator.separate(mixture, RATE, options=TWO)
    mean = separator.separate(mixture, RATE, options=SeparationOptions(num_sources=2, channels="mono"))
    np.testing.assert_allclose(mean.stems, kept.stems.mean(1), atol=1e-6)
    one = separator.separate(mixture, RATE, options=SeparationOptions(num_sources=2, channels="reference"))
    np.testing.assert_array_equal(one.stems, kept.stems[:, one.reference])


def test_the_reference_is_the_driest_channel(example):
    dry = example("two_speakers").mixture
    rng = np.random.default_rng(0)
    echo = np.convolve(dry, rng.standard_normal(8000) * np.exp(-np.arange(8000) / 2000))[: len(dry)]
    noisy = dry + rng.normal(0, dry.std(), dry.shape)
    channels = np.stack([noisy, echo / echo.std() * dry.std(), dry, 0 * dry]).astype(np.float32)
    surveyed = survey(ArrayRecording(channels, RATE), locate=True)
    assert surveyed.reference == 2
    assert surveyed.located_by == (0, 1, 2)


def test_the_network_hears_one_of_several_microphones_that_are_alike(example):
    dry = example("two_speakers").mixture
    noise = np.random.default_rng(2).normal(0, 0.02 * dry.std(), (4, len(dry)))
    noise[3] = 0.0
    mixture = (np.stack([np.roll(dry, delay) for delay in range(4)]) + noise).astype(np.float32)
    surveyed = survey(ArrayRecording(np.concatenate((mixture, 0 * mixture[:1])), RATE), locate=True)
    assert surveyed.heard == surveyed.reference == 3
    assert surveyed.located_by == (0, 1, 2, 3)


def test_what_channels_are_good_for_does_not_depend_on_the_blocks_they_come_in(example):
    """A file, an upload and an array have blocks of their own, and give the same stems."""

    class InBlocks(ArrayRecording):
        def blocks(self):
            whole = np.concatenate(list(super().blocks()), axis=1)
            yield from (whole[:, start : start + 1000] for start in range(0, whole.shape[1], 1000))

    dry = example("two_speakers").mixture
    channels = (np.stack([dry, dry]) + np.random.default_rng(5).normal(0, 0.01, (2, len(dry)))).astype(np.float32)
    assert survey(InBlocks(channels, RATE), locate=True) == survey(ArrayRecording(channels, RATE), locate=True)
    found, expected = (survey(kind(channels[:, :300], RATE), locate=True) for kind in (InBlocks, ArrayRecording))
    assert found == expected


@pytest.mark.parametrize("level", [1.0, 0.1])
def test_the_network_hears_all_channels_where_a_voice_is_in_one_of_them(separator, example, level):
    voice, other = example("two_speakers").sources
    mixture = np.stack([voice + level * other, voice])
    surveyed = survey(ArrayRecording(mixture, RATE), locate=True)
    assert surveyed.heard is None
    stems = separator.separate(mixture, RATE, options=TWO).stems
    truth = np.stack([[voice, voice], [level * other, 0 * other]])
    assert quality(stems, truth) > si_sdr_db(mixture[:1], truth[:, 0]).mean() + 5.0


def test_enhanced_stems_leave_more_of_the_other_out(separator, images):
    """Where one voice is silent, its stem is quieter than without."""
    alone = images.copy()
    alone[1, :, 2 * RATE :] = 0.0
    mixture = alone.sum(0)
    kept = separator.separate(mixture, RATE, options=TWO)
    clean = separator.separate(mixture, RATE, options=SeparationOptions(num_sources=2, enhance=True))
    assert clean.spatial is not None and clean.spatial.enhanced
    rest = [np.square(found.stems[:, 0, 3 * RATE :]).sum(-1).min() for found in (kept, clean)]
    assert rest[1] < 0.8 * rest[0]
