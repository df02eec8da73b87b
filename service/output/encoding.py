"""Float stems -> the file format that was asked for."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from unmingle.model.errors import ParameterError
from unmingle.service.output import wav
from unmingle.service.output.stems import StemSet
from unmingle.service.schemas import Format, Subtype

SUBTYPES: dict[Format, tuple[Subtype, ...]] = {
    "wav": ("FLOAT", "PCM_16", "PCM_24"),
    "flac": ("PCM_24", "PCM_16"),
    "ogg": ("VORBIS", "OPUS"),
}
"""What each format can hold, its default first."""

MEDIA_TYPES: dict[Format, str] = {"wav": "audio/wav", "flac": "audio/flac", "ogg": "audio/ogg"}

_OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
_BLOCK = 2**16

Samples = NDArray[np.float32]
Blocks = Callable[[], Iterator[Samples]]
StillWanted = Callable[[], None]
"""Called several times a second; what it raises ends the work."""


def check(format: Format, subtype: Subtype | None, sample_rate: int | None = None) -> Subtype:
    """The subtype that will be written.

    Raises:
        ParameterError: the format does not hold this subtype, or not at this sample rate.
    """
    chosen = subtype or SUBTYPES[format][0]
    if chosen not in SUBTYPES[format]:
        raise ParameterError(f"subtype={subtype} does not fit format={format}; expected {_either(SUBTYPES[format])}.")
    if chosen == "OPUS" and sample_rate is not None and sample_rate not in _OPUS_RATES:
        raise ParameterError(
            f"subtype=OPUS does not take {sample_rate} Hz; expected {_either(_OPUS_RATES)} Hz, or subtype=VORBIS."
        )
    return chosen


def wanted_anyway() -> None:
    """For work that nobody calls off."""


def encode_stem(
    stems: StemSet,
    file: Path,
    target: Path,
    format: Format,
    subtype: Subtype,
    still_wanted: StillWanted = wanted_anyway,
) -> int:
    """Write one of the stems' files into the new file `target`.

    FLOAT keeps every sample as it is. PCM rounds to the nearest of its steps and saturates: samples beyond full scale
    are set to full scale, because scaling a stem would change its level against the others.

    Returns:
        How many samples were set to full scale.
    """
    if (format, subtype) == ("wav", "FLOAT"):
        shutil.copyfile(file, target)
        return 0
    samples = stems.samples(file)

    def blocks() -> Iterator[Samples]:
        for start in range(0, len(samples), _BLOCK):
            still_wanted()
            yield samples[start : start + _BLOCK]

    channels, rate = stems.manifest.channels, stems.manifest.sample_rate
    return encode(blocks, target, (stems.manifest.samples, channels), rate, format, subtype)


def encode(
    blocks: Blocks, target: Path, shape: tuple[int, int], sample_rate: int, format: Format, subtype: Subtype
) -> int:
    """Write blocks of (samples, channels), `shape` all together; returns the samples that were set to full scale."""
    clipped = 0
    if format == "wav":
        with target.open("wb") as file:
            file.write(wav.header(shape[1], shape[0], sample_rate, subtype))
            for block in blocks():
                if subtype == "FLOAT":
                    file.write(np.ascontiguousarray(block, "<f4").data)
                    continue
                steps, beyond = _pcm(block, subtype)
                clipped += beyond
                if subtype == "PCM_16":
                    file.write(steps.astype("<i2").data)
                else:
                    file.write(np.ascontiguousarray(steps.astype("<i4")[..., None].view(np.uint8)[..., :3]).data)
        return clipped
    with soundfile.SoundFile(target, "w", sample_rate, shape[1], subtype, format=format.upper()) as sound:
        for block in blocks():
            if format == "flac":
                steps, beyond = _pcm(block, subtype)
                clipped += beyond
                sound.write(steps.astype(np.int16) if subtype == "PCM_16" else steps << 8)
            else:
                sound.write(block)
    return clipped


def _pcm(block: Samples, subtype: Subtype) -> tuple[NDArray[np.int32], int]:
    """Whole steps of PCM, and how many samples they could not hold."""
    full = 2**15 if subtype == "PCM_16" else 2**23
    steps = np.rint(block.astype(np.float64) * full)
    clipped = int(np.count_nonzero((steps > full - 1) | (steps < -full)))
    return np.clip(steps, -full, full - 1).astype(np.int32), clipped


def _either(values: tuple[object, ...]) -> str:
    return " or ".join((", ".join(map(str, values[:-1])), str(values[-1]))) if len(values) > 1 else str(values[0])
