"""Oracle NMF, the paper's baseline: spectral bases of who really speaks, learned from what else they say.

Each speaker's magnitudes are approximated by a product of non-negative bases and activations (Lee and Seung,
"Algorithms for non-negative matrix factorization", NIPS 2000; for separation: Smaragdis, "Convolutive speech bases",
TASLP 2007). A mixture is approximated by the bases of its speakers together, and each speaker's part of the sum is the
mask. Axes: (basis, bin), (frame, basis), (frame, bin).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from benchmarks.paper.hearing import Heard, Masker
from unmingle.model.signal import features, stft
from unmingle.model.signal.masks import Masks
from unmingle.training.audio_files import decode
from unmingle.training.errors import TrainingError
from unmingle.training.evaluation.mixture_list import ListedMixture, Part
from unmingle.training.recordings import Recording

BASES = 256
"""Of each speaker, as in the paper."""
SPARSITY = 0.1
"""Weight of the sum of the activations beside the divergence, for magnitudes with a mean of 1."""
ITERATIONS = 60
SPEECH_S = 60.0
"""Of each speaker, at most."""
_LEAST_S, _SHORTEST_S = 5.0, 0.5
_TINY = 1e-9

Floats = NDArray[np.float32]


class OracleNmf:
    """Makes the masks of mixtures whose speakers are in a corpus, by bases that never heard the mixture's excerpts."""

    def __init__(self, recordings: Sequence[Recording]) -> None:
        """Args: recordings: of the corpus, in all its splits."""
        self._speaker = {recording.path.resolve(): recording.speaker for recording in recordings}
        self._of: dict[str, list[Recording]] = {}
        for recording in recordings:
            self._of.setdefault(recording.speaker, []).append(recording)

    def __call__(self, heard: Heard) -> Masker:
        """Masks of a mixture.

        Raises:
            TrainingError: the corpus has next to nothing else of one of the speakers.
        """
        rng = np.random.default_rng(0)
        bases = [learn_bases(self._else_said(part, heard), BASES, rng) for part in heard.listed.parts]

        def mask(part: slice) -> Masks:
            spectrum = heard.magnitude[part]
            scaled = spectrum / max(float(spectrum.mean()), _TINY)
            activations = np.split(activate(scaled, np.concatenate(bases)), len(bases), axis=1)
            sources = np.stack([a @ b for a, b in zip(activations, bases, strict=True)]) + _TINY
            return np.asarray(sources / sources.sum(0), np.float32)

        return mask

    def _else_said(self, part: Part, heard: Heard) -> Floats:
        """(frames, bins) magnitudes of the part's speaker, in none of the excerpts that the mixture is made of."""
        c, pieces, length = heard.config, list[Floats](), 0.0
        own = self._of.get(self._speaker.get(part.path.resolve(), ""), [])
        # Other recordings first.
        used = {p.path.resolve() for p in heard.listed.parts}
        for recording in sorted(own, key=lambda r: r.path.resolve() in used):
            samples = decode(recording.path, c.sample_rate, recording.track).samples
            if samples is None:
                continue
            for begin, end in self._unused(recording.path, len(samples) / c.sample_rate, heard.listed):
                speech = samples[int(begin * c.sample_rate) : int(end * c.sample_rate)].astype(np.float32)
                pieces.append(np.square(np.abs(stft.analyse(speech[None], c.window, c.hop)[0])))
                length += end - begin
            if length >= SPEECH_S:
                break
        if length < _LEAST_S:
            raise TrainingError(
                f"oracle-nmf needs {_LEAST_S:g} s more of whoever speaks in {part.path}, and the corpus has "
                f"{length:.1f} s: give the corpus that the lists were made of as --data, or leave this row out."
            )
        return features.band_magnitude(np.concatenate(pieces), c)[: int(SPEECH_S * c.sample_rate / c.hop)]

    @staticmethod
    def _unused(path: Path, seconds: float, listed: ListedMixture) -> list[tuple[float, float]]:
        """(begin, end) in seconds of a recording's stretches that are not in the mixture."""
        rate = soundfile.info(path).samplerate
        taken = [
            (p.start / rate, p.start / rate + listed.seconds)
            for p in listed.parts
            if p.path.resolve() == path.resolve()
        ]
        edges = [0.0, *(edge for stretch in sorted(taken) for edge in stretch), seconds]
        return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a > _SHORTEST_S]


def learn_bases(magnitude: Floats, count: int, rng: np.random.Generator) -> Floats:
    """(count, bins) bases of (frames, bins) magnitudes, each with a sum of 1, by multiplicative updates."""
    scaled = magnitude / max(float(magnitude.mean()), _TINY)
    bases = rng.random((count, magnitude.shape[1]), np.float32) + 0.1
    bases /= bases.sum(1, keepdims=True)
    activations = rng.random((len(magnitude), count), np.float32) * (magnitude.shape[1] / count)
    for _ in range(ITERATIONS):
        activations *= _towards(scaled, activations, bases) @ bases.T / (1.0 + SPARSITY)
        bases *= activations.T @ _towards(scaled, activations, bases) / (activations.sum(0)[:, None] + _TINY)
        bases /= bases.sum(1, keepdims=True) + _TINY
    return bases


def activate(scaled: Floats, bases: Floats) -> Floats:
    """(frames, bases) activations that approximate (frames, bins) magnitudes with a mean of 1 by given bases."""
    activations = np.full((len(scaled), len(bases)), scaled.shape[1] / len(bases), np.float32)
    for _ in range(ITERATIONS):
        activations *= _towards(scaled, activations, bases) @ bases.T / (1.0 + SPARSITY)
    return activations


def _towards(scaled: Floats, activations: Floats, bases: Floats) -> Floats:
    """(frames, bins) by how much the approximation falls short: the gradient of the Kullback-Leibler divergence."""
    return np.asarray(scaled / (activations @ bases + _TINY), np.float32)
