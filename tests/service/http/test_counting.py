"""num_sources=auto: the sounds are counted, within the bounds that are given."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.service.cli.test_command import unmingle
from tests.service.harness import RunningServer, post, problem_of, unpack


def test_a_recording_of_one_voice_is_one_stem(server: RunningServer, two_speakers: Path) -> None:
    alone = two_speakers.parent / "source_1.flac"
    manifest, stems = unpack(post(server, alone.read_bytes(), num_sources="auto"))
    assert manifest["num_sources"] == len(stems) == 1
    assert manifest["count_chance"] > 0.5
    np.testing.assert_allclose(stems[0][0], soundfile.read(alone, dtype="float32")[0], atol=1e-5)


@pytest.mark.parametrize(("fewest", "most"), [(2, 2), (2, 3), (3, 8)])
def test_the_count_stays_within_its_bounds(server: RunningServer, two_speakers: Path, fewest: int, most: int) -> None:
    answer = post(server, two_speakers.read_bytes(), num_sources="auto", min_sources=fewest, max_sources=most)
    manifest, stems = unpack(answer)
    assert fewest <= manifest["num_sources"] == len(stems) <= most
    assert 0 < manifest["count_chance"] <= 1


def test_a_number_that_was_given_has_no_chance(server: RunningServer, two_speakers: Path) -> None:
    manifest, _ = unpack(post(server, two_speakers.read_bytes(), num_sources=2))
    assert manifest["count_chance"] is None


@pytest.mark.parametrize("parameters", [{"num_sources": "some"}, {"num_sources": "auto", "min_sources": 9}])
def test_what_is_no_number_is_refused(server: RunningServer, two_speakers: Path, parameters: dict[str, object]) -> None:
    problem_of(post(server, two_speakers.read_bytes(), **parameters), 422, "parameter_invalid")


def test_bounds_the_wrong_way_round_are_refused(server: RunningServer, two_speakers: Path) -> None:
    answer = post(server, two_speakers.read_bytes(), num_sources="auto", min_sources=3, max_sources=2)
    assert answer.status_code == 422
    assert "min_sources is 3 and max_sources is 2" in answer.json()["detail"]


def test_a_job_that_the_model_cannot_do_is_not_accepted(small_server: RunningServer, two_speakers: Path) -> None:
    most = 2  # more than a model that was not taught to count can count
    for address in ("/jobs", "/separate"):
        answer = small_server.http.post(
            address,
            params={"num_sources": "auto", "min_sources": most},
            files={"file": two_speakers.read_bytes()},
            timeout=60,
        )
        assert f"min_sources={most}" in problem_of(answer, 422, "parameter_invalid")["detail"]


def test_the_command_counts_too(tmp_path: Path, two_speakers: Path) -> None:
    done = unmingle("separate", two_speakers, "-o", "out", "-n", "auto", "--max-sources", 3, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "out" / "mixture" / "manifest.json").read_text())
    assert 1 <= manifest["num_sources"] == len(manifest["stems"]) <= 3
    assert unmingle("separate", two_speakers, "-o", "out", "-n", "9", cwd=tmp_path).returncode == 2
