"""Process 1 of the container is the server, with nobody above it who would clear away what decoders leave behind."""

from __future__ import annotations

import io
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.docker.stack import Stack, docker

_PROCESSES = """
import os, signal, sys, time
def processes():
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            state, parent = open(f"/proc/{name}/stat").read().rpartition(")")[2].split()[:2]
            command = open(f"/proc/{name}/cmdline").read().replace("\\0", " ")
        except OSError:
            continue
        if int(name) != os.getpid():
            yield int(name), int(parent), state, command
"""

_LIST = _PROCESSES + 'print(*(f"{state} {command}" for _, _, state, command in processes()), sep="\\n")'

# Says that it is ready; then kills the first decoder with an upload that it meets, or the process that forked it.
_KILL = (
    _PROCESSES
    + """
def has_upload(process):
    try:
        return any(os.readlink(f"/proc/{process}/fd/{n}").endswith("upload") for n in os.listdir(f"/proc/{process}/fd"))
    except OSError:
        return False
print("ready", flush=True)
give_up = time.monotonic() + 60
while time.monotonic() < give_up:
    found = list(processes())
    fork_servers = {process for process, parent, _, command in found if parent == 1 and "fork_server" in command}
    for process, parent, state, _ in found:
        if parent in fork_servers and state != "Z" and has_upload(process):
            os.kill(process if sys.argv[1] == "decoder" else parent, signal.SIGSEGV)
            sys.exit()
sys.exit("There was no decoder.")
"""
)


@pytest.fixture(scope="module")
def long_to_decode() -> bytes:
    """11 minutes of silence in 8 channels: longer than is taken, which is seen only after 10 of them are decoded."""
    upload = io.BytesIO()
    soundfile.write(upload, np.zeros((660 * 32_000, 8), np.int16), 32_000, format="FLAC")
    return upload.getvalue()


def _upload_while_one_is_killed(stack: Stack, upload: bytes, victim: str) -> int:
    command = ["docker", "exec", stack.container, "python", "-c", _KILL, victim]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as killer:
        assert killer.stdout
        assert killer.stdout.readline() == "ready\n"
        answer = stack.http.post("/separate", files={"file": ("x.flac", upload)})
        assert killer.wait(90) == 0, killer.stderr and killer.stderr.read()
    return answer.status_code


def test_decoders_that_are_killed_leave_no_zombies(stack: Stack, mixture: Path, long_to_decode: bytes) -> None:
    for recording in (mixture.read_bytes(), mixture.read_bytes()[:3000], b"fLaC" + b"\xff" * 3000):
        stack.http.post("/separate", files={"file": ("x.flac", recording)})
    assert _upload_while_one_is_killed(stack, long_to_decode, "decoder") == 422
    assert _upload_while_one_is_killed(stack, long_to_decode, "fork server") == 413  # decoded by its successor
    assert stack.http.post("/separate", files={"file": ("x.flac", mixture.read_bytes())}).status_code == 200
    give_up = time.monotonic() + 60
    kinds = ("fork_server", "fork_server", "unmingle serve", "unmingle.service.workers")  # one decoder stands by
    while len(left := stack.python(_LIST).splitlines()) > len(kinds):  # a health check, for a moment
        assert time.monotonic() < give_up, left
        time.sleep(0.2)
    assert sorted(kind for line in left for kind in set(kinds) if kind in line) == sorted(kinds)
    threads = int(docker("stats", "--no-stream", "--format", "{{.PIDs}}", stack.container))
    print(f"Processes and threads: {threads} of {stack.inspect()['HostConfig']['PidsLimit']}.")
    assert threads < stack.inspect()["HostConfig"]["PidsLimit"] / 2
