"""Does a source stay the same stem through a long recording? `python -m benchmarks.long --corpus DIR`

Per recording: in how many of the seconds in which two or more speak the stems are in the right order; SI-SDRi beside
that of separating each 10 s piece alone and ordering its stems with the truth; accuracy of who speaks when.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.frames import frames_of, heard_frames
from benchmarks.long_recordings import RATE, Conversation, conversations
from unmingle import Separator
from unmingle.model.metrics import best_permutation, si_sdr_db

PIECE_S = 10.0
FRAME_S = 0.1
HEARD_DB = -35.0


@dataclasses.dataclass(frozen=True)
class Row:
    """One recording's results."""

    recording: str
    seconds: float
    order_right: float
    si_sdr_improvement_db: float
    pieces_si_sdr_improvement_db: float
    activity_accuracy: float
    real_time_factor: float


def main() -> None:
    """Print the table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="folder with metadata.csv and recordings")
    parser.add_argument("--splits", nargs="+", default=["valid_closed", "test"])
    parser.add_argument("--model", type=Path, help="an ONNX file (default: the bundled one)")
    parser.add_argument("--seconds", type=float, default=600.0, help="length of each recording (default 600)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the rows as JSON")
    asked = parser.parse_args()
    separator = Separator.load(asked.model)
    rows: list[Row] = []
    for split in asked.splits:
        made = conversations(asked.corpus, split, asked.seconds, asked.seed)
        rows += [measure(separator, c, split) for c in tqdm(made, total=4, desc=split, file=sys.stderr)]
    print(table(rows))
    if asked.out:
        asked.out.write_text(json.dumps([dataclasses.asdict(row) for row in rows], indent=2) + "\n")


def measure(separator: Separator, conversation: Conversation, split: str) -> Row:
    """Separate one recording and compare with its truth."""
    sources, mixture = conversation.sources, conversation.mixture
    start = time.perf_counter()
    found = separator.separate(mixture, RATE, len(sources))
    took = time.perf_counter() - start
    whole = best_permutation(si_sdr_db(found.stems[None], sources[:, None]))
    stems = found.stems[whole]
    seconds = mixture.size / RATE
    activity = heard_frames(sources, RATE, FRAME_S, HEARD_DB)
    heard = np.stack([frames_of(found.reports[i].active, activity.shape[1], FRAME_S) for i in whole])
    pieces, alone = [], []
    step = round(PIECE_S * RATE)
    for at in range(0, mixture.size - step + 1, step):
        part = slice(at, at + step)
        if (np.abs(sources[:, part]).max(-1) < 1e-3).any():
            continue  # SI-SDR is not defined for a source that says nothing
        before = si_sdr_db(mixture[part], sources[:, part])
        pieces.append((si_sdr_db(stems[:, part], sources[:, part]) - before).mean())
        own = separator.separate(mixture[part], RATE, len(sources)).stems
        scores = si_sdr_db(own[None], sources[:, None, part])
        alone.append((scores[np.arange(len(sources)), best_permutation(scores)] - before).mean())
    return Row(
        f"{split}: {conversation.name}",
        seconds,
        order_right(stems, sources, activity),
        float(np.mean(pieces)),
        float(np.mean(alone)),
        float((heard == activity).mean()),
        took / seconds,
    )


def order_right(stems: NDArray[np.float32], sources: NDArray[np.float32], activity: NDArray[np.bool_]) -> float:
    """Part of the seconds in which two or more speak whose best order of stems is that of the whole recording."""
    right, counted = 0, 0
    per_second = round(1.0 / FRAME_S)
    for second in range(activity.shape[1] // per_second):
        part = slice(second * RATE, (second + 1) * RATE)
        speaking = np.flatnonzero(activity[:, second * per_second : (second + 1) * per_second].mean(-1) >= 0.5)
        if len(speaking) < 2:
            continue
        scores = si_sdr_db(stems[None, :, part], sources[speaking][:, None, part])
        right += bool((best_permutation(scores) == speaking).all())
        counted += 1
    return right / max(1, counted)


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| recording | order right | SI-SDRi | 10 s pieces, true order | who speaks when | RTF |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.recording} | {r.order_right:.1%} | {r.si_sdr_improvement_db:.2f} dB | "
        f"{r.pieces_si_sdr_improvement_db:.2f} dB | {r.activity_accuracy:.1%} | {r.real_time_factor:.4f} |"
        for r in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
