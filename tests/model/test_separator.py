"""The whole path: what comes out adds up, repeats itself, keeps the input's form, and separates."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from unmingle import SeparationOptions, Separator
from unmingle.model import metrics
from unmingle.model.config import ModelConfig
from unmingle.model.errors import AudioError, ParameterError, UnmingleError
from unmingle.model.recording import ArrayRecording
from unmingle.model.signal import masks, segments, stft
from unmingle.model.signal.segments import SegmentLayout, blend

# Every bin with an embedding of its own: the separator can then do exactly what the ideal binary mask does.
EVERY_BIN = ModelConfig(high_group=1, embedding_dim=8)


@pytest.fixture(scope="module")
def separator(small_embedder):
    return Separator(small_embedder)


def noise(*shape, seed=0):
    return 0.1 * np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def ideal_binary_mask(case, config=EVERY_BIN):
    """The sources as well as binary masks can give them, computed without the separator."""
    spectra = stft.analyse(case.sources, config.window, config.hop)
    mixture = stft.analyse(case.mixture, config.window, config.hop)
    loudest = np.abs(spectra).argmax(0)
    binary = loudest == np.arange(len(case.sources))[:, None, None]
    return stft.synthesise(binary * mixture, len(case.mixture), config.window, config.hop)


def improvement(stems, case):
    return metrics.si_sdr_improvement_db(stems, case.sources, case.mixture)


@pytest.mark.parametrize("name", ["two_speakers", "same_gender", "three_speakers"])
def test_oracle_embeddings_reach_the_ideal_binary_mask(example, oracle, name):
    case = example(name)
    ideal = improvement(ideal_binary_mask(case), case)
    assert ideal.mean() > 9.0
    separator = Separator(oracle(case.sources, EVERY_BIN))
    for mask_kind, allowed_db in (("hard", 0.01), ("soft", 0.5)):
        result = separator.separate(
            case.mixture, 16_000, len(case.sources), options=SeparationOptions(mask_kind=mask_kind)
        )
        np.testing.assert_allclose(improvement(result.stems, case), ideal, atol=allowed_db)


@pytest.mark.parametrize("name", ["two_speakers", "three_speakers"])
def test_grouped_bands_lose_little(example, oracle, name):
    case = example(name)
    ideal = improvement(ideal_binary_mask(case), case)
    separator = Separator(oracle(case.sources, ModelConfig()))
    stems = separator.separate(
        case.mixture, 16_000, len(case.sources), options=SeparationOptions(mask_kind="hard")
    ).stems
    assert improvement(stems, case).mean() > ideal.mean() - 0.7


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000])
def test_oracle_embeddings_separate_at_other_rates(example, oracle, rate):
    """The network hears 16 kHz; its masks must fall on the right places of a recording at another rate."""
    case = example("two_speakers")
    sources = np.stack([soxr.resample(s, 16_000, rate) for s in case.sources])
    there = dataclasses.replace(case, sources=sources, mixture=sources.sum(0), sample_rate=rate)
    heard = np.stack([soxr.resample(s, rate, 16_000) for s in sources])
    stems = Separator(oracle(heard, EVERY_BIN)).separate(there.mixture, rate).stems
    assert stems.shape == sources.shape
    assert improvement(stems, there).mean() > improvement(ideal_binary_mask(case), case).mean() - 1.0


@pytest.mark.parametrize("num_sources", [1, 2, 3, 8])
@pytest.mark.parametrize("mask_kind", ["soft", "hard"])
def test_stems_add_up_to_the_mixture(separator, example, num_sources, mask_kind):
    mixture = example("three_speakers").mixture
    result = separator.separate(mixture, 16_000, num_sources, options=SeparationOptions(mask_kind=mask_kind))
    assert result.stems.shape == (num_sources, len(mixture))
    assert result.stems.dtype == np.float32
    np.testing.assert_allclose(result.stems.sum(0), mixture, atol=2e-6)


@pytest.mark.parametrize("rate", [4_000, 8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_length_rate_and_channels_are_the_inputs(separator, rate, channels):
    mixture = noise(channels, rate // 3 + 7)
    result = separator.separate(mixture, rate, 3)
    assert result.sample_rate == rate
    assert result.stems.shape == (3, *mixture.shape)
    np.testing.assert_allclose(result.stems.sum(0), mixture, atol=2e-6)


@pytest.mark.parametrize("samples", [1, 2, 127, 128, 129, 511, 512, 513, 7919, 16_000])
@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_awkward_lengths(separator, samples, rate):
    mixture = noise(samples)
    stems = separator.separate(mixture, rate).stems
    assert stems.shape == (2, samples)
    np.testing.assert_allclose(stems.sum(0), mixture, atol=2e-6)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    samples=st.integers(1, 9000),
    rate=st.integers(4_000, 192_000),
    channels=st.integers(1, 4),
    num_sources=st.integers(1, 8),
    level=st.sampled_from([1e-6, 1.0, 1e4]),
)
def test_stems_add_up_for_any_recording(separator, samples, rate, channels, num_sources, level):
    mixture = level * noise(channels, samples)
    stems = separator.separate(mixture, rate, num_sources).stems
    assert stems.shape == (num_sources, channels, samples)
    np.testing.assert_allclose(stems.sum(0), mixture, atol=2e-6 * level)


@pytest.mark.parametrize("samples", [49 * 128, 50 * 128 - 1, 50 * 128, 50 * 128 + 1, 90 * 128, 41_234])
def test_recordings_of_several_segments(small_embedder, samples):
    separator = Separator(small_embedder, SegmentLayout(frames=50, overlap=10))
    mixture = noise(2, samples)
    stems = separator.separate(mixture, 16_000, 3).stems
    assert stems.shape == (3, 2, samples)
    np.testing.assert_allclose(stems.sum(0), mixture, atol=2e-6)


def test_a_source_is_the_same_stem_in_every_segment(example, oracle):
    """The clustering is one for the whole recording, however many segments the network takes it in."""
    case = example("two_speakers")
    layout = SegmentLayout(frames=125, overlap=25)
    separator = Separator(oracle(case.sources, EVERY_BIN, layout), layout)
    stems = separator.separate(case.mixture, 16_000, options=SeparationOptions(mask_kind="hard")).stems
    assert improvement(stems, case).mean() > improvement(ideal_binary_mask(case), case).mean() - 0.1


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("background", ["share", "stem"])
def test_every_stem_is_what_its_masks_give(separator, example, rate, background, monkeypatch):
    """The last one, too, which is what the others leave of the mixture; and however small the steps are."""
    mixture = soxr.resample(example("three_speakers").mixture, 16_000, rate)
    whole = np.stack((mixture, 0.5 * mixture))
    made = []
    monkeypatch.setattr(segments, "blend", lambda masked: made.extend(blend(masked)) or made)
    monkeypatch.setattr("unmingle.model.masking._SYNTHESIS_BYTES", 10**6)
    parts = []
    separator.separate_recording(ArrayRecording(whole, rate), parts.append, SeparationOptions(3, background=background))
    config = separator.embedder.config
    grid = masks.Grid.at_rate(rate, config)
    spectrum = stft.analyse(whole, grid.window, grid.hop)
    shares = masks.regrid(np.concatenate(made, axis=1), config, grid, spectrum.shape[1])
    expected = stft.synthesise(shares[:, None] * spectrum, len(mixture), grid.window, grid.hop)
    np.testing.assert_allclose(np.concatenate(parts, axis=-1), expected, atol=2e-6)


@pytest.mark.parametrize("mask_kind", ["soft", "hard"])
@pytest.mark.parametrize("channels", [None, 2])
def test_stems_and_background_add_up_to_the_mixture(separator, example, mask_kind, channels):
    mixture = example("two_speakers").mixture
    if channels:
        mixture = np.stack([mixture] * channels)
    result = separator.separate(mixture, 16_000, 3, options=SeparationOptions(mask_kind=mask_kind, background="stem"))
    assert result.stems.shape == (3, *mixture.shape)
    assert result.background.shape == mixture.shape
    np.testing.assert_allclose(result.stems.sum(0) + result.background, mixture, atol=2e-6)
    assert separator.separate(mixture, 16_000, 3).background is None


def test_confidence_and_activity_of_oracle_embeddings(example, oracle):
    """Speakers who take turns: each stem is heard when its speaker speaks, and all of it is clear."""
    case = example("two_speakers")
    sources = np.concatenate((case.sources * [[1.0], [0.0]], case.sources * [[0.0], [1.0]]), axis=1)
    result = Separator(oracle(sources.astype(np.float32), EVERY_BIN)).separate(sources.sum(0), 16_000)
    stems = metrics.best_permutation(metrics.si_sdr_db(result.stems[None], sources[:, None]))
    for source, (start, end) in enumerate(((0.0, 5.0), (5.0, 10.0))):
        report = result.reports[stems[source]]
        assert report.confidence > 0.95
        heard = sum(s.end_s - s.start_s for s in report.active)
        assert heard > 3.5
        assert all(start - 0.1 <= s.start_s and s.end_s <= end + 0.1 for s in report.active)


def test_how_embeddings_are_kept_changes_next_to_nothing(separator, example, monkeypatch):
    """Those of a longer recording are kept as bytes; of one too long for that, they are made again and rounded."""
    mixture = example("two_speakers").mixture
    config = separator.embedder.config
    frames = len(mixture) / 16_000 * config.sample_rate / config.hop
    all_bytes = 4 * frames * config.bands * config.embedding_dim

    def with_room_for(share):
        monkeypatch.setattr("unmingle.model.embedding.embedded.HOST_KEPT_BYTES", int(share * all_bytes))
        return separator.separate(mixture, 16_000).stems

    floats, as_bytes, made_again = (with_room_for(share) for share in (2.0, 0.5, 0.0))
    assert (as_bytes != floats).any()
    np.testing.assert_allclose(as_bytes, floats, atol=1e-3)
    np.testing.assert_array_equal(made_again, as_bytes)


@pytest.mark.slow
@pytest.mark.parametrize("kept", [True, False])
def test_progress_comes_often_however_much_there_is_to_do(separator, monkeypatch, kept):
    """Between two calls there is never more work than a second of 8 sources and 8 channels at 192 kHz is."""
    monkeypatch.setattr("unmingle.model.embedding.embedded.HOST_KEPT_BYTES", 10**9 if kept else 0)
    told = []
    separator.separate(noise(8, 192_000 * 2), 192_000, 8, progress=told.append)
    assert told == sorted(told)
    steps = np.diff([0.0, *told])
    assert len(told) > 20
    assert steps[len(told) // 2 :].max() < 0.15  # 0.25 is a second


def test_progress_rises_to_one_and_may_stop_the_work(separator, example):
    mixture = example("two_speakers").mixture
    told = []
    separator.separate(mixture, 16_000, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0

    class EnoughError(Exception):
        pass

    def stop(done):
        raise EnoughError

    with pytest.raises(EnoughError):
        separator.separate(mixture, 16_000, progress=stop)


def test_every_channel_gets_the_same_masks(separator, example):
    """A voice that is twice as loud on the right stays twice as loud on the right."""
    mixture = example("two_speakers").mixture
    stems = separator.separate(np.stack((mixture, 2 * mixture)), 16_000).stems
    np.testing.assert_allclose(stems[:, 1], 2 * stems[:, 0], atol=1e-6)


def test_loudest_first_with_shares_of_energy(separator, example):
    result = separator.separate(example("three_speakers").mixture, 16_000, 3)
    energy = np.square(result.stems, dtype=np.float64).sum(-1)
    assert list(energy) == sorted(energy, reverse=True)
    np.testing.assert_allclose(result.energy_share, energy / energy.sum(), rtol=1e-5)


@pytest.mark.parametrize("num_sources", range(1, 9))
def test_silence_in_silence_out(separator, num_sources):
    result = separator.separate(np.zeros(5000, np.float32), 16_000, num_sources)
    assert result.stems.shape == (num_sources, 5000)
    assert not result.stems.any()
    assert result.energy_share == (0.0,) * num_sources


def test_one_source_is_the_mixture_itself(separator, example):
    mixture = example("two_speakers").mixture
    stems = separator.separate(mixture, 16_000, 1).stems
    np.testing.assert_allclose(stems, mixture[None], atol=2e-6)


def test_level_does_not_matter(separator, example):
    """No stem is normalised, and none depends on how far up the recording was turned."""
    mixture = example("two_speakers").mixture
    plain, quiet = (separator.separate(gain * mixture, 16_000).stems for gain in (1.0, 0.01))
    np.testing.assert_allclose(100.0 * quiet, plain, atol=1e-3)


def test_the_same_seed_gives_the_same_bytes_whatever_runs_beside_it(separator, example):
    recordings = [example(n).mixture for n in ("two_speakers", "same_gender", "three_speakers")]

    def stems_of(mixture):
        return separator.separate(mixture, 16_000, 3, options=SeparationOptions(seed=7)).stems.tobytes()

    alone = [stems_of(r) for r in recordings]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(stems_of, recordings * 2))
    assert together == alone * 2


def test_float64_and_a_strided_view_are_as_good(separator, example):
    mixture = example("two_speakers").mixture
    plain = separator.separate(mixture, 16_000).stems
    np.testing.assert_array_equal(separator.separate(mixture.astype(np.float64), 16_000).stems, plain)
    np.testing.assert_array_equal(separator.separate(np.stack((mixture, mixture), -1)[:, 0], 16_000).stems, plain)


def test_the_input_is_left_alone(separator):
    mixture = noise(3000)
    before = mixture.copy()
    mixture.flags.writeable = False
    separator.separate(mixture, 16_000)
    np.testing.assert_array_equal(mixture, before)


@pytest.mark.parametrize(
    "mixture,message",
    [
        (np.zeros(0, np.float32), "no samples"),
        (np.zeros((2, 0), np.float32), "no samples"),
        (np.array([0.0, np.nan, 0.0], np.float32), "not finite"),
        (np.array([0.0, np.inf]), "not finite"),
        (np.zeros(100, np.int16), "expected floating-point"),
        (np.zeros((1, 2, 3), np.float32), "shape"),
        (np.float32(1.0) * np.ones(()), "shape"),
    ],
)
def test_what_is_not_audio_is_refused(separator, mixture, message):
    with pytest.raises(AudioError, match=message):
        separator.separate(mixture, 16_000)


@pytest.mark.parametrize("num_sources", [0, -1, 9])
def test_too_many_or_too_few_sources_are_refused(separator, num_sources):
    with pytest.raises(ParameterError, match="1 to 8"):
        separator.separate(noise(100), 16_000, num_sources)


@pytest.mark.parametrize("rate", [0, -16_000])
def test_an_impossible_rate_is_refused(separator, rate):
    with pytest.raises(UnmingleError, match="Hz"):
        separator.separate(noise(100), rate)
