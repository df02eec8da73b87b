"""The process that forks decoders: they work side by side, end when they have to, and nothing of them stays."""

from __future__ import annotations

import asyncio
import ctypes
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.service.harness import ROOT, children_of, decoders_of, noise, read
from tests.service.hostile import SEEDS
from unmingle.service.decoding.decoder import DecodeLimits, Decoder
from unmingle.service.decoding.processes import DecodeProcesses, ForkServerLostError
from unmingle.service.problems import Problem

LIMITS = DecodeLimits(max_seconds=3600, max_bytes=500_000_000, memory_bytes=2**30, timeout_s=60)
GIVE_UP_S = 60.0


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A pipe from which nobody reads: who decodes more into it than it holds stands still."""
    path = tmp_path / "full"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDWR)
    path.with_suffix(".wav").write_bytes(noise(10))
    yield path
    os.close(reader)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "recording"
    path.write_bytes(noise(2))
    return path


@pytest.fixture
def process_1() -> Iterator[None]:
    """Orphans become children of this process, as in a container they do of the server."""
    if sys.platform != "linux":
        pytest.skip("containers run on Linux")
    prctl, pr_set_child_subreaper = ctypes.CDLL(None).prctl, 36
    prctl(pr_set_child_subreaper, 1, 0, 0, 0)
    yield
    prctl(pr_set_child_subreaper, 0, 0, 0, 0)


async def until(what: Callable[[], Any]) -> Any:
    give_up = time.monotonic() + GIVE_UP_S
    while not (found := what()):
        assert time.monotonic() < give_up
        await asyncio.sleep(0.01)
    return found


def fork_servers() -> list[int]:
    return [process for process in children_of(os.getpid()) if b"fork_server" in read(process, "cmdline")]


def decoders() -> list[int]:
    return decoders_of(os.getpid())


def open_files(process: int) -> int:
    return len(os.listdir(f"/proc/{process}/fd"))


async def stand_still(processes: DecodeProcesses, full: Path) -> tuple[bytes, int]:
    async with processes.decoding(full.with_suffix(".wav"), full, LIMITS) as process:
        return await process.report()


def test_one_that_stands_still_does_not_hold_up_another(tmp_path: Path, full: Path, recording: Path) -> None:
    async def run() -> None:
        decoder = Decoder(2)
        still = asyncio.create_task(stand_still(decoder._processes, full))
        [standing] = await until(decoders)
        decoded = await decoder.decode(recording, tmp_path / "decoded", LIMITS)
        assert decoded.samples == 32_000
        assert decoders() == [standing]
        still.cancel()
        with pytest.raises(asyncio.CancelledError):
            await still
        assert not read(standing, "cmdline")
        assert not fork_servers()

    asyncio.run(run())


def test_a_fork_server_that_is_killed_is_replaced(tmp_path: Path, full: Path, recording: Path) -> None:
    async def run() -> None:
        decoder = Decoder(3)
        decoder.start()
        [waiting] = await until(fork_servers)
        os.kill(waiting, signal.SIGKILL)
        await decoder.decode(recording, tmp_path / "decoded", LIMITS)
        [second] = fork_servers()
        still = asyncio.create_task(stand_still(decoder._processes, full))
        [standing] = await until(decoders)
        os.kill(second, signal.SIGKILL)
        with pytest.raises(ForkServerLostError):
            await still
        await until(lambda: not read(standing, "cmdline"))
        await decoder.decode(recording, tmp_path / "decoded", LIMITS)
        assert len(fork_servers()) == 1
        await decoder.stop()
        assert not fork_servers()

    asyncio.run(run())


@pytest.mark.usefixtures("process_1")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_process_1_keeps_no_zombies(tmp_path: Path, full: Path, monkeypatch: pytest.MonkeyPatch, how: int) -> None:
    monkeypatch.setattr("unmingle.service.decoding.processes._PATIENCE_S", 0.1)

    async def run() -> None:
        processes = DecodeProcesses()
        before = children_of(os.getpid())
        still = [asyncio.create_task(stand_still(processes, full)) for _ in range(2)]
        standing = await until(lambda: found if len(found := decoders()) == 2 else None)
        os.kill(fork_servers()[0], how)
        if how == signal.SIGSTOP:
            for task in still:
                task.cancel()
        await asyncio.wait(still)
        assert all(task.cancelled() or isinstance(task.exception(), ForkServerLostError) for task in still)
        assert children_of(os.getpid()) == before
        assert not [process for process in standing if Path(f"/proc/{process}").exists()]

    asyncio.run(run())


def test_a_decoder_that_is_killed_while_it_stands_by_is_replaced(tmp_path: Path, recording: Path) -> None:
    async def run() -> None:
        decoder = Decoder(1)
        decoder.start()
        [fork_server] = await until(fork_servers)
        [standby] = await until(lambda: children_of(fork_server))
        os.kill(standby, signal.SIGKILL)
        await until(lambda: read(standby, "stat").split()[2:3] == [b"Z"])
        decoded = await decoder.decode(recording, tmp_path / "decoded", LIMITS)
        assert decoded.samples == 32_000
        assert fork_servers() == [fork_server]
        [successor] = await until(lambda: children_of(fork_server))
        assert successor != standby
        await decoder.stop()

    asyncio.run(run())


def test_uploads_survive_the_end_of_their_fork_server(tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(noise(600))

    async def run() -> None:
        decoder = Decoder(2)
        decoder.start()
        both = [asyncio.create_task(decoder.decode(tmp_path / "long", tmp_path / name, LIMITS)) for name in "ab"]
        await until(decoders)
        os.kill(fork_servers()[0], signal.SIGKILL)
        for decoded in await asyncio.gather(*both):
            assert sum(block.shape[1] for block in decoded.blocks()) == decoded.samples == 600 * 16_000
        await decoder.stop()

    asyncio.run(run())


def test_after_a_crash_memory_is_laid_out_afresh(tmp_path: Path, full: Path, recording: Path) -> None:
    async def run() -> None:
        decoder = Decoder(2)
        decoder.start()
        still = asyncio.create_task(stand_still(decoder._processes, full))
        [standing] = await until(decoders)
        [first] = fork_servers()
        os.kill(standing, signal.SIGSEGV)
        assert await still == (b"", -signal.SIGSEGV)
        await decoder.decode(recording, tmp_path / "decoded", LIMITS)
        assert first not in fork_servers()
        await decoder.stop()
        assert not fork_servers()

    asyncio.run(run())


def test_a_fork_server_that_hangs_is_replaced(tmp_path: Path, recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unmingle.service.decoding.processes._PATIENCE_S", 0.1)

    async def run() -> None:
        decoder = Decoder(2)
        decoder.start()
        [hanging] = await until(fork_servers)
        os.kill(hanging, signal.SIGSTOP)
        with pytest.raises(Problem) as caught:
            await decoder.decode(recording, tmp_path / "decoded", dataclasses.replace(LIMITS, timeout_s=0.1))
        assert caught.value.code == "decoding_too_costly"
        decoded = await decoder.decode(recording, tmp_path / "decoded", LIMITS)
        assert decoded.samples == 32_000
        assert hanging not in fork_servers()
        await decoder.stop()

    asyncio.run(run())


def test_nothing_is_left_of_fifty_uploads(tmp_path: Path, full: Path, recording: Path) -> None:
    (tmp_path / "damaged").write_bytes(SEEDS["flac"][:200])

    async def upload(decoder: Decoder, number: int) -> None:
        samples = tmp_path / f"decoded {number}"
        match number % 4:
            case 0 | 1:
                await decoder.decode(recording, samples, LIMITS)
            case 2:
                with pytest.raises(Problem):
                    await decoder.decode(tmp_path / "damaged", samples, LIMITS)
            case 3:
                still = asyncio.create_task(stand_still(decoder._processes, full))
                await asyncio.sleep(0)
                still.cancel()
                await asyncio.wait({still})

    async def run() -> None:
        decoder = Decoder(4)
        decoder.start()
        await upload(decoder, 0)
        [fork_server] = fork_servers()
        before = open_files(os.getpid()), open_files(fork_server)
        await asyncio.gather(*(upload(decoder, number) for number in range(50)))
        await until(lambda: not decoders())  # a zombie would stay
        assert fork_servers() == [fork_server]
        assert (open_files(os.getpid()), open_files(fork_server)) == before
        await decoder.stop()

    asyncio.run(run())
    assert not fork_servers()


def test_it_has_one_thread_and_no_secrets(tmp_path: Path, recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNMINGLE_API_KEYS", "secret")

    async def run() -> None:
        decoder = Decoder(1)
        decoder.start()
        await decoder.decode(recording, tmp_path / "decoded", LIMITS)
        [fork_server] = fork_servers()
        assert len(os.listdir(f"/proc/{fork_server}/task")) == 1
        assert b"UNMINGLE" not in read(fork_server, "environ")
        await decoder.stop()

    asyncio.run(run())


def test_all_of_them_end_with_the_server(full: Path) -> None:
    program = (
        "import asyncio, sys; from pathlib import Path\n"
        "from tests.service.decoding.test_fork_server import *\n"
        "asyncio.run(stand_still(DecodeProcesses(), Path(sys.argv[1])))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", program, str(full)], env=environment) as server:

        def descendants() -> list[int]:
            forks = children_of(server.pid)
            return forks + [child for fork in forks for child in children_of(fork)] if decoders_of(server.pid) else []

        found = asyncio.run(until(descendants))
        server.kill()
    asyncio.run(until(lambda: not any(read(process, "cmdline") for process in found)))


def test_samples_are_those_of_the_file(tmp_path: Path, recording: Path) -> None:
    decoded = asyncio.run(Decoder(1).decode(recording, tmp_path / "decoded", LIMITS))
    wanted = np.frombuffer(recording.read_bytes()[44:], "<i2") / np.float32(2**15)
    np.testing.assert_array_equal(np.concatenate(list(decoded.blocks()), axis=1)[0], wanted)
