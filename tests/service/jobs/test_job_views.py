"""What can be seen and heard of a finished job: its map, its picture, single stems, the background as one of them."""

from __future__ import annotations

import base64
import io
import re
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import EXAMPLES
from tests.service.harness import RunningServer, StartServer, encoded, noise, problem_of
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


def decoded(content: bytes) -> np.ndarray:
    return soundfile.read(io.BytesIO(content), dtype="float32")[0]


def test_one_stem_comes_in_any_format_and_in_parts(server: RunningServer, job: str) -> None:
    exact = server.http.get(f"{job}/result", params={"stem": 2}).content
    for parameters, kind, name, near in (
        ({"format": "wav"}, "audio/wav", "stem_2.wav", 0.0),
        ({"subtype": "PCM_16"}, "audio/flac", "stem_2.flac", 2e-5),
        ({"format": "ogg"}, "audio/ogg", "stem_2.ogg", 0.1),
        ({"format": "mp3"}, "audio/mpeg", "stem_2.mp3", 0.2),
    ):
        response = server.http.get(f"{job}/stems/2", params=parameters)
        assert (response.status_code, response.headers["content-type"]) == (200, kind)
        assert response.headers["content-disposition"] == f'attachment; filename="{name}"'
        samples = decoded(response.content)
        assert len(samples) == 80_000
        assert np.abs(samples - decoded(exact)).max() <= near
    whole = server.http.get(f"{job}/stems/2", params={"subtype": "PCM_16"})
    assert len(whole.content) < len(exact) / 3
    etag = whole.headers["etag"]
    part = server.http.get(
        f"{job}/stems/2", params={"subtype": "PCM_16"}, headers={"Range": "bytes=5000-5999", "If-Range": etag}
    )
    assert (part.status_code, part.content) == (206, whole.content[5000:6000])
    again = server.http.get(f"{job}/stems/2", params={"subtype": "PCM_16"}, headers={"If-None-Match": etag})
    assert again.status_code == 304  # it was encoded once
    background = server.http.get(f"{job}/stems/4")
    assert background.headers["content-disposition"] == 'attachment; filename="background.flac"'
    problem_of(server.http.get(f"{job}/stems/5"), 422, "parameter_invalid")
    problem_of(server.http.get(f"{job}/stems/0"), 422, "parameter_invalid")
    problem_of(
        server.http.get(f"{job}/stems/1", params={"format": "mp3", "subtype": "PCM_16"}), 422, "parameter_invalid"
    )
    problem_of(server.http.get("/jobs/unknown/stems/1"), 404, "job_unknown")


def test_encoded_stems_are_bounded_counted_and_go_with_the_job(start_small: StartServer) -> None:
    """Ten seconds take 640 kB a stem as they are and 480 kB with 24 bits; the map of a job takes 1.1 MB."""
    server = start_small(UNMINGLE_MAX_DISK_BYTES="3700000")

    def held_is_on_disk(location: str) -> list[Path]:
        """Wait until what the ledger holds is what the job has on disk; its folder's entries."""
        folder = server.directory / "data" / "jobs" / location.removeprefix("/jobs/")
        give_up = time.monotonic() + 60
        while True:
            entries = list(folder.rglob("*"))
            sizes = sum(path.stat().st_size for path in entries if path.is_file())
            line = re.search(
                r'^unmingle_held\{.*resource="job_bytes".*\} (\S+)$', server.http.get("/metrics").text, re.MULTILINE
            )
            if float(line[1]) == sizes:
                return entries
            assert time.monotonic() < give_up, (line[1], sizes)
            time.sleep(0.05)

    location = submit(server, noise(10), num_sources=2).headers["location"]
    wait(server, location, "done")
    held_is_on_disk(location)
    for stem in (1, 2):
        assert server.http.get(f"{location}/stems/{stem}?format=wav&subtype=PCM_24").status_code == 200
    problem_of(server.http.get(f"{location}/stems/1"), 507, "disk_full")
    assert server.http.get(f"{location}/stems/2?format=wav&subtype=PCM_24").status_code == 200  # it is there already
    assert server.http.get(f"{location}/stems/1?format=wav").status_code == 200  # as it is, it takes no room
    assert server.http.delete(location).status_code == 204
    other = submit(server, noise(5), num_sources=2).headers["location"]
    wait(server, other, "done")
    for stem in (1, 2):
        for format, subtypes in {"wav": ("PCM_16", "PCM_24"), "flac": ("PCM_16", "PCM_24"), "ogg": ("VORBIS",)}.items():
            for subtype in subtypes:
                answer = server.http.get(f"{other}/stems/{stem}", params={"format": format, "subtype": subtype})
                assert len(decoded(answer.content)) == 80_000
    assert len([path for path in held_is_on_disk(other) if path.name.startswith("package-")]) == 10


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
