"""Files that were made to hurt: each is decoded, or refused with a 4xx, within the limits on time and memory."""

from __future__ import annotations

import concurrent.futures
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.service.fuzzing import REFUSALS, DecoderProcess, fault_of, mutated
from tests.service.harness import ROOT, StartServer, post, problem_of, unpack
from tests.service.hostile import SEEDS, hostile

pytestmark = pytest.mark.slow

_MAX_GROWTH = 100 * 2**20


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return hostile()


@pytest.fixture(scope="module")
def decoder() -> Iterator[DecoderProcess]:
    process = DecoderProcess()
    yield process
    process.close()


def test_the_decoder_takes_all_of_them(decoder: DecoderProcess, files: dict[str, bytes]) -> None:
    found = {name: decoder.try_upload(content) for name, content in files.items()}
    assert {name: fault for name, outcome in found.items() if (fault := fault_of(outcome))} == {}
    for name in ("WAV IMA_ADPCM", "rifx", "AIFF PCM_16", "CAF ALAC_16", "flac behind id3", "opus then vorbis"):
        assert found[name]["outcome"] == "decoded", name
    for name in ("zip", "html and mp3", "a playlist", "a list of files"):
        assert found[name]["outcome"] == "format_unsupported", name
    for name in ("nan at 0", "infinity at 8000", "DOUBLE times 1e+300", "FLOAT times 1e+19", "largest floats"):
        assert found[name]["outcome"] == "audio_unusable", name
    for name in ("opus of ten minutes", "vorbis of ten minutes"):
        assert found[name]["outcome"] == "recording_too_long", name
    assert found["flac of 180 MB"]["outcome"] == "recording_too_large"
    assert found["wav of 1024 channels"]["outcome"] == "too_many_channels"


def test_the_server_takes_all_of_them(start_server: StartServer, files: dict[str, bytes]) -> None:
    server = start_server(UNMINGLE_MAX_SECONDS="60", UNMINGLE_MAX_DECODED_BYTES="50000000")
    sent = {name: content for name, content in files.items() if " cut at " not in name and not name.endswith(" bytes")}

    def fault(content: bytes) -> str:
        """What is wrong with the answer; empty where it is stems without a NaN, or a problem that says what to do."""
        answer = post(server, content)
        if answer.status_code == 200:
            manifest, stems = unpack(answer)
            whole = all(stem.shape == (manifest["channels"], manifest["samples"]) for stem in stems)
            finite = all(np.isfinite(n) for n in numbers(manifest)) and all(np.isfinite(stem).all() for stem in stems)
            return "" if whole and finite else f"stems of {manifest}"
        if not 400 <= answer.status_code < 500:
            return answer.text
        problem = problem_of(answer, answer.status_code, answer.json()["code"])
        return "" if problem["code"] in REFUSALS else str(problem)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        faults = dict(zip(sent, pool.map(fault, sent.values()), strict=True))
        assert {name: found for name, found in faults.items() if found} == {}
        # Some are a minute long. What several of them take at the same time is kept, and must be enough from then on.
        assert not any(pool.map(fault, sent.values()))
        before = server.resident_bytes()
        assert not any(pool.map(fault, sent.values()))
    # What is free goes back to the system as soon as the server has nothing to do; what leaks never does.
    server.wait_for(lambda _: server.resident_bytes() - before < _MAX_GROWTH)
    assert server.http.get("/readyz").status_code == 200
    server.wait_for(lambda _: not server.spooled())
    assert "Traceback" not in server.log.read_text()


def numbers(value: object) -> Iterator[float]:
    """All numbers in what JSON gives; a null where a number belongs is none."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from numbers(item)
    elif isinstance(value, int | float):
        yield value


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32))
def test_what_chance_does_to_files(decoder: DecoderProcess, seed: int) -> None:
    assert fault_of(decoder.try_upload(mutated(random.Random(seed)))) is None


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(list(SEEDS)),
    st.lists(st.tuples(st.integers(0, 300), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6),
    st.none() | st.integers(0, 40_000),
)
def test_what_hypothesis_does_to_files(
    decoder: DecoderProcess, name: str, changes: list[tuple[int, bytes]], length: int | None
) -> None:
    content = bytearray(SEEDS[name][:length])
    for at, value in changes:
        content[at : at + len(value)] = value
    assert fault_of(decoder.try_upload(bytes(content))) is None


def test_atheris_finds_nothing_in_the_header_check(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="atheris has wheels for Linux on x86-64 only")
    # libFuzzer's limit on memory counts the peak of the process that starts it, which here is that of all tests so far.
    options = ("-rss_limit_mb=0", "-malloc_limit_mb=1024", f"-artifact_prefix={tmp_path}/")
    command = [sys.executable, "tests/service/fuzz_guided.py", "-runs=5000", "-seed=1", *options]
    done = subprocess.run(
        command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "Done 5000 runs" in done.stderr
