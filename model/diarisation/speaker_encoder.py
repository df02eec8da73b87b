"""Whose voice it is: what one person says -> a speaker vector, close to those of the same voice elsewhere.

That is what diarisation links by what is said at different times (Snyder et al., "X-vectors: robust DNN embeddings for
speaker recognition", ICASSP 2018). The network that comes with the package is CAM++; README.md says whose it is.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import threading
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from unmingle.model.diarisation.filter_bank import BANDS, HOP, WINDOW, log_energies
from unmingle.model.embedding.onnx_session import load_described
from unmingle.model.embedding.runtime_check import check_installation
from unmingle.model.errors import ModelError

CONFIG_KEY = "unmingle.speaker_encoder"
"""Metadata key of the ONNX file under which its EncoderConfig lies."""
INPUT, OUTPUT = "log_energies", "vector"
_LEAST_SAMPLES = WINDOW + 2 * HOP
"""Of fewer than three frames, the network has no deviation."""
BUNDLED = Path(__file__).with_name("speaker_encoder.onnx")
"""The one that comes with the package."""


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """What a network gives.

    Attributes:
        name: of the network.
        dim: numbers of a vector.
    """

    name: str
    dim: int

    def to_json(self) -> str:
        """As `from_json` reads it."""
        return json.dumps({"version": 1, **dataclasses.asdict(self)})

    @classmethod
    def from_json(cls, text: str) -> EncoderConfig:
        """Read what `to_json` wrote.

        Raises:
            ModelError: it is of another version, or damaged.
        """
        try:
            read = json.loads(text)
            if read.pop("version") != 1:
                raise ModelError("The speaker encoder is of another version of Unmingle; write its file again.")
            return cls(**read)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ModelError(f"The configuration of the speaker encoder is damaged ({error}).") from error


class OnnxSpeakerEncoder:
    """A network in an ONNX file, which is opened when it is used for the first time. Safe to call from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def vector(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """(samples,) of one voice at 16 kHz -> (numbers,), unit norm.

        Raises:
            ModelError: the file is missing, damaged, or something else.
        """
        with self._lock:
            session = self._session
        given = np.pad(samples, (0, max(0, _LEAST_SAMPLES - len(samples))))
        found = np.asarray(session.run([OUTPUT], {INPUT: log_energies(given)[None]})[0][0], np.float32)
        return np.asarray(found / max(float(np.linalg.norm(found)), 1e-8), np.float32)

    @functools.cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        check_installation()
        # Among several threads, a convolution shares out its sums by their number: the bytes would depend on it.
        importer = "training/import_speaker_encoder.py"
        session, described = load_described(self._path, "speaker encoder", CONFIG_KEY, importer, 1)
        config = EncoderConfig.from_json(described)
        shapes = [x.shape for x in (*session.get_inputs(), *session.get_outputs())]
        if len(shapes) != 2 or shapes[0][-1] != BANDS or shapes[1][-1] != config.dim:
            raise ModelError(f"{self._path} does not fit its own configuration; write it again.")
        return session
