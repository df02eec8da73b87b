"""Local diarisation: samples of one segment -> who speaks in each of its moments.

A network gives each frame a chance for every set of at most three people of whom at most two speak at once (the power
set of Plaquet and Bredin, "Powerset multi-class cross entropy loss for neural speaker diarization", Interspeech 2023).
It tells people apart within the segment only. Who of them is whom in the next one, their voices have to say.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from unmingle.model.diarisation import speaker_encoder
from unmingle.model.diarisation.config import Chances, DiarisationConfig
from unmingle.model.diarisation.speaker_encoder import OnnxSpeakerEncoder
from unmingle.model.embedding.onnx_session import load_described
from unmingle.model.embedding.runtime_check import check_installation
from unmingle.model.errors import ModelError
from unmingle.model.threads import usable_cores

CONFIG_KEY = "unmingle.diarisation"
"""Metadata key of the ONNX file under which its DiarisationConfig lies."""
INPUT, OUTPUT = "samples", "chances"
BUNDLED = Path(__file__).with_name("segmentation.onnx")
"""The one that comes with the package; README.md beside it says whose it is."""


class OnnxDiariser:
    """Networks in ONNX files, opened when they are used for the first time. Safe to call from any thread."""

    def __init__(self, path: Path, threads: int | None = None, encoder: OnnxSpeakerEncoder | None = None) -> None:
        """Args:
        threads: by default all cores that this process may use.
        encoder: tells whose voice it is; by default that of the package.
        """
        self._path, self._threads = path, threads
        self.vector = (encoder or OnnxSpeakerEncoder(speaker_encoder.BUNDLED)).vector
        self._lock = threading.Lock()

    @property
    def config(self) -> DiarisationConfig:
        """As `Diariser.config`.

        Raises:
            ModelError: the file is missing, damaged, or something else.
        """
        return self._opened[1]

    def chances(self, samples: NDArray[np.float32]) -> Chances:
        """As `Diariser.chances`.

        Raises:
            ModelError: the file is missing, damaged, or something else.
        """
        session, config = self._opened
        # What it says must not depend on the level. It takes the variance out itself, but not of whispers.
        peak = float(np.abs(samples).max(initial=0.0))
        given = np.zeros((1, 1, max(len(samples), 2 * config.first + 1)), np.float32)
        given[0, 0, : len(samples)] = samples / np.float32(peak) if peak > 0 else samples
        return np.asarray(session.run([OUTPUT], {INPUT: given})[0][0], np.float32)

    @property
    def _opened(self) -> tuple[onnxruntime.InferenceSession, DiarisationConfig]:
        with self._lock:
            return self._open

    @functools.cached_property
    def _open(self) -> tuple[onnxruntime.InferenceSession, DiarisationConfig]:
        check_installation()
        # Its LSTMs are in 8 bits, which are for CPUs.
        threads, importer = self._threads or usable_cores(), "training/import_diarisation.py"
        session, described = load_described(self._path, "diarisation network", CONFIG_KEY, importer, threads)
        config = DiarisationConfig.from_json(described)
        shapes: Sequence[Sequence[object]] = [x.shape for x in (*session.get_inputs(), *session.get_outputs())]
        if len(shapes) != 2 or shapes[1][-1] != len(config.sets):
            raise ModelError(f"{self._path} does not fit its own configuration; write it again.")
        return session, config


@functools.cache
def bundled_diariser() -> OnnxDiariser:
    """The one that comes with the package, for all who use it."""
    return OnnxDiariser(BUNDLED)
