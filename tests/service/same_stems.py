"""Files of every format through the command, the server and the library: the same stems come of all three.

The tests try one file of each format. As a command it tries more, of different speech, and prints how near the stems
come to those of the recording before it was encoded:

    PYTHONPATH=. .venv/bin/python tests/service/same_stems.py --files 100
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr

from tests.service import formats
from tests.service.harness import ROOT, RunningServer, post, unpack
from unmingle.model.metrics import si_sdr_db
from unmingle.model.options import SeparationOptions
from unmingle.model.reading.audio import read_audio
from unmingle.model.separator import Separator
from unmingle.model.weights.bundled import bundled_model

NUM_SOURCES = 2
SAME = 1e-6
"""Largest difference between samples of the same stem; they are the same to the last bit on most machines."""
_SPEECH_RATE = 16_000
_EXAMPLES = ("two_speakers", "three_speakers", "same_gender")


@dataclasses.dataclass(frozen=True)
class Case:
    """A file.

    Attributes:
        name: unlike all others.
        format: its name in tests/service/formats.py.
        written: (channels, samples), what went into it, at the format's rate.
    """

    name: str
    format: str
    written: np.ndarray

    @property
    def kind(self) -> formats.Kind:
        return formats.KINDS[self.format]

    @property
    def content(self) -> bytes:
        return formats.encoded(np.ascontiguousarray(self.written.T), self.kind)


def cases(files: int, seconds: float) -> list[Case]:
    """So many files: all formats in turn, each time with other speech."""
    speech = [soundfile.read(ROOT / "examples" / name / "mixture.flac", dtype="float32")[0] for name in _EXAMPLES]
    found, length = [], int(seconds * _SPEECH_RATE)
    for number in range(files):
        name = list(formats.KINDS)[number % len(formats.KINDS)]
        turn, kind = number // len(formats.KINDS), formats.KINDS[name]
        of = speech[turn % len(speech)]
        start = 8_000 * (turn // len(speech)) % max(1, len(of) - length)
        mono = soxr.resample(of[start : start + length], _SPEECH_RATE, kind.rate)
        written = np.stack([mono * np.float32(1 - 0.1 * channel) for channel in range(kind.channels)])
        found.append(Case(f"{number:03} {name}", name, written))
    return found


def by_command(chosen: Sequence[Case], model: Path, place: Path) -> dict[str, np.ndarray]:
    """(stems, channels, samples) of each, all written by one call of the command."""
    (place / "in").mkdir()
    for case in chosen:
        (place / "in" / case.name).write_bytes(case.content)
    options = (
        "-n",
        str(NUM_SOURCES),
        "--background",
        "share",
        "--pattern",
        "*",
        "--json",
        "-o",
        "out",
        "--model",
        str(model),
    )
    done = subprocess.run(
        [sys.executable, "-m", "unmingle", "separate", "in", *options],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(line["file"]).name for line in told] == sorted(case.name for case in chosen)
    found = {}
    for line in told:
        stems = [soundfile.read(place / stem, dtype="float32", always_2d=True)[0].T for stem in line["stems"]]
        found[Path(line["file"]).name] = np.stack(stems)
    return found


def by_server(case: Case, server: RunningServer) -> np.ndarray:
    """The same, of one upload."""
    _, stems = unpack(post(server, case.content, num_sources=NUM_SOURCES))
    return np.stack(stems)


def by_library(mixture: object, separator: Separator, sample_rate: int | None = None) -> np.ndarray:
    """The same, in this process, of a path or of samples."""
    options = SeparationOptions(num_sources=NUM_SOURCES, background="share")
    stems = separator.separate(mixture, sample_rate, options=options).stems
    return stems if stems.ndim == 3 else stems[:, None]


def check(case: Case, place: Path, ways: Mapping[str, np.ndarray]) -> None:
    """Look whether all ways give the same stems, and whether these add up to what the file holds."""
    path = place / "in" / case.name
    first, *others = ways.values()
    for stems in others:
        np.testing.assert_allclose(stems, first, rtol=0, atol=SAME, err_msg=f"{case.name}: {', '.join(ways)}")
    np.testing.assert_allclose(first.sum(0), read_audio(path)[0].T, rtol=0, atol=1e-5, err_msg=case.name)


def nearness_db(case: Case, stems: np.ndarray, separator: Separator) -> float:
    """Mean SI-SDR of the stems against those of what was encoded; in any order, and without the codec's delay."""
    wanted, given = by_library(case.written, separator, case.kind.rate)[:, 0], stems[:, 0]
    delay = _delay(given.sum(0), wanted.sum(0))
    wanted, given = wanted[:, max(0, -delay) :], given[:, max(0, delay) :]
    length = min(wanted.shape[1], given.shape[1])
    wanted, given = wanted[:, :length], given[:, :length]
    return max(float(si_sdr_db(order, wanted).mean()) for order in (given, given[::-1]))


def _delay(later: np.ndarray, sooner: np.ndarray) -> int:
    size = 1 << (len(later) + len(sooner)).bit_length()
    match = np.fft.irfft(np.fft.rfft(later, size) * np.conj(np.fft.rfft(sooner, size)), size)
    place = int(match.argmax())
    return place if place < size // 2 else place - size


def main() -> int:
    """Try and report; 1 where stems differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each (default 3)")
    asked = parser.parse_args()
    separator = Separator.load(device="cpu")
    chosen, near, wrong = cases(asked.files, asked.seconds), collections.defaultdict(list), 0
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        written = by_command(chosen, bundled_model(), place)
        server = RunningServer(place, {})
        try:
            for case in chosen:
                library = by_library(place / "in" / case.name, separator)
                ways = {"command": written[case.name], "server": by_server(case, server), "library": library}
                try:
                    check(case, place, ways)
                except AssertionError as error:
                    wrong += 1
                    print(error)
                near[case.format].append(nearness_db(case, library, separator))
        finally:
            server.kill()
    for name, values in near.items():
        print(f"{name:<16}{len(values):3} files, stems at {np.mean(values):6.1f} dB of those of the original")
    print(f"{len(chosen)} files of {len(near)} formats, {wrong} with other stems by another way")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
