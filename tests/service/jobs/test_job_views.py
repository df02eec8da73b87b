"""What can be seen of a finished job: its map, its picture, and the background as a stem of its own."""

from __future__ import annotations

import base64
import io
import zipfile

import numpy as np
import pytest
import soundfile

from tests.conftest import EXAMPLES
from tests.service.harness import RunningServer, encoded, noise, problem_of
from tests.service.jobs.test_jobs import submit, wait
from tests.service.recordings.test_recordings import pixels

MIXTURE = (EXAMPLES / "three_speakers" / "mixture.flac").read_bytes()


@pytest.fixture(scope="module")
def job(server: RunningServer) -> str:
    location = submit(server, MIXTURE, num_sources=3, background="stem").headers["location"]
    wait(server, location, "done")
    return location


def test_a_map_of_its_sounds(server: RunningServer, job: str) -> None:
    body = server.http.get(f"{job}/points").json()
    assert 1000 < body["count"] <= 8192
    assert sorted(body["sources"]) == [0, 1, 2]
    frames = np.frombuffer(base64.b64decode(body["frames"]), "<u4")
    bands = np.frombuffer(base64.b64decode(body["bands"]), "<u2")
    embeddings = np.frombuffer(base64.b64decode(body["embeddings"]), np.int8).reshape(-1, body["dim"]) / 127
    assert len(frames) == len(bands) == len(embeddings) == body["count"]
    assert 4.0 < frames.max() * body["frame_s"] <= 5.1
    assert bands.max() < len(body["band_hz"])
    near = embeddings @ np.array(body["centroids"]).T
    assert near.max(1).mean() > 0.5
    assert set(near.argmax(1)) == {0, 1, 2}


def test_a_picture_of_who_is_heard_where(server: RunningServer, job: str) -> None:
    response = server.http.get(f"{job}/masks", params={"width": 400})
    assert response.headers["content-type"] == "image/png"
    whole = pixels(response.content)
    assert whole.shape[1] == 400
    loud = whole[..., 2] > 128
    assert set(np.unique(whole[..., 0][loud])) == {0, 1, 2}
    assert whole[..., 1][loud].mean() > 100
    part = pixels(server.http.get(f"{job}/masks", params={"width": 40, "start_s": 1, "end_s": 1.5}).content)
    assert np.abs(part[..., 2].mean() - whole[:, 80:120, 2].mean()) < 12


def test_the_background_comes_after_the_stems(server: RunningServer, job: str) -> None:
    archive = zipfile.ZipFile(io.BytesIO(server.http.get(f"{job}/result").content))
    alone = server.http.get(f"{job}/result", params={"stem": 4})
    assert alone.content == archive.read("background.wav")
    assert server.http.get(f"{job}/peaks", params={"stem": 4}).json()["scale"] > 0
    parts = [
        soundfile.read(io.BytesIO(server.http.get(f"{job}/result", params={"stem": stem}).content))[0]
        for stem in (1, 2, 3, 4)
    ]
    assert np.abs(sum(parts) - soundfile.read(io.BytesIO(MIXTURE))[0]).max() < 1e-5
    problem_of(server.http.get(f"{job}/result", params={"stem": 5}), 422, "parameter_invalid")


def test_peaks_are_the_outline_of_a_stem_or_of_all_together(server: RunningServer, job: str) -> None:
    whole = soundfile.read(io.BytesIO(MIXTURE), dtype="float32")[0]
    stem = soundfile.read(io.BytesIO(server.http.get(f"{job}/result", params={"stem": 2}).content))[0]
    for parameters, samples in (({"stem": 0}, whole), ({"stem": 2}, stem), ({"stem": 2, "start_s": 1}, stem[16_000:])):
        body = server.http.get(f"{job}/peaks", params={**parameters, "parts": 100}).json()
        parts = samples.reshape(100, -1)
        assert np.array(body["high"]) * body["scale"] / 127 == pytest.approx(parts.max(1), abs=body["scale"] / 100)
        assert np.array(body["low"]) * body["scale"] / 127 == pytest.approx(parts.min(1), abs=body["scale"] / 100)


def test_there_is_no_map_before_the_end_nor_of_channels_one_by_one(server: RunningServer) -> None:
    running = submit(server, noise(60)).headers["location"]
    problem_of(server.http.get(f"{running}/points"), 409, "job_not_done")
    server.http.delete(running)
    problem_of(server.http.get(f"{running}/masks"), 404, "job_unknown")
    stereo = soundfile.read(io.BytesIO(noise(2)), dtype="float32")[0].reshape(-1, 2)
    apart = submit(server, encoded(stereo, 16_000), channels="separate", num_sources=1).headers["location"]
    wait(server, apart, "done")
    for view in ("points", "masks"):
        assert "no map" in problem_of(server.http.get(f"{apart}/{view}"), 404, "not_found")["detail"]
