"""Files <-> float32 samples: reading one's own files, and writing stems. Axes: (channels, samples).

Uploads are not read here but in service.decoder, which trusts them with nothing.
"""

from __future__ import annotations

import dataclasses
import struct
import time
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from model.errors import AudioError
from service.schemas import Subtype

_BLOCK = 2**18  # samples per channel that are converted at a time
_RIFF_LIMIT = 2**32 - 2**16


@dataclasses.dataclass(frozen=True)
class Recording:
    """A decoded recording.

    Attributes:
        samples: (channels, samples).
        sample_rate: Hz.
        decode_s: wall time that decoding took.
        warnings: what a listener should know about the file, in words.
    """

    samples: NDArray[np.float32]
    sample_rate: int
    decode_s: float
    warnings: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Length."""
        return float(self.samples.shape[1] / self.sample_rate)


def read(path: Path) -> Recording:
    """Read an audio file of the user's own, in any format that libsndfile knows.

    Raises:
        AudioError: it cannot be read; the message says why.
    """
    start = time.perf_counter()
    try:
        if path.is_file() and path.stat().st_size == 0:
            raise AudioError("the file is empty; expected audio.")
        samples, sample_rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        if not path.exists():
            raise AudioError("there is no such file.") from error
        if not path.is_file():
            raise AudioError("this is not a file.") from error
        raise AudioError(f"not readable as audio ({error.error_string.rstrip('.')}).") from error
    except OSError as error:
        raise AudioError(f"not readable ({error.strerror}).") from error
    return Recording(samples.T, sample_rate, time.perf_counter() - start)


def write_wav(file: BinaryIO, samples: NDArray[np.float32], sample_rate: int, subtype: Subtype) -> int:
    """Write (channels, samples) as a WAV into an open binary file; equal samples give equal bytes.

    FLOAT keeps every sample as it is. PCM_16 rounds to the nearest of its steps, and saturates: samples beyond full
    scale are set to full scale, because scaling a stem would break its level against the others.

    Returns:
        How many samples were set to full scale.
    """
    channels, length = samples.shape
    file.write(wav_header(channels, length, sample_rate, subtype))
    clipped = 0
    for begin in range(0, length, _BLOCK):
        block = samples[:, begin : begin + _BLOCK].T
        if subtype == "PCM_16":
            steps = np.rint(block * np.float32(32768.0))
            clipped += int(np.count_nonzero((steps > 32767) | (steps < -32768)))
            file.write(np.clip(steps, -32768, 32767).astype("<i2").tobytes())
        else:
            file.write(block.astype("<f4", order="C").tobytes())
    return clipped


def wav_header(channels: int, length: int, sample_rate: int, subtype: Subtype) -> bytes:
    """Everything before the first sample of a WAV of `length` samples per channel; RF64 above 4 GiB.

    libsndfile would put the time of day into the header of float files, and files should not depend on it.
    """
    tag, width = (1, 2) if subtype == "PCM_16" else (3, 4)
    block = channels * width
    data = length * block
    form = struct.pack("<HHIIHH", tag, channels, sample_rate, sample_rate * block, block, 8 * width)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form
    if tag == 3:
        chunks += b"fact" + struct.pack("<II", 4, min(length, 0xFFFFFFFF))
    size = 4 + len(chunks) + 8 + data
    if size < _RIFF_LIMIT:
        return b"RIFF" + struct.pack("<I", size) + b"WAVE" + chunks + b"data" + struct.pack("<I", data)
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, size + 36, data, length, 0)
    return b"RF64\xff\xff\xff\xffWAVE" + ds64 + chunks + b"data\xff\xff\xff\xff"
