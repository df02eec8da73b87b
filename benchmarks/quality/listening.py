"""Short examples to listen to: mixture and stems as Ogg Vorbis, and the table that names them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.quality.measuring import Measured, stems_of
from unmingle.model.separator import Separator
from unmingle.training.evaluation.hearing import hear

PEAK = 0.7


def choose(measured: Sequence[Measured]) -> dict[str, tuple[str, Measured]]:
    """By file name, what it shows and the case: typical ones, and the worst there is.

    Sounds that are not speech are left out, since each of them has a licence of its own.
    """

    def of(group: str, title: str = "", pairing: str = "") -> list[Measured]:
        found = [
            m
            for m in measured
            if m.case.group == group
            and m.case.title.startswith(title)
            and (not pairing or m.case.listed.pairing == pairing)
        ]
        return sorted(found, key=lambda m: m.improvement_db)

    wanted = {
        "woman_and_man": ("a woman and a man, the median", of("pairs", pairing="FM"), 0.5),
        "two_women": ("two women, the median", of("pairs", pairing="FF"), 0.5),
        "two_men": ("two men, the median", of("pairs", pairing="MM"), 0.5),
        "worst": ("the worst of all pairs", of("pairs"), 0.0),
        "three_speakers": ("three speakers, the median", of("numbers", "3"), 0.5),
        "room": ("the median in a room, RT60 0.6 s", of("conditions", "room, RT60 0.6 s"), 0.5),
        "white_noise": ("the median in white noise, 10 dB below", of("conditions", "white noise, 10"), 0.5),
    }
    return {
        name: (title, found[round(place * (len(found) - 1))]) for name, (title, found, place) in wanted.items() if found
    }


def write_examples(chosen: dict[str, tuple[str, Measured]], separator: Separator, folder: Path) -> str:
    """Write the files anew into `folder`; returns the table, with links relative to the folder's parent."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.ogg"):
        old.unlink()
    lines = ["| | better by | mixture | stems | LibriSpeech utterances |", "| --- | --- | --- | --- | --- |"]
    for name, (title, item) in chosen.items():
        scene = hear(item.case.heard)
        stems = stems_of(separator, item.case, scene)
        # One factor for all of them, so that levels can be compared.
        factor = np.float32(PEAK / max(float(np.abs(scene.mixture).max()), 1e-9))
        files = {f"{name}_mixture.ogg": scene.mixture} | {
            f"{name}_stem_{number}.ogg": stem for number, stem in enumerate(stems, start=1)
        }
        for file, signal in files.items():
            soundfile.write(folder / file, np.clip(signal * factor, -1, 1), scene.sample_rate, "VORBIS", format="OGG")
        links = [f"[{number}]({folder.name}/{file})" for number, file in enumerate(list(files)[1:], start=1)]
        gains = ", ".join(f"{gain:.1f}" for gain in item.after_db - item.before_db)
        utterances = ", ".join(part.path.stem for part in item.case.listed.parts)
        mixture = f"[mixture]({folder.name}/{name}_mixture.ogg)"
        lines.append(f"| {title} | {gains} dB | {mixture} | {' '.join(links)} | {utterances} |")
    return "\n".join(lines)
