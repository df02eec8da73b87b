"""What spoils a recording is said; what does not is not. And channels apart."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import soxr

from unmingle import SeparationOptions, Separator
from unmingle.model.errors import AudioError
from unmingle.model.inspection import Inspection
from unmingle.model.reading.recordings import FileRecording
from unmingle.model.recording import ArrayRecording


@pytest.fixture(scope="module")
def speech(two_speakers) -> np.ndarray:
    return soundfile.read(two_speakers, dtype="float32")[0]


def warnings(samples: np.ndarray, rate: int = 16_000) -> str:
    recording = ArrayRecording(np.asarray(samples, np.float32), rate)
    inspection = Inspection(rate, recording.channels)
    for block in recording.blocks():
        inspection.push(block)
    return " ".join(inspection.warnings())


def test_a_good_recording_has_no_warning(speech):
    assert warnings(speech) == ""
    assert warnings(np.stack([speech, 0.5 * speech])) == ""
    assert warnings(np.stack([speech, speech[::-1]])) == ""


def test_what_spoils_a_recording_is_said(speech):
    assert "clipped" in warnings(np.clip(20 * speech, -0.5, 0.5))
    assert "DC offset of +0.100" in warnings(speech + 0.1)
    assert "very quiet" in warnings(speech * 1e-4)
    assert "silent" in warnings(np.zeros(16_000))
    narrow = soxr.resample(soxr.resample(speech, 16_000, 6_600), 6_600, 16_000)
    assert "3.4 kHz" in warnings(narrow)
    assert "3.4 kHz" in warnings(soxr.resample(speech, 16_000, 8_000), 8_000)
    assert "% of the recording is silence" in warnings(np.concatenate([np.zeros(16_000 * 60), speech]))
    assert "cancel" in warnings(np.stack([speech, -speech]))


def test_huge_values_are_refused_and_large_ones_are_separated(separator, speech):
    for samples in (np.where(np.arange(len(speech)) == 9, 3e38, speech), speech * 1e19, speech.astype(float) * 1e300):
        with pytest.raises(AudioError, match="full scale"):
            separator.separate(samples, 16_000)
    stems = separator.separate(speech * np.float32(1e9), 16_000)
    assert np.isfinite(stems.stems).all()
    assert all(np.isfinite(report.confidence) and np.isfinite(report.energy_share) for report in stems.reports)


@pytest.mark.parametrize("background", ["stem", "share", "drop"])
def test_channels_apart(separator: Separator, speech, background):
    other = speech[::-1].copy()
    both = np.stack([speech, other])
    options = SeparationOptions(num_sources=2, channels="separate", background=background)
    found = separator.separate(both, 16_000, options=options)
    assert found.stems.shape == (4, 2, len(speech))
    assert [report.channel for report in found.reports] == [1, 1, 2, 2]
    assert not found.stems[:2, 1].any()
    assert not found.stems[2:, 0].any()
    alone = separator.separate(speech, 16_000, options=SeparationOptions(num_sources=2, background=background))
    np.testing.assert_array_equal(found.stems[:2, 0], alone.stems)
    if background != "drop":
        total = found.stems.sum(0) + (found.background if background == "stem" else 0)
        np.testing.assert_allclose(total, both, atol=1e-5)
    again = separator.separate(both, 16_000, options=options)
    np.testing.assert_array_equal(found.stems, again.stems)


def test_antiphase_is_heard_channel_by_channel(separator, speech):
    both = np.stack([speech, -speech])
    options = SeparationOptions(num_sources=2, channels="separate")
    found = separator.separate(both, 16_000, options=options)
    assert any("cancel" in warning for warning in found.warnings)
    assert all(np.square(stem).mean() > 1e-7 for stem in found.stems[:2, 0])


def test_who_stops_a_separation_of_channels_gets_the_error(separator, speech):
    def stop(done: float) -> None:
        if done > 0.3:
            raise KeyError("enough")

    with pytest.raises(KeyError):
        separator.separate(
            np.stack([speech, speech]), 16_000, options=SeparationOptions(channels="separate"), progress=stop
        )


def test_a_mono_mix_that_loses_much_says_so(tmp_path, speech):
    """One voice in one of eight channels does not cancel, nor do two voices on a channel each."""
    other = np.roll(speech, 8_000)
    quiet = np.zeros_like(speech)
    for channels, expected in (
        ((speech, -0.9 * speech), "26 dB of the recording is lost"),
        ((speech, -speech), "everything"),
        ((speech, *[quiet] * 7), ""),
        ((speech, other), ""),
    ):
        soundfile.write(tmp_path / "a.wav", np.stack(channels, 1), 16_000, "FLOAT")
        recording = FileRecording(tmp_path / "a.wav", mono=True)
        assert len(np.concatenate(list(recording.blocks()), 1)) == 1
        assert expected in " ".join(recording.warnings)
        assert bool(recording.warnings) == bool(expected)
