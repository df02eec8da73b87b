"""Float stems -> the file format that was asked for."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from unmingle.model.errors import ParameterError
from unmingle.service.output import compressed, wav
from unmingle.service.output.stems import StemSet
from unmingle.service.schemas import Format, Subtype

SUBTYPES: dict[Format, tuple[Subtype, ...]] = {
    "wav": ("FLOAT", "PCM_16", "PCM_24"),
    "flac": ("PCM_24", "PCM_16"),
    "ogg": ("VORBIS", "OPUS"),
    "mp3": ("MP3",),
    "m4a": ("AAC",),
}
"""What each format can hold, its default first."""

MEDIA_TYPES: dict[Format, str] = {
    "wav": "audio/wav",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "mp3": "audio/mpeg",
    "m4a": "audio/mp4",
}

_OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
_MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_AAC_RATES = (*_MP3_RATES[:-1], 48_000, 64_000, 88_200, 96_000)
_RATES: dict[str, tuple[int, ...]] = {"OPUS": _OPUS_RATES, "MP3": _MP3_RATES, "AAC": _AAC_RATES}
_VORBIS_ORDER = {
    3: (0, 2, 1),
    5: (0, 2, 1, 3, 4),
    6: (0, 2, 1, 4, 5, 3),
    7: (0, 2, 1, 5, 6, 4, 3),
    8: (0, 2, 1, 6, 7, 4, 5, 3),
}
"""By number of channels: the order of Vorbis and Opus, as indices into that of WAVE."""
_BLOCK = 2**16

Samples = NDArray[np.float32]
Blocks = Callable[[], Iterator[Samples]]
StillWanted = Callable[[], None]
"""Called several times a second; what it raises ends the work."""


def check(
    format: Format, subtype: Subtype | None, sample_rate: int | None = None, channels: int | None = None
) -> Subtype:
    """The subtype that will be written.

    Raises:
        ParameterError: the format does not hold this subtype, or not at this sample rate, or with so many channels.
    """
    chosen = subtype or SUBTYPES[format][0]
    if chosen not in SUBTYPES[format]:
        raise ParameterError(f"subtype={subtype} does not fit format={format}; expected {_either(SUBTYPES[format])}.")
    rates = _RATES.get(chosen)
    if rates and sample_rate is not None and sample_rate not in rates:
        other = "subtype=VORBIS" if chosen == "OPUS" else "another format"
        raise ParameterError(
            f"{'subtype' if chosen == 'OPUS' else 'format'}={chosen if chosen == 'OPUS' else format} does not take "
            f"{sample_rate} Hz; expected {_either(rates)} Hz, or {other}."
        )
    if chosen == "MP3" and channels is not None and channels > 2:
        raise ParameterError(f"format=mp3 does not take {channels} channels; expected 1 or 2, or another format.")
    if chosen == "AAC" and not compressed.available():
        raise ParameterError("format=m4a takes PyAV, which is not installed here: pip install 'unmingle[formats]'.")
    return chosen


def wanted_anyway() -> None:
    """For work that is never cancelled."""


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
    if format == "m4a":
        compressed.write_m4a(blocks(), target, shape[1], sample_rate)
        return 0
    order = list(_VORBIS_ORDER.get(shape[1], range(shape[1])))
    subtype_there = "MPEG_LAYER_III" if format == "mp3" else subtype
    with soundfile.SoundFile(target, "w", sample_rate, shape[1], subtype_there, format=format.upper()) as sound:
        for block in blocks():
            if format == "flac":
                steps, beyond = _pcm(block, subtype)
                clipped += beyond
                sound.write(steps.astype(np.int16) if subtype == "PCM_16" else steps << 8)
            else:
                sound.write(block[:, order])
    return clipped


def _pcm(block: Samples, subtype: Subtype) -> tuple[NDArray[np.int32], int]:
    """Samples as PCM integers, and how many were out of range."""
    full = 2**15 if subtype == "PCM_16" else 2**23
    steps = np.rint(block.astype(np.float64) * full)
    clipped = int(np.count_nonzero((steps > full - 1) | (steps < -full)))
    return np.clip(steps, -full, full - 1).astype(np.int32), clipped


def _either(values: tuple[object, ...]) -> str:
    return " or ".join((", ".join(map(str, values[:-1])), str(values[-1]))) if len(values) > 1 else str(values[0])
