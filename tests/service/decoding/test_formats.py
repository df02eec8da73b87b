"""Every format that we read, through the reader that command, server and trainer share: the same sound comes out."""

from __future__ import annotations

import dataclasses
import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from scipy import signal

from tests.service import formats
from tests.service.decoding.test_decoder import decode, refused
from tests.service.harness import ROOT
from unmingle.model.errors import FileError
from unmingle.model.reading.audio import open_audio
from unmingle.model.reading.identify import identify


@pytest.fixture(scope="module")
def speech(two_speakers: Path) -> np.ndarray:
    """Three seconds, 16 kHz."""
    return soundfile.read(two_speakers, dtype="float32")[0][:48_000]


def read(path: Path, content: bytes, track: int | None = None) -> tuple[np.ndarray, tuple[str, ...]]:
    """(samples, channels), and warnings."""
    path.write_bytes(content)
    with path.open("rb") as file:
        stream = open_audio(file.fileno(), track)
        samples = np.concatenate([block.copy() for block in stream.blocks()])
        return samples, stream.warnings


def si_sdr_db(estimate: np.ndarray, true: np.ndarray) -> float:
    part = (estimate @ true) / (true @ true) * true
    return float(10 * np.log10((part @ part) / (np.square(estimate - part).sum() + 1e-20)))


def aligned(estimate: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both without the delay between them."""
    delay = int(signal.correlate(estimate, true, method="fft").argmax()) - len(true) + 1
    estimate, true = estimate[max(0, delay) :], true[max(0, -delay) :]
    length = min(len(estimate), len(true))
    return estimate[:length], true[:length]


@pytest.mark.parametrize("name", formats.KINDS)
def test_what_was_written_is_read(tmp_path: Path, speech: np.ndarray, name: str) -> None:
    kind = formats.KINDS[name]
    mono = soxr.resample(speech, 16_000, kind.rate)
    written = np.stack([mono * (1 - 0.1 * channel) for channel in range(kind.channels)], 1)
    samples, warnings = read(tmp_path / "file", formats.encoded(written, kind))
    assert samples.shape[1] == kind.channels
    assert abs(len(samples) - len(written)) <= (0 if kind.accuracy_db == 60 else 2048)
    assert warnings == ()
    for channel in {0, kind.channels - 1} if name != "mka ac-3" else {0}:
        assert si_sdr_db(*aligned(samples[:, channel], written[:, channel])) > kind.accuracy_db


def test_the_confined_decoder_reads_what_the_command_reads(tmp_path: Path, speech: np.ndarray) -> None:
    for name in ("m4a", "webm", "amr", "caf alac", "mp4 video"):
        kind = formats.KINDS[name]
        written = np.stack([soxr.resample(speech, 16_000, kind.rate)] * kind.channels, 1)
        content = formats.encoded(written, kind)
        confined = np.concatenate(list(decode(tmp_path, content).blocks()), axis=1)
        np.testing.assert_array_equal(confined.T, read(tmp_path / "file", content)[0])


def flac(samples: np.ndarray, total: int | None = None) -> bytes:
    content = bytearray(formats.encoded(samples, formats.KINDS["flac"]))
    if total is not None:
        content[21:26] = bytes([content[21] & 0xF0 | total >> 32, *(total & 0xFFFFFFFF).to_bytes(4, "big")])
    return bytes(content)


@pytest.mark.parametrize(("total", "warns"), [(0, False), (1000, False), (10**7, True)])
def test_flac_of_any_announced_length(tmp_path: Path, speech: np.ndarray, total: int, warns: bool) -> None:
    samples, warnings = read(tmp_path / "file", flac(speech, total))
    np.testing.assert_allclose(samples[:, 0], speech, atol=1e-6)
    assert bool(warnings) == warns


def test_flac_behind_a_tag(tmp_path: Path, speech: np.ndarray) -> None:
    samples, warnings = read(tmp_path / "file", b"ID3\x04\0\0\0\0\x10\0" + bytes(2048) + flac(speech))
    np.testing.assert_allclose(samples[:, 0], speech, atol=1e-6)
    assert warnings == ()


@pytest.mark.parametrize("announced", [0, 0x7FFFF000, 0x7FFFFFFF, 0xFFFFFFFF, 0xFFFFFF9B])
def test_wav_from_a_pipe_has_no_length_and_gets_no_warning(tmp_path: Path, speech: np.ndarray, announced: int) -> None:
    content = bytearray(formats.encoded(speech, formats.KINDS["wav 16 bit"]))
    struct.pack_into("<I", content, 40, announced)
    samples, warnings = read(tmp_path / "file", bytes(content))
    np.testing.assert_allclose(samples[:, 0], speech, atol=1e-4)
    assert warnings == ()


@pytest.mark.parametrize("name", ["wav 16 bit", "aiff", "flac", "ogg vorbis", "ogg opus", "mp3", "mka", "caf"])
def test_a_cut_file_is_read_as_far_as_it_goes_with_a_warning(tmp_path: Path, speech: np.ndarray, name: str) -> None:
    kind = dataclasses.replace(formats.KINDS["mkv"], video=False) if name == "mka" else formats.KINDS[name]
    written = np.stack([soxr.resample(speech, 16_000, kind.rate)] * kind.channels, 1)
    content = formats.encoded(written, kind)
    samples, warnings = read(tmp_path / "file", content[: len(content) * 6 // 10])
    assert 0.3 * len(written) < len(samples) < 0.8 * len(written)
    begin = kind.rate // 10  # codecs take their time
    length = len(samples) - 2 * begin
    close = si_sdr_db(*aligned(samples[begin : begin + length, 0], written[begin : begin + length, 0]))
    assert close > min(kind.accuracy_db, 40)
    # Of these two, the libraries do not say what is announced.
    assert name in ("aiff", "caf") or any("break" in warning for warning in warnings)


def test_a_cut_m4a_says_what_is_missing(tmp_path: Path, speech: np.ndarray) -> None:
    content = formats.encoded(speech, formats.KINDS["m4a"])
    with pytest.raises(FileError, match="index"):
        read(tmp_path / "file", content[: len(content) // 2])


@pytest.mark.parametrize("name", ["ogg vorbis", "ogg opus", "mp3"])
def test_recordings_that_lie_end_to_end_are_all_read(tmp_path: Path, speech: np.ndarray, name: str) -> None:
    kind = formats.KINDS[name]
    written = np.stack([soxr.resample(speech, 16_000, kind.rate)] * kind.channels, 1)
    content = formats.encoded(written, kind)
    samples, warnings = read(tmp_path / "file", content * 3)
    assert abs(len(samples) - 3 * len(written)) < 3 * 2048
    assert warnings == ()
    other = formats.encoded(written[::2], kind) if name == "mp3" else b""
    assert len(read(tmp_path / "file", content + other)[0]) >= len(written)


def test_a_stream_that_changes_its_rate_and_channels_again_and_again(tmp_path: Path, speech: np.ndarray) -> None:
    """As radio does between programmes; all of it comes at the rate and with the channels of its beginning."""
    content = b""
    for rate, channels in ((16_000, 1), (16_000, 2), (48_000, 1), (44_100, 6), (16_000, 1)):
        kind = dataclasses.replace(formats.KINDS["aac"], rate=rate, channels=channels)
        content += formats.encoded(np.stack([soxr.resample(speech, 16_000, rate)] * channels, 1), kind)
    samples, _ = read(tmp_path / "file", content)
    assert samples.shape[1] == 1
    assert abs(len(samples) - 5 * len(speech)) < 5 * 2048
    for part in range(4):  # FFmpeg mixes six channels down with weights of its own
        heard = samples[part * len(speech) : (part + 1) * len(speech), 0]
        assert si_sdr_db(*aligned(heard, speech)) > 5, part


@pytest.mark.parametrize(
    "before",
    [
        bytes(5000),
        b"ID3\x04\0\0\0\0\x20\0" + bytes(4096) + b"ID3\x03\0\0\0\0\x40\0" + bytes(8192),
        b"ID3\x04\0\0\0\0\x20\0" + bytes(4096 + 9000),
        b"\xff\xfbjunk\xff\xe0" * 300,
    ],
    ids=["padding", "two tags", "a tag and padding", "junk"],
)
def test_mp3_behind_tags_padding_and_junk(tmp_path: Path, speech: np.ndarray, before: bytes) -> None:
    kind = formats.KINDS["mp3"]
    written = np.stack([soxr.resample(speech, 16_000, kind.rate)] * 2, 1)
    samples, warnings = read(tmp_path / "file", before + formats.encoded(written, kind))
    assert len(samples) == len(written)
    assert warnings == ()


def test_a_part_of_a_file_is_never_called_no_audio(tmp_path: Path, speech: np.ndarray) -> None:
    """The server looks at the first part of an upload, to refuse what is no audio before all of it has come."""
    picture = b"ID3\x04\0\0\0\x10\0\0" + bytes(2**18)
    for name in ("mp3", "m4a", "flac", "ogg vorbis", "webm", "wav 16 bit", "aac", "amr"):
        kind = formats.KINDS[name]
        content = formats.encoded(np.stack([soxr.resample(speech, 16_000, kind.rate)] * kind.channels, 1), kind)
        for part in (content[:3000], picture[:100_000] if name == "mp3" else content[:20_000]):
            (tmp_path / "part").write_bytes(part)
            try:
                with (tmp_path / "part").open("rb") as file:
                    identify(file)
            except FileError as error:
                assert error.code != "format_unsupported", name


def test_surround_comes_in_the_order_of_wave(tmp_path: Path) -> None:
    """Vorbis and Opus have the centre second and the LFE last; here each channel has a tone of its own."""
    tones = np.stack([np.sin(np.arange(48_000) * 0.01 * (1 + c)) * 0.2 for c in range(6)], 1).astype(np.float32)
    in_vorbis_order = tones[:, [0, 2, 1, 4, 5, 3]]
    for subtype in ("VORBIS", "OPUS"):
        buffer = io.BytesIO()
        soundfile.write(buffer, in_vorbis_order, 48_000, format="OGG", subtype=subtype)
        samples, _ = read(tmp_path / "file", buffer.getvalue())
        for channel in (0, 1, 2, 4, 5):
            loudest = np.abs(tones.T @ samples[: len(tones), channel]).argmax()
            assert loudest == channel, subtype


def test_tracks(tmp_path: Path, speech: np.ndarray) -> None:
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        sounds = [container.add_stream("flac", rate=16_000) for _ in range(2)]
        for sound in sounds:
            sound.layout, sound.format = "mono", "s16"
        for number, sound in enumerate(sounds, 1):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(speech[None] / number), "flt", "mono")
            frame.sample_rate, frame.pts = 16_000, 0
            container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
    first, warnings = read(tmp_path / "file", buffer.getvalue())
    assert "2 audio tracks" in warnings[0]
    second, warnings = read(tmp_path / "file", buffer.getvalue(), track=2)
    assert warnings == ()
    np.testing.assert_allclose(second, first / 2, atol=1e-4)
    with pytest.raises(FileError, match="track=3"):
        read(tmp_path / "file", buffer.getvalue(), track=3)
    assert decode(tmp_path, buffer.getvalue(), track=2).samples == len(second)


def test_a_video_without_sound_and_huge_numbers_are_refused(tmp_path: Path) -> None:
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        picture = container.add_stream("mpeg4", rate=10)
        picture.width = picture.height = 64
        picture.pix_fmt = "yuv420p"
        for _ in range(10):
            container.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        container.mux(picture.encode(None))
    with pytest.raises(FileError, match="no audio track"):
        read(tmp_path / "file", buffer.getvalue())
    one = np.zeros(16_000, np.float32)
    one[8000] = 3e38
    for samples in (one, np.full(16_000, 1e19)):
        with pytest.raises(FileError, match="full scale is 1"):
            read(tmp_path / "file", formats.encoded(samples, formats.KINDS["wav float"]))


@pytest.mark.parametrize("name", formats.NEED_FFMPEG)
def test_limits_hold_for_what_ffmpeg_decodes(tmp_path: Path, name: str) -> None:
    kind = formats.KINDS[name]
    content = formats.encoded(np.zeros((kind.rate * 3, kind.channels), np.float32) + 0.01, kind)
    assert refused(tmp_path, content, max_seconds=1) == "recording_too_long"
    assert refused(tmp_path, content, max_bytes=10_000) == "recording_too_large"


def test_without_pyav_the_answer_says_what_to_install(tmp_path: Path, speech: np.ndarray) -> None:
    (tmp_path / "file").write_bytes(formats.encoded(speech, formats.KINDS["m4a"]))
    program = (
        "import sys; sys.modules['av'] = None\n"
        "from unmingle.model.reading.audio import open_audio\n"
        "from unmingle.model.errors import FileError\n"
        "file = open(sys.argv[1], 'rb')\n"
        "try: open_audio(file.fileno())\n"
        "except FileError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "file")], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "unmingle[formats]" in done.stdout
    assert "M4A" in done.stdout


def test_the_page_of_formats_names_all_that_are_tested() -> None:
    page = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    assert [name for name in formats.KINDS if f"`{name}`" not in page] == []
