"""Hostile uploads: whatever a file claims or holds, it is decoded or refused with a 4xx, within its limits."""

from __future__ import annotations

import dataclasses
import io
import random
import resource
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.service.decoding.kept_decoder import KEPT
from tests.service.fuzzing import REFUSALS
from tests.service.hostile import RATE, SEEDS, SPEECHLIKE, encoded, wav
from unmingle.service.decoding import audio_header
from unmingle.service.decoding.decoder import DecodeLimits
from unmingle.service.decoding.recordings import DecodedRecording
from unmingle.service.problems import Problem

LIMITS = DecodeLimits(max_seconds=60, max_bytes=50_000_000, memory_bytes=2**30, timeout_s=30)


def decode(directory: Path, content: bytes, **limits: float) -> DecodedRecording:
    upload = directory / "upload"
    upload.write_bytes(content)
    chosen = dataclasses.replace(LIMITS, **limits)
    return KEPT.decode(upload, directory / "decoded", chosen)


def refused(directory: Path, content: bytes, **limits: float) -> str:
    with pytest.raises(Problem) as caught:
        decode(directory, content, **limits)
    return refusal(caught.value)


def refusal(problem: Problem) -> str:
    """Its code, which is one that an upload can be refused for; it says something to the client."""
    assert problem.code in REFUSALS
    assert 400 <= problem.status < 500
    assert problem.detail.endswith(".")
    return problem.code


@pytest.mark.parametrize("name", ["wav", "float", "extensible", "rf64", "w64", "flac", "vorbis", "opus", "mp3"])
def test_what_libsndfile_reads_is_what_comes(tmp_path: Path, name: str) -> None:
    recording = decode(tmp_path, SEEDS[name])
    wanted, _ = soundfile.read(io.BytesIO(SEEDS[name]), dtype="float32", always_2d=True)
    np.testing.assert_allclose(np.concatenate(list(recording.blocks()), axis=1), wanted.T, atol=1e-6)


def test_a_forged_flac_length_is_a_claim_only(tmp_path: Path) -> None:
    for claim, warns in ((2**36 - 1, True), (0, False), (100, False)):
        forged = bytearray(SEEDS["flac"])
        forged[21:26] = bytes([forged[21] & 0xF0 | claim >> 32, *(claim & 0xFFFFFFFF).to_bytes(4, "big")])
        recording = decode(tmp_path, bytes(forged))
        assert (recording.samples, bool(recording.warnings)) == (RATE, warns)


def test_a_forged_wav_length_is_a_claim_only(tmp_path: Path) -> None:
    forged = bytearray(wav(data=SPEECHLIKE.astype("<f4").tobytes(), tag=3, bits=32))
    struct.pack_into("<I", forged, 40, 0xFFFFFFF0)
    recording = decode(tmp_path, bytes(forged))
    assert recording.samples == RATE
    assert recording.warnings
    struct.pack_into("<I", forged, 40, 0xFFFFFFFF)  # what programs write that do not know the length
    recording = decode(tmp_path, bytes(forged))
    assert (recording.samples, recording.warnings) == (RATE, ())


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_a_small_ogg_that_is_long_is_stopped_at_the_limit(tmp_path: Path, subtype: str) -> None:
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", 48_000, 1, subtype, format="OGG") as file:
        for _ in range(150):
            file.write(np.zeros(48_000, np.float32))
    assert len(buffer.getvalue()) < 200_000
    assert refused(tmp_path, buffer.getvalue(), max_seconds=60) == "recording_too_long"
    assert refused(tmp_path, buffer.getvalue(), max_bytes=1_000_000, max_seconds=600) == "recording_too_large"
    assert (tmp_path / "decoded").stat().st_size <= 2_100_000


def test_time_and_memory_are_limited(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 50 * 48_000).astype(np.float32)
    costly = encoded(noise, 48_000, "OGG", "OPUS")
    start = time.monotonic()
    assert refused(tmp_path, costly, timeout_s=0.01) == "decoding_too_costly"
    assert time.monotonic() - start < 5
    assert refused(tmp_path, costly, memory_bytes=2**20) == "decoding_too_costly"


def test_chunks_within_chunks_and_polyglots(tmp_path: Path) -> None:
    nested = b"RIFF" + struct.pack("<I", 2**20) + b"WAVE" + b"LIST\xff\xff\xff\x7f" * 5000
    assert refused(tmp_path, nested) == "audio_unreadable"
    assert refused(tmp_path, b"RIFF\x24\0\0\0WAVEdata" + bytes(100)) == "audio_unreadable"
    assert refused(tmp_path, b"PK\x03\x04" + SEEDS["wav"]) == "format_unsupported"
    assert refused(tmp_path, b"<html>" + SEEDS["mp3"]) == "format_unsupported"
    recording = decode(tmp_path, SEEDS["wav"] + b"PK\x03\x04<script>")
    assert recording.samples == RATE


@pytest.mark.slow
@settings(max_examples=2000, deadline=None)
@given(
    st.sampled_from(list(SEEDS)),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=8),
    st.integers(0, 300),
)
def test_headers_of_every_kind_pass_or_are_refused(
    tmp_path_factory: pytest.TempPathFactory, name: str, changes: list[tuple[int, int]], length: int
) -> None:
    content = bytearray(SEEDS[name][:length])
    for at, value in changes:
        if at < len(content):
            content[at] = value
    path = tmp_path_factory.getbasetemp() / "header"
    path.write_bytes(content)
    try:
        header = audio_header.inspect(path)
    except Problem as problem:
        assert refusal(problem)
    else:
        assert header.channels is None or 1 <= header.channels <= 8
        assert header.sample_rate is None or 4_000 <= header.sample_rate <= 192_000


def test_damaged_files_of_every_kind_are_decoded_or_refused(tmp_path: Path) -> None:
    generator = random.Random(0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(30):
        content = bytearray(SEEDS[generator.choice(list(SEEDS))])
        for _ in range(generator.randrange(1, 30)):
            content[generator.randrange(len(content))] = generator.randrange(256)
        if generator.random() < 0.4:
            del content[generator.randrange(len(content)) :]
        try:
            recording = decode(tmp_path, bytes(content))
        except Problem as problem:
            assert refusal(problem)
        else:
            assert all(np.isfinite(block).all() for block in recording.blocks())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024
