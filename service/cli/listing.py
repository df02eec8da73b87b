"""`unmingle info` and `unmingle models`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unmingle.model.embedding.embedder import OnnxEmbedder
from unmingle.model.errors import UnmingleError
from unmingle.model.options import SeparationOptions
from unmingle.model.recording import Samples
from unmingle.model.separator import Separator
from unmingle.model.weights.bundled import WEIGHTS, bundled_model
from unmingle.service.cli.names import Input
from unmingle.service.decoding.recordings import FileRecording


def info(files: Sequence[Input], model: Path | None, as_json: bool) -> int:
    """Say what each file is, and what would come of it; returns how many failed."""
    separator = Separator.load(model or bundled_model())
    failed = 0
    for file in files:
        try:
            facts = _facts(file, separator)
        except UnmingleError as error:
            failed += 1
            print(f"unmingle: {file.shown}: {error}", file=sys.stderr)
            continue
        if as_json:
            print(json.dumps(facts, allow_nan=False))
            continue
        print(file.shown)
        for name, value in facts.items():
            if name not in ("file", "warnings"):
                print(f"  {name.replace('_', ' '):<13} {value}")
        for warning in facts["warnings"]:
            print(f"  warning       {warning}")
    return failed


def _facts(file: Input, separator: Separator) -> dict[str, Any]:
    recording = FileRecording(file.path)
    peak = 0.0

    def listen(block: Samples) -> None:
        nonlocal peak
        peak = max(peak, float(np.abs(block.sum(0)).max(initial=0.0)))

    outcome = separator.separate_recording(recording, listen, SeparationOptions(background="share"))
    return {
        "file": file.shown,
        "format": recording.format,
        "sample_rate": recording.sample_rate,
        "channels": recording.channels,
        "seconds": round(outcome.samples / recording.sample_rate, 3),
        "peak_db": round(20 * float(np.log10(peak)), 1) if peak > 0 else None,
        "sources": len(outcome.stems),
        "count_chance": outcome.count_chance,
        "confidence": [round(report.confidence, 3) for report in outcome.stems],
        "warnings": [*recording.warnings, *outcome.warnings],
    }


def models(as_json: bool) -> int:
    """List the models that come with the package."""
    for path in sorted(WEIGHTS.glob("*.onnx")):
        embedder = OnnxEmbedder(path, "cpu")
        config = embedder.config
        facts = {"name": config.name, "hash": embedder.model_hash, "sample_rate": config.sample_rate, "file": str(path)}
        facts["bytes"] = path.stat().st_size
        if as_json:
            print(json.dumps(facts))
        else:
            print(f"{path.stem}: {config.name} {embedder.model_hash}, {config.sample_rate} Hz, {path}")
    return 0
