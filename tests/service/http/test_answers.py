"""Accept, format and subtype decide what the answer of POST /separate is made of."""

from __future__ import annotations

import base64
import email
import email.policy
import io
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

from tests.service.harness import RunningServer, encoded, post, problem_of, unpack


def ask(server: RunningServer, accept: str, content: bytes, **parameters: object) -> httpx.Response:
    return server.http.post(
        "/separate",
        params={"background": "share", **parameters},
        files={"file": content},
        headers={"accept": accept},
        timeout=120,
    )


def heard(content: bytes) -> np.ndarray:
    samples, _ = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    return samples.T


def test_json_has_the_stems_in_it(server: RunningServer, two_speakers: Path) -> None:
    response = ask(server, "application/json", two_speakers.read_bytes())
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    stems = [heard(base64.b64decode(stem["audio_base64"])) for stem in body["stems"]]
    np.testing.assert_allclose(sum(stems), heard(two_speakers.read_bytes()), atol=1e-5)
    assert all(0 <= stem["confidence"] <= 1 for stem in body["stems"])
    assert all(0 <= part["start_s"] < part["end_s"] <= 5.1 for stem in body["stems"] for part in stem["active"])


def test_wav_has_a_channel_per_stem_or_one_stem(server: RunningServer, two_speakers: Path) -> None:
    content = two_speakers.read_bytes()
    together = heard(ask(server, "audio/wav", content, num_sources=3).content)
    assert together.shape[0] == 3
    second = ask(server, "audio/wav", content, num_sources=3, stem=2)
    assert second.headers["content-type"] == "audio/wav"
    np.testing.assert_array_equal(heard(second.content), together[1:2])
    problem_of(ask(server, "audio/wav", content, num_sources=2, stem=3), 422, "parameter_invalid")


def test_multipart_has_the_manifest_and_the_stems(server: RunningServer, two_speakers: Path) -> None:
    response = ask(server, "multipart/mixed", two_speakers.read_bytes(), format="flac")
    head = f"Content-Type: {response.headers['content-type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + response.content, policy=email.policy.HTTP)
    parts = {part.get_filename(): part for part in message.iter_parts()}
    assert list(parts) == ["manifest.json", "stem_1.flac", "stem_2.flac"]
    assert parts["stem_1.flac"].get_content_type() == "audio/flac"
    assert heard(parts["stem_1.flac"].get_content()).shape == (1, 80_000)


@pytest.mark.parametrize(
    ("accept", "given"),
    [
        ("*/*", "application/zip"),
        ("text/html, application/json;q=0.5, audio/wav;q=0.9", "audio/wav"),
        ("audio/*", "audio/wav"),
        ("application/*", "application/zip"),
        ("application/zip;q=0, application/json", "application/json"),
    ],
)
def test_accept_is_negotiated(server: RunningServer, two_speakers: Path, accept: str, given: str) -> None:
    assert ask(server, accept, two_speakers.read_bytes()).headers["content-type"] == given


def test_what_we_do_not_have_is_406(server: RunningServer, two_speakers: Path) -> None:
    body = problem_of(ask(server, "image/png", two_speakers.read_bytes()), 406, "not_acceptable")
    assert "application/zip" in body["available"]


@pytest.mark.parametrize(
    ("format", "subtype", "written", "tolerance"),
    [
        ("wav", "PCM_16", "PCM_16", 1e-4),
        ("wav", "PCM_24", "PCM_24", 1e-6),
        ("flac", None, "PCM_24", 1e-6),
        ("flac", "PCM_16", "PCM_16", 1e-4),
        ("ogg", None, "VORBIS", None),
        ("ogg", "OPUS", "OPUS", None),
    ],
)
def test_every_format_of_stems(
    server: RunningServer, two_speakers: Path, format: str, subtype: str | None, written: str, tolerance: float | None
) -> None:
    content = two_speakers.read_bytes()
    _, exact = unpack(post(server, content))
    chosen = {"format": format} | ({"subtype": subtype} if subtype else {})
    response = post(server, content, **chosen)
    manifest, stems = unpack(response)
    assert (manifest["format"], manifest["subtype"]) == (format, written)
    assert [stem["file"] for stem in manifest["stems"]] == [f"stem_1.{format}", f"stem_2.{format}"]
    for stem, wanted in zip(stems, exact, strict=True):
        assert stem.shape[0] == 1
        if tolerance:
            np.testing.assert_allclose(stem, wanted, atol=tolerance)
        else:
            length = min(stem.shape[1], wanted.shape[1])
            assert length > 79_000
            assert np.corrcoef(stem[0, :length], wanted[0, :length])[0, 1] > 0.95


def test_choices_that_do_not_go_together(server: RunningServer, two_speakers: Path) -> None:
    content = two_speakers.read_bytes()
    for parameters in ({"format": "flac", "subtype": "FLOAT"}, {"format": "wav", "subtype": "VORBIS"}):
        problem_of(post(server, content, **parameters), 422, "parameter_invalid")
    problem_of(ask(server, "application/zip", content, stem=1), 422, "parameter_invalid")
    problem_of(ask(server, "audio/wav", content, format="flac"), 422, "parameter_invalid")
    problem_of(post(server, content, model="other"), 422, "model_unknown")
    opus = encoded(np.zeros(2000, np.float32), 44_100)
    problem_of(post(server, opus, format="ogg", subtype="OPUS"), 422, "parameter_invalid")


def test_stems_and_background_add_up_to_the_mixture(server: RunningServer, two_speakers: Path) -> None:
    together = heard(ask(server, "audio/wav", two_speakers.read_bytes(), background="stem").content)
    assert together.shape[0] == 3
    np.testing.assert_allclose(together.sum(0), heard(two_speakers.read_bytes())[0], atol=1e-5)


def test_microphones_are_used_together_and_the_manifest_says_how(server: RunningServer) -> None:
    stereo = np.random.default_rng(0).uniform(-0.5, 0.5, (8_000, 2)).astype(np.float32)
    manifest, stems = unpack(post(server, encoded(stereo, 8_000), num_sources=2))
    assert manifest["spatial"]["channels"] == [1, 2]
    assert manifest["reference"] is None
    np.testing.assert_allclose(sum(stems), stereo.T, atol=1e-5)
    off, _ = unpack(post(server, encoded(stereo, 8_000), num_sources=2, spatial="off", channels="together"))
    assert off["spatial"] is None
    one, stems = unpack(post(server, encoded(stereo, 8_000), num_sources=2, channels="reference"))
    assert one["channels"] == 1
    np.testing.assert_allclose(sum(stems)[0], stereo[:, one["reference"] - 1], atol=1e-5)


def test_mono_mixes_the_channels_down(server: RunningServer) -> None:
    stereo = np.random.default_rng(0).uniform(-0.5, 0.5, (8_000, 2)).astype(np.float32)
    _, stems = unpack(post(server, encoded(stereo, 8_000), mono=True))
    np.testing.assert_allclose(sum(stems)[0], stereo.mean(1), atol=1e-5)
