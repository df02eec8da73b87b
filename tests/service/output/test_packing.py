"""Packing an answer is work, too, and stops when nobody wants it any more."""

from __future__ import annotations

from pathlib import Path

import pytest

from unmingle.model.separator import Separator
from unmingle.service.decoding.recordings import FileRecording
from unmingle.service.output import stems
from unmingle.service.output.package import Delivery, pack
from unmingle.service.scheduling.work import Control, StoppedError
from unmingle.service.schemas import ModelEntry, SeparateParameters


def test_packing_may_be_called_off(separator: Separator, two_speakers: Path, tmp_path: Path) -> None:
    made, packed = tmp_path / "stems", tmp_path / "packed"
    made.mkdir()
    packed.mkdir()
    parameters = SeparateParameters.model_validate({})
    found = stems.separate(separator, FileRecording(two_speakers), made, ModelEntry(name="m", hash="0"), parameters)
    control = Control()
    control.stop()
    with pytest.raises(StoppedError):
        pack(found, Delivery("application/zip", "flac"), packed, 0, lambda: control(1.0))
    assert not (packed / "package").exists()
