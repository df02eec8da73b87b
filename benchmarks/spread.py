"""One long recording by many workers: `python -m benchmarks.spread [--minutes 60] [--job-minutes 10] [--out FILE]`

Measured in this process, with one thread: the processor time of each step of a recording that is spread, beside a
separation in one go. Simulated from that: how much sooner the same recording is done by 2 to 16 workers. Measured with
real worker processes of one thread each: a job on one and on two of them, in turn.
"""

from __future__ import annotations

import argparse
import dataclasses
import heapq
import http.client
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import soundfile

from benchmarks.measuring import in_turn, machine, median_ratio, positive, report, write_recording
from benchmarks.serve import BOUNDARY, Server
from unmingle.model.embedding.embedder import OnnxEmbedder
from unmingle.model.separator import Separator
from unmingle.model.weights.bundled import bundled_model
from unmingle.service.decoding.recordings import DecodedRecording
from unmingle.service.output.part_files import lay_out
from unmingle.service.output.stems import separate
from unmingle.service.scheduling.work import Control, Task
from unmingle.service.schemas import ModelEntry, SeparateParameters
from unmingle.service.workers.parts import Cut, Inspect, JoinParts, ListenToPart, PlanStems, SeparatePart
from unmingle.service.workers.spreading import parts_of
from unmingle.service.workers.tasks import make_anew

T = TypeVar("T")

WORKERS = (1, 2, 4, 8, 16)
PARTS = 8
"""That the recording is cut into while the steps are measured."""
SEGMENT_S = 9.0
"""From one segment to the next."""
RATE = 16_000


@dataclasses.dataclass(frozen=True)
class Costs:
    """Processor seconds per second of audio, but for `plan` and `join`, which hardly depend on the length.

    Attributes:
        whole: a separation in one go.
        cut, inspect: once, of the whole recording.
        listen, separate: of every part; separating, of one segment more, too.
        plan, join: once.
    """

    whole: float
    cut: float
    inspect: float
    listen: float
    separate: float
    plan: float
    join: float

    def seconds(self, audio_s: float, workers: int) -> dict[str, float]:
        """How long each step of a recording takes so many workers, of which each has a core."""
        parts = parts_of(audio_s, workers)
        if parts == 1:
            return {"whole": self.whole * audio_s}
        each = audio_s / parts
        return {
            "cut": self.cut * audio_s,
            "listen": longest([*[self.listen * each] * parts, self.inspect * audio_s], workers),
            "plan": self.plan,
            "separate": longest([self.separate * (each + SEGMENT_S)] * parts, workers),
            "join": self.join,
        }


def longest(steps: Sequence[float], workers: int) -> float:
    """When the last of some steps is done, each begun by whoever is free first."""
    free = [0.0] * workers
    for step in steps:
        heapq.heapreplace(free, free[0] + step)
    return max(free)


class Steps:
    """Does what workers do, one after the other, and looks at the clock of the processor."""

    def __init__(self, recording: DecodedRecording, place: Path) -> None:
        embedder = OnnxEmbedder(bundled_model("cpu"), "cpu", threads=1)
        self._separator = Separator(embedder)
        self._model = ModelEntry(name=embedder.config.name, hash=embedder.model_hash)
        self._recording, self._place, self._parameters = recording, place, SeparateParameters()
        self._target = place / "stems"

    def whole(self) -> float:
        """Processor seconds of a separation in one go."""
        make_anew(self._target)
        _, seconds = timed(
            lambda: separate(
                self._separator, self._recording, self._target, self._model, self._parameters, overview=True
            )
        )
        return seconds

    def spread(self) -> tuple[dict[str, float], int]:
        """Processor seconds of each step, and the bytes that go between them."""
        between = self._place / "parts"
        cut, cut_s = self._timed(Cut(self._recording, between, PARTS, self._parameters, True))
        assert cut is not None and len(cut.parts) == PARTS
        warnings, inspect_s = self._timed(Inspect(self._recording))
        listen_s = sum(self._timed(ListenToPart(cut.around(part), part))[1] for part in cut.parts)
        planned, plan_s = self._timed(PlanStems(cut))
        recording, target = self._recording, self._target
        make_anew(target)
        lay_out(target, planned.sources, recording.channels, recording.samples, recording.sample_rate)
        separate_s = sum(self._timed(SeparatePart(cut.around(part), part, planned, target))[1] for part in cut.parts)
        left = sum(path.stat().st_size for path in between.iterdir())
        _, join_s = self._timed(JoinParts(cut, planned.plan, target, self._model, warnings, {}))
        seconds = {"cut": cut_s, "inspect": inspect_s, "listen": listen_s, "plan": plan_s}
        return {**seconds, "separate": separate_s, "join": join_s}, left

    def _timed(self, task: Task[T]) -> tuple[T, float]:
        return timed(lambda: task.run(self._separator, Control()))


def timed(call: Callable[[], T]) -> tuple[T, float]:
    """What a call gives, and the processor seconds of this process that it took."""
    start = time.process_time()
    return call(), time.process_time() - start


def decoded(place: Path, seconds: float, rate: int) -> DecodedRecording:
    """The two-speaker example over and over, as the server's decoder leaves it."""
    write_recording(place / "recording.wav", seconds, rate)
    samples, _ = soundfile.read(place / "recording.wav", dtype="float32")
    samples.tofile(place / "decoded")
    return DecodedRecording(place / "decoded", rate, 1, len(samples))


class JobServer(Server):
    """With worker processes of one thread each."""

    def __init__(self, folder: Path, processes: int) -> None:
        folder.mkdir()
        super().__init__(folder, None, {"worker_processes": processes, "threads": 1})
        while self.metrics()['unmingle_workers{state="ready"}'] < processes:
            time.sleep(0.05)

    def job(self, content: bytes) -> float:
        """Seconds from the upload of a job until it is done."""
        start = time.perf_counter()
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'.encode()
        body = head + content + f"\r\n--{BOUNDARY}--\r\n".encode()
        location = self._asked("POST", "/jobs", body)["id"]
        while (state := self._asked("GET", f"/jobs/{location}")["state"]) != "done":
            if state == "failed":
                raise SystemExit("The job has failed.")
            time.sleep(0.05)
        seconds = time.perf_counter() - start
        self._asked("DELETE", f"/jobs/{location}")
        return seconds

    def _asked(self, method: str, path: str, body: bytes | None = None) -> dict[str, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=3600)
        connection.request(method, path, body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if answer.status >= 400:
            raise SystemExit(f"The server answers {answer.status}: {content[:500]!r}")
        return json.loads(content) if content else {}


def in_processes(place: Path, seconds: float, rounds: int) -> list[dict[str, object]]:
    """The same job on one worker process and on two, in turn."""
    write_recording(place / "job.wav", seconds, RATE)
    content = (place / "job.wav").read_bytes()
    servers = {str(processes): JobServer(place / f"server{processes}", processes) for processes in (1, 2)}
    try:
        found = in_turn({name: lambda server=server: server.job(content) for name, server in servers.items()}, rounds)
    finally:
        for server in servers.values():
            server.stop()
    return [
        {
            "worker processes": name,
            "s": float(np.median(walls)),
            "times as fast as one": median_ratio(found["1"], walls),
        }
        for name, walls in found.items()
    ]


def row(costs: Costs, audio_s: float, workers: int) -> dict[str, object]:
    """How long so many workers take, and how much of it each step."""
    taken = costs.seconds(audio_s, workers)
    all_s = sum(taken.values())
    steps = {f"{step} s": seconds for step, seconds in taken.items()}
    return {"workers": workers, "s": all_s, "times as fast as one": costs.whole * audio_s / all_s, **steps}


def main() -> None:
    """Print tables and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=positive, default=60, help="of the recording whose steps are measured")
    parser.add_argument("--rate", type=positive, default=RATE, help="its sample rate in Hz")
    parser.add_argument("--simulate", type=positive, default=60, help="minutes of the recording that is simulated")
    parser.add_argument("--job-minutes", type=positive, default=10, help="of the job on real worker processes")
    parser.add_argument("--rounds", type=positive, default=3, help="of that job")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    asked = parser.parse_args()
    about, audio_s = machine(), 60.0 * asked.minutes
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        steps = Steps(decoded(place, audio_s, asked.rate), place)
        spread_s, left = steps.spread()
        whole_s = steps.whole()
        real = in_processes(place, 60.0 * asked.job_minutes, asked.rounds)
    costs = Costs(
        whole=whole_s / audio_s,
        plan=spread_s["plan"],
        join=spread_s["join"],
        separate=spread_s["separate"] / (audio_s + PARTS * SEGMENT_S),
        **{step: spread_s[step] / audio_s for step in ("cut", "inspect", "listen")},
    )
    every = {**spread_s, "all of them": sum(spread_s.values()), "in one go": whole_s}
    measured = [{"step": step, "CPU s": s, "ms per audio s": 1e3 * s / audio_s} for step, s in every.items()]
    simulated = [row(costs, 60.0 * asked.simulate, workers) for workers in WORKERS]
    about = {**about, "minutes": asked.minutes, "rate": asked.rate, "MiB_between_steps": left / 2**20}
    tables = {
        f"Measured, in {PARTS} parts": measured,
        f"Simulated, {asked.simulate} minutes": simulated,
        f"Measured, a job of {asked.job_minutes} minutes on worker processes of one thread": real,
    }
    report("Spread", about, tables, asked.out)


if __name__ == "__main__":
    main()
