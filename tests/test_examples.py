"""The bundled recordings are what examples/README.md says of them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile

EXAMPLES = Path(__file__).parent.parent / "examples"
MIXTURES = sorted(p.parent for p in EXAMPLES.glob("*/mixture.flac"))


@pytest.mark.parametrize("folder", MIXTURES, ids=lambda p: p.name)
def test_a_mixture_is_exactly_the_sum_of_its_sources(folder):
    mixture, sample_rate = soundfile.read(folder / "mixture.flac", dtype="int16")
    sources = [soundfile.read(f, dtype="int16")[0].astype(int) for f in sorted(folder.glob("source_*.flac"))]
    assert sample_rate == 16_000
    assert len(sources) >= 2
    np.testing.assert_array_equal(mixture, sum(sources))
    assert np.abs(mixture.astype(int)).max() < 32_767


def test_the_list_gives_the_same_sources():
    with (EXAMPLES / "list.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert sorted(row["id"] for row in rows) == [p.name for p in MIXTURES]
    for row in rows:
        mixture = 0.0
        for number in range(1, len(row["genders"]) + 1):
            start, seconds = int(row[f"source{number}_start"]), float(row["seconds"])
            signal, rate = soundfile.read(
                EXAMPLES / row[f"source{number}_path"], start=start, frames=int(seconds * 16_000)
            )
            assert len(signal) == seconds * rate
            mixture = mixture + 10 ** (float(row[f"source{number}_gain_db"]) / 20) * signal
        np.testing.assert_allclose(mixture, soundfile.read(EXAMPLES / row["id"] / "mixture.flac")[0], atol=1e-9)


def test_the_training_set_is_small_and_balanced():
    speakers = [p for p in (EXAMPLES / "training").iterdir() if p.is_dir()]
    files = [f for p in speakers for f in p.glob("*.opus")]
    assert len(speakers) == 16
    assert {len(list(p.iterdir())) for p in speakers} == {4}
    assert sum(f.stat().st_size for f in files) < 8_000_000
    assert 14 * 60 < sum(soundfile.info(f).duration for f in files) < 15 * 60
