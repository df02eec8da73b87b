"""What cannot be separated gets a 4xx and a problem body that says what was wrong and what is expected."""

from __future__ import annotations

import numpy as np
import pytest

from tests.service.harness import RunningServer, StartServer, encoded, post, problem_of
from tests.service.hostile import wav

RATE = 16_000
# 5 KB of chance in which an ADTS frame seems to begin, as it does in a quarter of all such files.
NOISE = np.random.default_rng(1).bytes(5000)
TONE = (0.3 * np.sin(np.arange(RATE) * 0.1)).astype(np.float32)


@pytest.mark.parametrize(
    ("content", "status", "code", "says"),
    [
        (b"", 422, "file_empty", "expected audio"),
        (b"This is no audio, but a letter.", 415, "format_unsupported", "expected WAV"),
        (NOISE, 415, "format_unsupported", "expected WAV"),
        (b"\0\0\0\x20ftypM4A " + bytes(100), 422, "audio_unreadable", "M4A"),
        (b"PK\x03\x04" + bytes(100), 415, "format_unsupported", "ZIP archive"),
        (b"MThd" + bytes(100), 415, "format_unsupported", "MIDI"),
        (wav(data=b""), 422, "audio_unusable", "no samples"),
        (wav(tag=0x7777, data=bytes(5000)), 415, "format_unsupported", "ffmpeg -i"),
        (encoded(TONE * 1e19, RATE), 422, "audio_unusable", "full scale is 1"),
        (wav(channels=9), 422, "too_many_channels", "1 to 8"),
        (wav(channels=1024), 422, "too_many_channels", "1 to 8"),
        (wav(rate=1000), 422, "sample_rate_unsupported", "4000 to 192000"),
        (wav(rate=400_000), 422, "sample_rate_unsupported", "4000 to 192000"),
        (encoded(np.where(np.arange(RATE) == 800, np.nan, TONE), RATE), 422, "audio_unusable", "0.0500 s"),
        (encoded(np.where(np.arange(RATE) == 800, np.inf, TONE), RATE), 422, "audio_unusable", "not finite"),
        (encoded(TONE, RATE, "FLAC", "PCM_16")[:60], 422, "audio_unreadable", "looks like FLAC"),
        (b"RIFF" + bytes(40), 415, "format_unsupported", ""),
        (b"RIFF\0\0\0\0WAVE", 422, "audio_unreadable", "format chunk"),
    ],
)
def test_a_file_that_is_no_usable_audio(
    server: RunningServer, content: bytes, status: int, code: str, says: str
) -> None:
    assert says in problem_of(post(server, content), status, code)["detail"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_sources", "0"),
        ("num_sources", "9"),
        ("num_sources", "two"),
        ("seed", "-1"),
        ("subtype", "PCM_12"),
        ("masks", "fuzzy"),
        ("sources", "2"),
    ],
)
def test_a_parameter_that_is_not_valid(server: RunningServer, name: str, value: str) -> None:
    content = encoded(TONE, RATE)
    in_query = problem_of(post(server, content, **{name: value}), 422, "parameter_invalid")
    in_form = problem_of(
        server.http.post("/separate", data={name: value}, files={"file": content}), 422, "parameter_invalid"
    )
    for body in (in_query, in_form):
        assert body["errors"][0]["parameter"] == name
        assert name in body["detail"]


def test_no_file(server: RunningServer) -> None:
    url = "/separate"
    problem_of(server.http.post(url), 415, "multipart_expected")
    problem_of(server.http.post(url, json={"file": "x"}), 415, "multipart_expected")
    problem_of(server.http.post(url, files={"audio": encoded(TONE, RATE)}), 400, "multipart_malformed")
    problem_of(server.http.post(url, data={"num_sources": "2"}, files={"other": b"x"}), 422, "file_missing")
    two = [("file", encoded(TONE, RATE)), ("file", encoded(TONE, RATE))]
    problem_of(server.http.post(url, files=two), 400, "too_many_parts")
    many = {f"field{number}": "x" for number in range(50)}
    problem_of(server.http.post(url, data=many, files={"file": encoded(TONE, RATE)}), 400, "too_many_parts")


def test_a_body_that_is_no_whole_multipart(server: RunningServer) -> None:
    url, kind = "/separate", {"content-type": "multipart/form-data; boundary=xyz"}
    begin = b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    problem_of(server.http.post(url, content=b"", headers=kind), 400, "multipart_malformed")
    problem_of(server.http.post(url, content=b"garbage", headers=kind), 400, "multipart_malformed")
    problem_of(server.http.post(url, content=begin + wav(), headers=kind), 400, "multipart_malformed")


def test_unknown_addresses_and_methods(server: RunningServer) -> None:
    problem_of(server.http.get("/nothing"), 404, "not_found")
    response = server.http.get("/separate")
    problem_of(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST"


def test_limits_on_length_and_bytes(start_server: StartServer) -> None:
    server = start_server(
        UNMINGLE_MAX_SECONDS="2", UNMINGLE_MAX_UPLOAD_BYTES="200000", UNMINGLE_MAX_DECODED_BYTES="100000"
    )
    three_seconds = np.tile(TONE, 3)
    body = problem_of(post(server, encoded(three_seconds, RATE, "FLAC", "PCM_16")), 413, "recording_too_long")
    assert body["limit"] == 2
    body = problem_of(post(server, encoded(np.tile(TONE, 30), RATE)), 413, "upload_too_large")
    assert body["limit"] == 200_000
    problem_of(post(server, encoded(np.tile(TONE, 2), RATE, "FLAC", "PCM_16")), 413, "recording_too_large")
    assert post(server, encoded(TONE, RATE)).status_code == 200


def test_bytes_are_counted_while_they_come_whatever_is_announced(start_server: StartServer) -> None:
    server = start_server(UNMINGLE_MAX_UPLOAD_BYTES="200000")

    def endless():
        yield b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        yield wav(announced=2**30)
        for _ in range(40):
            yield bytes(10_000)

    headers = {"content-type": "multipart/form-data; boundary=xyz"}
    response = server.http.post("/separate", content=endless(), headers=headers)
    problem_of(response, 413, "upload_too_large")
    assert not any((server.directory / "data" / "spool").iterdir())
