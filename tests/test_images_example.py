"""examples/images: objects in pictures, with a budget too small to learn much."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parent.parent / "examples" / "images" / "segment.py"


@pytest.fixture(scope="module")
def segment():
    spec = importlib.util.spec_from_file_location("segment", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_trains_and_writes_a_table_and_a_picture(tmp_path):
    assert len(SCRIPT.read_text().splitlines()) < 200
    command = [sys.executable, str(SCRIPT), "--steps", "12", "--pictures", "3", "--output", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^\| (\d) \| (\S+) \| (\S+) \| (\S+) \| (\S+) \|$", done.stdout, re.MULTILINE)
    assert [int(row[0]) for row in rows] == [2, 3, 4, 5]
    assert all(-0.2 < float(score) <= 1.0 for row in rows for score in row[1:])
    picture = matplotlib.image.imread(tmp_path / "objects.png")
    assert picture.shape[0] > 400 and picture.std() > 0.1


@pytest.mark.parametrize("kinds", ["known", "new, drawn", "new, natural"])
def test_every_object_is_seen(segment, kinds):
    picture, labels = segment.draw(4, kinds, np.random.default_rng(0))
    assert picture.shape == (segment.SIDE, segment.SIDE, 3)
    assert np.bincount(labels.ravel()).min() >= 30


def test_photographs_are_of_no_kind_that_is_trained_and_new(segment):
    known, natural = (set(segment.KINDS[kinds][1]) for kinds in ("known", "new, natural"))
    assert natural <= set(segment.PHOTOGRAPHS)
    assert not known & natural
    readme = (SCRIPT.parent / "textures" / "README.md").read_text()
    assert all(f"`{name}.png`" in readme for name in segment.PHOTOGRAPHS)
    for name in segment.PHOTOGRAPHS:
        first, second = (segment.cutting(segment.PHOTOGRAPHS[name], np.random.default_rng(n)) for n in range(2))
        assert first.shape == (segment.SIDE, segment.SIDE) and not np.allclose(first, second)


def test_embeddings_of_objects_give_the_objects(segment):
    _, labels = segment.draw(3, "new, natural", np.random.default_rng(1))
    found = segment.segment(np.eye(16, dtype=np.float32)[labels], 4)
    assert segment.adjusted_rand_index(found, labels) == pytest.approx(1.0)


def test_chance_is_zero(segment):
    rng = np.random.default_rng(2)
    scores = [segment.adjusted_rand_index(*rng.integers(4, size=(2, 40, 40))) for _ in range(20)]
    assert abs(np.mean(scores)) < 0.01
