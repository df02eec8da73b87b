"""What the command does to stems on disk before they get their format: one against the rest, and a common level."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from unmingle.model.errors import ParameterError
from unmingle.service.output import wav
from unmingle.service.output.stems import StemSet, write_reports

REST = "rest"
"""Name of the file with all but the one stem that is wanted."""
_BLOCK = 2**18
_HEADROOM = 0.891  # -1 dB of full scale


def only(stems: StemSet, number: int) -> StemSet:
    """One stem, and all else in one file; together they are the recording.

    Raises:
        ParameterError: there is no such stem.
    """
    manifest = stems.manifest
    if number > manifest.num_sources:
        raise ParameterError(f"--only {number}, but {manifest.num_sources} sounds were found.")
    others = [file for place, file in enumerate(stems.files, 1) if place != number]
    rest = stems.directory / f"{REST}.wav"
    with rest.open("wb") as target:
        target.write(wav.header(manifest.channels, manifest.samples, manifest.sample_rate, "FLOAT"))
        for start in range(0, manifest.samples, _BLOCK):
            length = min(_BLOCK, manifest.samples - start)
            total = np.zeros((length, manifest.channels), np.float32)
            for file in others:
                total += stems.samples(file)[start : start + length]
            target.write(np.ascontiguousarray(total, "<f4").data)
    for file in others:
        file.unlink()
    update = {"stems": [manifest.stems[number - 1]], "background": rest.name, "background_mode": "stem"}
    return _written(stems, update)


def normalise(stems: StemSet) -> StemSet:
    """All stems made louder or quieter by the same factor, so that the loudest sample of all is at -1 dB."""
    peak = max(float(np.abs(stems.samples(file)).max(initial=0.0)) for file in stems.files)
    if peak == 0:
        return stems
    gain = np.float32(_HEADROOM / peak)
    for file in stems.files:
        samples = _writable(stems, file)
        for start in range(0, len(samples), _BLOCK):
            samples[start : start + _BLOCK] *= gain
        samples.flush()
    text = f"All stems are {20 * np.log10(gain):+.1f} dB louder than in the recording (--normalise)."
    return _written(stems, {"warnings": [*stems.manifest.warnings, text]})


def gate(stems: StemSet) -> StemSet:
    """Each stem made silent where it is not heard; what is left there by others is lost from the sum."""
    manifest = stems.manifest
    for entry in manifest.stems:
        samples = _writable(stems, stems.directory / entry.file)
        end = 0
        for stretch in entry.active:
            samples[end : max(end, round(stretch.start_s * manifest.sample_rate))] = 0
            end = round(stretch.end_s * manifest.sample_rate)
        samples[end:] = 0
        samples.flush()
    text = "Stems are silent where they are not heard (--gate), so they do not add up to the recording."
    return _written(stems, {"warnings": [*manifest.warnings, text]})


def _writable(stems: StemSet, file: Path) -> np.memmap[tuple[int, int], np.dtype[np.float32]]:
    shape = (stems.manifest.samples, stems.manifest.channels)
    head = wav.header_bytes(stems.manifest.channels, "FLOAT")
    return np.memmap(file, np.dtype("<f4"), "r+", head, shape)


def _written(stems: StemSet, update: Mapping[str, object]) -> StemSet:
    changed = StemSet(stems.directory, stems.manifest.model_copy(update=update))
    write_reports(changed.directory, changed.manifest)
    return changed
