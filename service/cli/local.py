"""Separating recordings in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from unmingle.model.embedding.embedder import OnnxEmbedder
from unmingle.model.recording import Progress
from unmingle.model.refining.refiner import open_refiner
from unmingle.model.separator import Separator
from unmingle.model.weights.bundled import bundled_model
from unmingle.service.cli.batch import Separating
from unmingle.service.cli.excerpt import opened
from unmingle.service.cli.names import Input
from unmingle.service.cli.wishes import Wishes, granted
from unmingle.service.output import encoding, stems
from unmingle.service.schemas import ModelEntry, SeparateParameters


def here(
    model: Path | None,
    refiner: Path | None,
    device: Literal["auto", "cpu", "cuda"],
    threads: int | None,
    wishes: Wishes,
    parameters: SeparateParameters,
) -> Separating:
    """Separating in this process.

    Raises:
        ModelError: the model or the refiner cannot be used.
        ParameterError: the model cannot do what is asked for.
    """
    embedder = OnnxEmbedder(model or bundled_model(device), device, threads)
    entry = ModelEntry(name=embedder.config.name, hash=embedder.model_hash)
    refining = open_refiner(refiner, entry.hash, device, threads) if refiner else None
    separator = Separator(embedder, refiner=refining)
    separator.abilities.check(parameters.options)

    def separate(file: Input, new: Path, progress: Progress) -> stems.StemSet:
        recording = opened(file.path, parameters, wishes)
        channels = parameters.options.channels_of_stems(recording.channels)
        encoding.check(parameters.format, parameters.subtype, recording.sample_rate, channels)
        found = stems.separate(separator, recording, new, entry, parameters, progress=progress)
        return granted(found, wishes, parameters)

    return separate
