"""With what a run was made, so that it can be repeated: provenance.json, one record for each sitting."""

from __future__ import annotations

import datetime
import json
import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from unmingle.training.checkpoint import State

PROVENANCE = "provenance.json"
_PACKAGES = ("unmingle", "torch", "numpy", "scipy", "soundfile", "onnx", "onnxruntime", "onnxruntime-gpu")


def write_provenance(folder: Path, state: State, device: torch.device, precision: torch.dtype, processes: int) -> None:
    """Add a record of this sitting to a run's folder."""
    path = folder / PROVENANCE
    records: list[dict[str, Any]] = json.loads(path.read_text()) if path.is_file() else []
    records.append(
        {
            "began": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "after_step": state.step,
            "command": shlex.join(sys.argv),
            "commit": _commit(),
            "corpus": state.corpus,
            "versions": {"python": platform.python_version(), **_versions()},
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
            "precision": str(precision).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "processes": processes,
            "machine": platform.platform(),
        }
    )
    partial = path.with_suffix(".json.partial")
    partial.write_text(json.dumps(records, indent=2))
    os.replace(partial, path)


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> str | None:
    """Of the checkout that this file is in, with "+changes" if it is not as committed; None where there is none."""
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ("git", "-C", str(here), *arguments), capture_output=True, text=True, check=True, timeout=30
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None
