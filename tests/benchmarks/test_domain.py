"""A new domain made of a corpus: its recordings, played faster, as the trainer and the evaluation read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks import domain
from tests.conftest import EXAMPLES
from unmingle.training.evaluation.mixture_list import load_mixture, read_list
from unmingle.training.surveying import find_recordings

FASTER = 1.4
HEADING = "id,seconds,genders,source1_path,source1_start,source1_gain_db,source2_path,source2_start,source2_gain_db"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    corpus = tmp_path_factory.mktemp("corpus")
    for speaker in (EXAMPLES / "training").iterdir():
        (corpus / speaker.name).symlink_to(speaker)
    first, second = (EXAMPLES / "two_speakers" / f"source_{number}.flac" for number in (1, 2))
    (corpus / domain.LIST).write_text(f"{HEADING}\na,3,FM,{first},8000,-3,{second},16000,0\n")
    out = tmp_path_factory.mktemp("domain") / "new"
    options = ["--faster", FASTER, "--speakers", 4, "--seconds", 5]
    assert domain.main(["--data", str(corpus), "--out", str(out), *map(str, options)]) == 0
    return out


def test_everybody_speaks_faster_and_higher(made: Path) -> None:
    found = find_recordings(made / "speakers")
    assert len({recording.speaker for recording in found}) == 4
    for speaker in {recording.speaker for recording in found}:
        seconds = sum(soundfile.info(r.path).duration for r in found if r.speaker == speaker)
        assert seconds == pytest.approx(5 / FASTER, abs=0.8)
    mixture, sources, rate = load_mixture(read_list(made / domain.LIST)[0])
    assert sources.shape == (2, int(2.14 * rate))
    np.testing.assert_allclose(mixture, sources.sum(0), atol=1e-6)
    before, rate = soundfile.read(EXAMPLES / "two_speakers" / "source_1.flac", dtype="float32")
    heard = sources[0] * 10 ** (3 / 20)
    for part in (0.3, 1.1):  # seconds of the new one
        new = strongest_hz(heard[int(part * rate) :][: int(0.4 * rate)], rate)
        old = strongest_hz(before[int(8000 + FASTER * part * rate) :][: int(FASTER * 0.4 * rate)], rate)
        assert new == pytest.approx(FASTER * old, rel=0.03)


def strongest_hz(samples: np.ndarray, rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 2**17))
    return float(np.argmax(spectrum) * rate / 2**17)


def test_a_corpus_of_too_few_speakers_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / domain.LIST).write_text(f"{HEADING}\n")
    for speaker in sorted((EXAMPLES / "training").iterdir())[:4]:
        (tmp_path / speaker.name).symlink_to(speaker)
    assert domain.main(["--data", str(tmp_path), "--out", str(tmp_path / "new")]) == 1
    assert "has 0 speakers with 120 s to train on; expected 24" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
