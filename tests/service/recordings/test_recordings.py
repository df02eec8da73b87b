"""Recordings that are uploaded once and separated as often as wanted."""

from __future__ import annotations

import base64
import io
import struct
import time
import zipfile
import zlib

import numpy as np
import pytest
import soundfile

from tests.conftest import EXAMPLES
from tests.service.harness import RunningServer, StartServer, encoded, noise, problem_of
from unmingle.service.http.auth import hashed

pytestmark = pytest.mark.slow

MIXTURE = (EXAMPLES / "three_speakers" / "mixture.flac").read_bytes()


def keep(server: RunningServer, content: bytes = MIXTURE, **options: object) -> dict:
    response = server.http.post("/recordings", files={"file": content}, **options)
    assert response.status_code == 201, response.text
    assert response.headers["location"] == f"/recordings/{response.json()['id']}"
    return response.json()


def separated(server: RunningServer, kept: dict, **wish: object) -> dict:
    response = server.http.post(f"/recordings/{kept['id']}/separations", json=wish)
    assert response.status_code == 201, response.text
    return response.json()


def stems(server: RunningServer, kept: dict, separation: dict) -> dict[str, bytes]:
    archive = server.http.get(f"/recordings/{kept['id']}/separations/{separation['id']}/result")
    assert archive.status_code == 200, archive.text
    with zipfile.ZipFile(io.BytesIO(archive.content)) as files:
        return {name: files.read(name) for name in files.namelist()}


def samples(content: bytes) -> np.ndarray:
    return soundfile.read(io.BytesIO(content), dtype="float32")[0]


@pytest.fixture(scope="module")
def kept(server: RunningServer) -> dict:
    return keep(server)


def test_it_says_what_every_number_of_sounds_would_be(kept: dict) -> None:
    assert (kept["seconds"], kept["sample_rate"], kept["channels"]) == (5.0, 16_000, 1)
    assert [number["num_sources"] for number in kept["numbers"]] == list(range(1, 9))
    assert kept["num_sources"] == 3
    chances = [number["chance"] for number in kept["numbers"]]
    assert chances[2] == max(chances)
    assert sum(chances) == pytest.approx(1.0, abs=0.02)
    clarity = [number["clarity"] for number in kept["numbers"]]
    assert all(0 <= value <= 1 for value in clarity)
    assert clarity[2] > clarity[4] > 0
    for number in kept["numbers"]:
        vectors = np.array(number["centroids"])
        assert vectors.shape == (number["num_sources"], 20)
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert kept["band_hz"] == sorted(kept["band_hz"])


@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_a_number_gives_the_bytes_of_a_separation_in_one_go(server: RunningServer, kept: dict, number: int) -> None:
    found = stems(server, kept, separated(server, kept, num_sources=number))
    answer = server.http.post("/separate", params={"num_sources": number}, files={"file": MIXTURE})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert set(found) == set(archive.namelist())
        for name in found.keys() - {"manifest.json"}:  # which has the times that it took
            assert found[name] == archive.read(name), name


def test_a_minute_whose_embeddings_are_8_bits_gives_the_same_bytes(server: RunningServer) -> None:
    minute = encoded(np.tile(samples(MIXTURE), 12), 16_000, "FLAC", "PCM_16")
    kept = keep(server, minute)
    found = stems(server, kept, separated(server, kept, num_sources=3))
    answer = server.http.post("/separate", params={"num_sources": 3}, files={"file": minute})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert found["stem_2.wav"] == archive.read("stem_2.wav")
    server.http.delete(f"/recordings/{kept['id']}")


def test_centroids_give_the_same_stems_as_their_number(server: RunningServer, kept: dict) -> None:
    number = separated(server, kept, num_sources=3)
    given = separated(server, kept, centroids=kept["numbers"][2]["centroids"])
    assert given["sources"] == number["sources"]
    assert stems(server, kept, given)["stem_1.wav"] == stems(server, kept, number)["stem_1.wav"]


def test_merged_sounds_are_the_sum_of_theirs(server: RunningServer, kept: dict) -> None:
    number = separated(server, kept, num_sources=3)
    merged = separated(server, kept, num_sources=3, groups=[0, 1, 0])
    assert merged["manifest"]["num_sources"] == 2
    apart, together = stems(server, kept, number), stems(server, kept, merged)
    of_group = {source: f"stem_{n}.wav" for n, source in enumerate(merged["sources"], 1)}
    of_source = {source: f"stem_{n}.wav" for n, source in enumerate(number["sources"], 1)}
    expected = samples(apart[of_source[0]]) + samples(apart[of_source[2]])
    assert np.abs(samples(together[of_group[0]]) - expected).max() < 1e-5
    assert np.abs(samples(together[of_group[1]]) - samples(apart[of_source[1]])).max() < 1e-5


def test_a_selection_is_heard_alone_and_the_rest_is_background(server: RunningServer, kept: dict) -> None:
    part = {"start_s": 1.0, "end_s": 2.0, "low_hz": 300.0, "high_hz": 3000.0}
    found = stems(server, kept, separated(server, kept, num_sources=1, selection=part))
    heard = samples(found["stem_1.wav"])
    assert np.abs(heard[: int(0.9 * 16_000)]).max() < 1e-6
    assert np.abs(heard[int(2.1 * 16_000) :]).max() < 1e-6
    inside = heard[16_000:32_000]
    spectrum = np.abs(np.fft.rfft(inside * np.hanning(len(inside)))) ** 2
    assert spectrum[:200].sum() < 0.01 * spectrum.sum()
    assert spectrum[3300:].sum() < 0.01 * spectrum.sum()
    assert np.abs(inside).max() > 0.01
    assert np.abs(heard + samples(found["background.wav"]) - samples(MIXTURE)).max() < 1e-5


def pixels(content: bytes) -> np.ndarray:
    """(rows, columns, 3) of a PNG, read without its writer."""
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    at, body, shape = 8, b"", (0, 0)
    while at < len(content):
        size, kind = struct.unpack(">I4s", content[at : at + 8])
        chunk = content[at + 8 : at + 8 + size]
        assert zlib.crc32(kind + chunk) == struct.unpack(">I", content[at + 8 + size : at + 12 + size])[0]
        if kind == b"IHDR":
            shape = struct.unpack(">II", chunk[:8])
        body += chunk if kind == b"IDAT" else b""
        at += 12 + size
    rows = np.frombuffer(zlib.decompress(body), np.uint8).reshape(shape[1], 1 + 3 * shape[0])
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(shape[1], shape[0], 3)


def test_masks_are_a_picture_of_any_part_at_any_width(server: RunningServer, kept: dict) -> None:
    address = f"/recordings/{kept['id']}/masks"
    response = server.http.get(address, params={"num_sources": 3, "width": 500})
    assert response.headers["content-type"] == "image/png"
    whole = pixels(response.content)
    assert whole.shape == (len(kept["band_hz"]), 500, 3)
    loud = whole[..., 2] > 128
    assert set(np.unique(whole[..., 0][loud])) == {0, 1, 2}
    assert whole[..., 2].max() == 255
    assert whole[..., 1][loud].mean() > 100
    part = pixels(server.http.get(address, params={"num_sources": 3, "width": 50, "start_s": 1, "end_s": 1.5}).content)
    assert np.abs(part[..., 2].mean() - whole[:, 100:150, 2].mean()) < 12
    made = separated(server, kept, num_sources=2)
    of_it = pixels(server.http.get(address, params={"separation": made["id"], "width": 500}).content)
    assert set(np.unique(of_it[..., 0][loud])) == {0, 1}
    problem_of(server.http.get(address), 422, "parameter_invalid")
    problem_of(server.http.get(address, params={"separation": "none"}), 404, "separation_unknown")


def test_several_channels_are_used_as_they_are_wanted(server: RunningServer) -> None:
    """The same options as of POST /separate, and the same bytes."""
    first, second = (samples((EXAMPLES / "two_speakers" / f"source_{n}.flac").read_bytes())[:32_000] for n in (1, 2))
    stereo = encoded(np.stack([0.9 * first + 0.3 * second, 0.3 * first + 0.9 * second], axis=-1), 16_000)
    kept = keep(server, stereo)
    for wish, channels, located in (
        ({}, 2, True),
        ({"spatial": "off"}, 2, False),
        ({"channels": "mono"}, 1, True),
        ({"channels": "reference", "spatial": "off"}, 1, False),
        ({"enhance": True}, 2, True),
    ):
        made = separated(server, kept, num_sources=2, **wish)
        manifest = made["manifest"]
        assert manifest["channels"] == channels
        assert (manifest["spatial"] is not None) == located
        if located:
            assert manifest["spatial"]["enhanced"] == wish.get("enhance", False)
        assert (manifest["reference"] is not None) == (wish.get("channels") == "reference")
        answer = server.http.post("/separate", params={"num_sources": 2, **wish}, files={"file": stereo})
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            assert stems(server, kept, made)["stem_1.wav"] == archive.read("stem_1.wav")
    refused = server.http.post(f"/recordings/{kept['id']}/separations", json={"num_sources": 2, "channels": "separate"})
    problem_of(refused, 422, "parameter_invalid")
    server.http.delete(f"/recordings/{kept['id']}")


def test_points_are_a_bounded_sample_of_what_is_heard(server: RunningServer, kept: dict) -> None:
    body = server.http.get(f"/recordings/{kept['id']}/points", params={"most": 2000}).json()
    assert body["count"] == 2000
    frames = np.frombuffer(base64.b64decode(body["frames"]), "<u4")
    bands = np.frombuffer(base64.b64decode(body["bands"]), "<u2")
    weights = np.frombuffer(base64.b64decode(body["weights"]), "<f4")
    embeddings = np.frombuffer(base64.b64decode(body["embeddings"]), np.int8).reshape(-1, body["dim"]) / 127
    assert len(frames) == len(bands) == len(weights) == len(embeddings) == 2000
    assert frames.max() * kept["frame_s"] <= kept["seconds"] + 0.1
    assert bands.max() < len(kept["band_hz"])
    assert weights.max() == 1.0
    assert np.linalg.norm(embeddings, axis=1) == pytest.approx(1.0, abs=0.05)
    near = (embeddings @ np.array(kept["numbers"][2]["centroids"]).T).max(1)
    assert near.mean() > 0.5


def test_peaks_are_the_outline_of_what_is_played(server: RunningServer, kept: dict) -> None:
    made = separated(server, kept, num_sources=3)
    address = f"/recordings/{kept['id']}/peaks"
    for parameters, content in (
        ({}, MIXTURE),
        ({"separation": made["id"], "stem": 2}, stems(server, kept, made)["stem_2.wav"]),
        ({"separation": made["id"], "stem": 4}, stems(server, kept, made)["background.wav"]),
    ):
        body = server.http.get(address, params={**parameters, "parts": 100}).json()
        parts = samples(content).reshape(100, -1)
        assert np.array(body["high"]) * body["scale"] / 127 == pytest.approx(parts.max(1), abs=body["scale"] / 100)
        assert np.array(body["low"]) * body["scale"] / 127 == pytest.approx(parts.min(1), abs=body["scale"] / 100)
    part = server.http.get(address, params={"start_s": 1, "end_s": 1.001, "parts": 1000}).json()
    assert len(part["high"]) == 16
    problem_of(server.http.get(address, params={"separation": made["id"], "stem": 9}), 422, "parameter_invalid")


def test_one_stem_comes_in_any_format(server: RunningServer, kept: dict) -> None:
    made = separated(server, kept, num_sources=3)
    exact = samples(stems(server, kept, made)["stem_1.wav"])
    address = f"/recordings/{kept['id']}/separations/{made['id']}/stems/1"
    for parameters, kind, near in (
        ({"format": "wav"}, "audio/wav", 0.0),
        ({"format": "flac", "subtype": "PCM_16"}, "audio/flac", 2e-5),
        ({"format": "ogg"}, "audio/ogg", 0.1),
    ):
        response = server.http.get(address, params=parameters)
        assert response.headers["content-type"] == kind
        assert np.abs(samples(response.content) - exact).max() <= near
    part = server.http.get(address, headers={"Range": "bytes=0-99"})
    assert (part.status_code, len(part.content)) == (206, 100)


def test_what_makes_no_sense_is_refused_in_words(server: RunningServer, kept: dict) -> None:
    address = f"/recordings/{kept['id']}/separations"
    unit = [1.0] + [0.0] * 19
    for wish, words in (
        ({}, "either num_sources or centroids"),
        ({"num_sources": 2, "centroids": [unit]}, "either num_sources or centroids"),
        ({"num_sources": 9}, "num_sources"),
        ({"centroids": [[1.0, 0.0]]}, "expected (sources, 20)"),
        ({"centroids": [unit, unit[:3]]}, "one length"),
        ({"centroids": [[0.0] * 20]}, "length 1"),
        ({"num_sources": 2, "groups": [0, 2]}, "without gaps"),
        ({"num_sources": 1, "selection": {"start_s": 2, "end_s": 1}}, "selection is empty"),
        ({"num_sources": 1, "selection": {"start_s": 1}, "background": "share"}, "background=stem"),
    ):
        assert words in problem_of(server.http.post(address, json=wish), 422, "parameter_invalid")["detail"]
    problem_of(server.http.post(address, content=b"{"), 422, "parameter_invalid")
    problem_of(server.http.post(address, content=b" " * 100_000), 413, "upload_too_large")
    problem_of(server.http.post("/recordings", files={"file": b"Dear Sir"}), 415, "format_unsupported")
    assert not list((server.directory / "data").glob("recordings/*/decoded.*"))


def held(server: RunningServer, resource: str) -> float:
    line = f'unmingle_held{{resource="{resource}"}} '
    return float(server.http.get("/metrics").text.partition(line)[2].split("\n")[0])


def test_a_lease_is_counted_expires_and_frees_what_it_held(start_small: StartServer) -> None:
    server = start_small(UNMINGLE_RECORDING_KEEP_S="10", UNMINGLE_MAX_RECORDINGS="1")
    kept = keep(server, noise(2))
    assert held(server, "kept_recordings") == 1
    before = held(server, "kept_bytes")
    separated(server, kept, num_sources=2)
    assert held(server, "kept_bytes") == pytest.approx(before + 3 * 4 * 2 * 16_000, rel=0.05)
    refused = server.http.post("/recordings", files={"file": noise(1)})
    problem_of(refused, 503, "server_full")
    assert int(refused.headers["retry-after"]) >= 1
    give_up = time.monotonic() + 30
    while held(server, "kept_recordings"):
        assert time.monotonic() < give_up, "it does not expire"
        time.sleep(0.1)
    assert held(server, "kept_bytes") == 0
    problem_of(server.http.get(f"/recordings/{kept['id']}"), 404, "recording_unknown")
    keep(server, noise(1))


def test_embeddings_that_expired_are_made_again(start_small: StartServer) -> None:
    server = start_small(UNMINGLE_RECORDING_HEARD_S="5")
    kept = keep(server, noise(2))
    first = stems(server, kept, separated(server, kept, num_sources=2))
    before = held(server, "kept_bytes")
    give_up = time.monotonic() + 30
    while held(server, "kept_bytes") == before:
        assert time.monotonic() < give_up, "they do not expire"
        time.sleep(0.1)
    again = stems(server, kept, separated(server, kept, num_sources=2))
    assert again["stem_1.wav"] == first["stem_1.wav"]


def test_it_belongs_to_its_key_and_disk_space_is_bounded(start_small: StartServer) -> None:
    keys = f"alice={hashed('a')},bob={hashed('b')}"
    server = start_small(UNMINGLE_API_KEYS=keys, UNMINGLE_MAX_RECORDING_BYTES="60000000", UNMINGLE_KEY_RECORDINGS="2")
    alice, bob = ({"Authorization": f"Bearer {key}"} for key in "ab")
    kept = keep(server, noise(1), headers=alice)
    address = f"/recordings/{kept['id']}"
    problem_of(server.http.get(address, headers=bob), 404, "recording_unknown")
    problem_of(server.http.delete(address, headers=bob), 404, "recording_unknown")
    problem_of(server.http.get(address), 401, "unauthorised")
    keep(server, noise(1), headers=alice)
    problem_of(server.http.post("/recordings", files={"file": noise(1)}, headers=alice), 429, "key_busy")
    problem_of(server.http.post("/recordings", files={"file": noise(300)}, headers=bob), 507, "disk_full")
    assert server.http.delete(address, headers=alice).status_code == 204
    assert held(server, "kept_recordings") == 1


def test_silence_and_a_single_sample_have_pictures_points_and_stems(server: RunningServer) -> None:
    for content in (np.zeros(16_000, np.float32), np.full(1, 0.5, np.float32)):
        kept = keep(server, encoded(content, 16_000))
        found = stems(server, kept, separated(server, kept, num_sources=3))
        assert sum(samples(found[f"stem_{n}.wav"]) for n in (1, 2, 3)) == pytest.approx(content, abs=1e-6)
        address = f"/recordings/{kept['id']}"
        assert pixels(server.http.get(f"{address}/masks", params={"num_sources": 3}).content).shape[1] == 1024
        assert server.http.get(f"{address}/points").status_code == 200
        assert server.http.get(f"{address}/peaks").status_code == 200
        server.http.delete(address)
