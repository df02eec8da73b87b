"""Several microphones beside the best one of them, beside places without a network, and beside true masks.

Simulated rooms and panned stereo: SI-SDR improvement over the recording, words that a recogniser understands, and what
the channels cost. With --results, what was measured is kept and not measured again, so that a run can be cut into
pieces; the tables show everything in the file. Words need the `benchmarks` extra, and are left out without it.

    python -m benchmarks.arrays --corpus DIR [--split valid] [--field DIR] [--only panned] [--results FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.array_measures import METHODS, Figures, cost, figures, in_channels
from benchmarks.array_rooms import Setting, scene, voices
from benchmarks.measuring import Row, positive, report
from unmingle import Separator
from unmingle.model.embedding.embedder import OnnxEmbedder
from unmingle.model.threads import usable_cores
from unmingle.training.evaluation.errors import EvaluationError
from unmingle.training.evaluation.recogniser import Recogniser

MANY, FEW, TIMED = 6, 2, 2
SETTINGS = (
    (Setting(4, "circular"), MANY),
    (Setting(2, "linear"), MANY),
    (Setting(2, "panned", 0.0, snr_db=60.0), MANY),
    (Setting(4, "linear"), MANY),
    (Setting(4, "ad hoc"), FEW),
    (Setting(4, "moving"), FEW),
    (Setting(4, "circular", 0.2), FEW),
    (Setting(4, "circular", 0.6), FEW),
    (Setting(4, "circular", snr_db=10.0), FEW),
    (Setting(4, "circular", speakers=3), FEW),
    (Setting(4, "circular", speakers=4), FEW),
    (Setting(8, "circular"), FEW),
    (Setting(8, "ad hoc", 0.6, speakers=3), FEW),
)
"""What is measured, and how many recordings of it; the first TIMED of them are timed."""
TWO_CHANNELS = "two_channels.flac"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what is not measured yet and print the tables; returns the process's exit code."""
    asked = _parse(argv)
    separator = Separator.load(device="cpu")
    assert isinstance(separator.embedder, OnnxEmbedder)
    about = {
        "model": f"{separator.embedder.config.name} ({separator.embedder.model_hash})",
        "split": asked.split,
        "seconds": asked.seconds,
    }
    recogniser = None if asked.quick else _recogniser()
    files = voices(asked.corpus, asked.split)
    if len(files) < max(setting.speakers for setting, _ in SETTINGS):
        print(f"error: {asked.corpus} has {len(files)} speakers of split {asked.split}; expected 4.", file=sys.stderr)
        return 1
    measured = _read(asked.results, about)
    for setting, count in SETTINGS:
        for number in range(asked.recordings or count) if asked.only in setting.name else ():
            if (setting.name, number) in measured:
                continue
            rng = np.random.default_rng([number, setting.microphones, setting.speakers])
            case = scene(setting, files, asked.seconds, rng)
            found = figures(separator, case, None if asked.quick else rng, recogniser)
            if number < TIMED:
                found |= cost(separator, case.mixture, setting.speakers)
            measured[setting.name, number] = found
            if asked.results:
                with asked.results.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps({**about, "name": setting.name, "number": number, "figures": found}) + "\n")
            print(f"{setting.name}, {number}: {found['ours'] - found['alone']:+.1f} dB", file=sys.stderr, flush=True)
    report("Several microphones", about, tables(measured), None)
    if asked.field and (asked.field / TWO_CHANNELS).exists():
        rows = in_channels(separator, asked.field / TWO_CHANNELS, recogniser)
        report(f"\n{TWO_CHANNELS}, one person in each channel", {}, {"Sum of the channels of each stem": rows}, None)
    elif asked.field:
        print(f"\nSkipped: {asked.field / TWO_CHANNELS} is not there.")
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="a folder with a metadata.csv")
    parser.add_argument("--split", default="valid", help="whose speakers (default: valid)")
    parser.add_argument(
        "--recordings", type=positive, help=f"of each kind (default: {MANY} of the first four, {FEW} of the others)"
    )
    parser.add_argument("--seconds", type=float, default=6.0, help="of each recording (default: 6)")
    parser.add_argument("--only", default="", help="kinds whose name has this in it")
    parser.add_argument("--quick", action="store_true", help="without words and without pb_bss's model")
    parser.add_argument("--results", type=Path, metavar="FILE", help="what was measured so far, and will be")
    parser.add_argument("--field", type=Path, help=f"a folder with {TWO_CHANNELS}: one source in each channel")
    return parser.parse_args(argv)


def _recogniser() -> Recogniser | None:
    try:
        return Recogniser(usable_cores())
    except EvaluationError as error:
        print(f"Without words: {error}", file=sys.stderr)
        return None


def _read(results: Path | None, about: Row) -> dict[tuple[str, int], Figures]:
    """What was measured of the same model, split and length; of whatever else, nothing."""
    if not results or not results.exists():
        return {}
    entries = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    return {
        (entry["name"], entry["number"]): entry["figures"]
        for entry in entries
        if all(entry[key] == value for key, value in about.items())
    }


def tables(measured: dict[tuple[str, int], Figures]) -> dict[str, list[Row]]:
    """Means over the recordings of each kind, in the order of SETTINGS."""
    kinds: dict[str, list[Figures]] = {setting.name: [] for setting, _ in SETTINGS}
    for (name, _), found in measured.items():
        kinds.setdefault(name, []).append(found)
    kinds = {name: found for name, found in kinds.items() if found}
    found_out = {
        "SI-SDR improvement, dB": [_quality(name, found) for name, found in kinds.items()],
        "Word accuracy, %": [row for name, found in kinds.items() for row in _words(name, found)],
        "Seconds of processor for a second of audio": [
            _cost(name, found) for name, found in kinds.items() if any("cpu_one" in one for one in found)
        ],
    }
    return {title: rows for title, rows in found_out.items() if rows}


def _quality(name: str, found: list[Figures]) -> Row:
    means = {title: f"{_mean(found, method):.1f}" for method, title in METHODS.items() if method in found[0]}
    gains = [one["ours"] - one["alone"] for one in found]
    return {
        "microphones": name,
        **means,
        "gain": f"{statistics.mean(gains):+.1f}",
        "least": f"{min(gains):+.1f}",
        "recordings": len(found),
    }


def _words(name: str, found: list[Figures]) -> Iterator[Row]:
    if not any("ours_words" in one for one in found):
        return
    means = {
        title: f"{100 * _mean(found, f'{method}_words'):.0f}"
        for method, title in METHODS.items()
        if any(f"{method}_words" in one for one in found)
    }
    yield {"microphones": name, **means, "words": round(sum(one.get("words", 0) for one in found))}


def _cost(name: str, found: list[Figures]) -> Row:
    found = [one for one in found if "cpu_one" in one]
    ratio, clock = (
        statistics.median(one[f"{kind}_all"] / one[f"{kind}_one"] for one in found) for kind in ("cpu", "wall")
    )
    return {
        "microphones": name,
        "one channel": f"{statistics.median(one['cpu_one'] for one in found):.3f}",
        "all": f"{statistics.median(one['cpu_all'] for one in found):.3f}",
        "times": f"{ratio:.2f}",
        "times by the clock": f"{clock:.2f}",
    }


def _mean(found: list[Figures], key: str) -> float:
    return statistics.mean(one[key] for one in found if key in one)


if __name__ == "__main__":
    sys.exit(main())
