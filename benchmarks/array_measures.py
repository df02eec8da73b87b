"""The figures of one recording of several microphones: quality by all methods, words understood, and cost."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from benchmarks.array_baselines import CACGMM_HOP, CACGMM_WINDOW, cacgmm, mvdr, true_masks
from benchmarks.array_rooms import RATE, Samples, Scene
from unmingle import SeparationOptions, Separator
from unmingle.model.metrics import best_permutation, si_sdr_db
from unmingle.model.signal import stft
from unmingle.training.evaluation.recogniser import Recogniser, word_accuracy

Figures = dict[str, float]
METHODS = {
    "mixture": "recording",
    "alone": "best channel",
    "masks": "same masks",
    "blind": "pb_bss's model",
    "ours": "both",
    "enhanced": "enhanced",
    "oracle": "MVDR, true masks",
}
"""And what the tables call them."""
_UNDERSTOOD = ("mixture", "alone", "blind", "ours", "oracle")
_WINDOW, _HOP = 2048, 512
_ROUNDS = 2


def quality(separator: Separator, case: Scene, rng: np.random.Generator | None) -> tuple[dict[str, Samples], Samples]:
    """Stems by all methods at the microphone that comes out best on its own, and the truth there.

    Args:
        rng: where the blind model starts; None leaves that method out.

    Returns:
        (sources, samples) for each method, in the order of the truth, and (sources, samples).
    """
    sources, _, samples = case.images.shape
    asked = SeparationOptions(num_sources=sources)
    alone = [separator.separate(channel[None], RATE, options=asked).stems[:, 0] for channel in case.mixture]
    alone = [matched(stems, case.images[:, c]) for c, stems in enumerate(alone)]
    gains = [improvement_db(stems, case.images[:, c], case.mixture[c]) for c, stems in enumerate(alone)]
    best = int(np.argmax(gains))
    truth = case.images[:, best]

    def of(options: SeparationOptions) -> Samples:
        return matched(separator.separate(case.mixture, RATE, options=options).stems[:, best], truth)

    spectra, images = stft.analyse(case.mixture, _WINDOW, _HOP), stft.analyse(case.images, _WINDOW, _HOP)
    beams = mvdr(spectra, true_masks(images, spectra), sources)[:, best]
    found = {
        "mixture": np.repeat(case.mixture[best][None], sources, 0),
        "alone": alone[best],
        "masks": of(dataclasses.replace(asked, spatial="off")),
        "ours": of(asked),
        "enhanced": of(dataclasses.replace(asked, enhance=True)),
        "oracle": matched(stft.synthesise(beams, samples, _WINDOW, _HOP), truth),
    }
    if rng is not None:
        heard = stft.analyse(case.mixture, CACGMM_WINDOW, CACGMM_HOP)
        parts = cacgmm(heard, sources, rng) * heard[best]
        found["blind"] = matched(stft.synthesise(parts, samples, CACGMM_WINDOW, CACGMM_HOP), truth)
    return found, truth


def matched(stems: Samples, truth: Samples) -> Samples:
    """(sources, samples): the stems in the order of the truth."""
    return stems[best_permutation(si_sdr_db(stems[None], truth[:, None]))]


def improvement_db(stems: Samples, truth: Samples, mixture: Samples) -> float:
    """Mean SI-SDR improvement of matched stems over the recording in one channel."""
    return float((si_sdr_db(stems, truth) - si_sdr_db(mixture, truth)).mean())


def figures(
    separator: Separator, case: Scene, rng: np.random.Generator | None, recogniser: Recogniser | None
) -> Figures:
    """dB of SI-SDR improvement for each method; and word accuracy from 0 to 1, with a `_words`."""
    found, truth = quality(separator, case, rng)
    measured = {
        method: improvement_db(stems, truth, found["mixture"][0])
        for method, stems in found.items()
        if method != "mixture"
    }
    return measured | (understood(recogniser, found, truth) if recogniser else {})


def understood(recogniser: Recogniser, found: dict[str, Samples], truth: Samples) -> Figures:
    """Word accuracy, mean over the sources; what is understood of each source alone is the reference."""
    references = [recogniser.words(source, RATE) for source in truth]
    scores: dict[str, list[float]] = {method: [] for method in _UNDERSTOOD if method in found}
    for source, reference in enumerate(references):
        for method, accuracies in scores.items():
            if reference:
                accuracies.append(word_accuracy(reference, recogniser.words(found[method][source], RATE)))
    means = {f"{method}_words": float(np.mean(accuracies)) for method, accuracies in scores.items() if accuracies}
    return means | {"words": float(sum(map(len, references)))}


def cost(separator: Separator, mixture: Samples, sources: int) -> Figures:
    """Seconds of processor and of the clock for a second of audio, with one channel and with all; the less of two."""
    asked = SeparationOptions(num_sources=sources)
    one: list[tuple[float, float]] = []
    every: list[tuple[float, float]] = []
    for _ in range(_ROUNDS):  # in turn, so that whatever else the machine does meets both
        one.append(_seconds(lambda: separator.separate(mixture[:1], RATE, options=asked)))
        every.append(_seconds(lambda: separator.separate(mixture, RATE, options=asked)))
    seconds = mixture.shape[1] / RATE
    return {
        "cpu_one": min(cpu for cpu, _ in one) / seconds,
        "cpu_all": min(cpu for cpu, _ in every) / seconds,
        "wall_one": min(wall for _, wall in one) / seconds,
        "wall_all": min(wall for _, wall in every) / seconds,
    }


def _seconds(call: Callable[[], object]) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    call()
    return time.process_time() - cpu, time.perf_counter() - wall


def in_channels(separator: Separator, path: Path, recogniser: Recogniser | None) -> list[dict[str, object]]:
    """A recording whose channels are its sources, as far as anybody knows: what is in each stem with and without."""
    samples, rate = soundfile.read(path, dtype="float32")
    truth: NDArray[np.float32] = np.ascontiguousarray(samples.T)
    references = [recogniser.words(source, rate) for source in truth] if recogniser else []
    rows = []
    for name, spatial in (("same masks", "off"), ("both", "auto")):
        stems = separator.separate(truth, rate, options=SeparationOptions(2, spatial=spatial)).stems.sum(1)
        stems = matched(stems, truth)
        row: dict[str, object] = {"": name, "SI-SDR dB": round(float(si_sdr_db(stems, truth).mean()), 1)}
        if recogniser and all(references):
            accuracies = [
                word_accuracy(reference, recogniser.words(stem, rate))
                for reference, stem in zip(references, stems, strict=True)
            ]
            row["word accuracy %"] = round(100 * float(np.mean(accuracies)))
        rows.append(row)
    return rows
