"""Tasks whose files go through a store: what they give and write is what they give and write where the files are."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.service.conftest import SMALL_MODEL
from unmingle.model.choices import Wish
from unmingle.model.separator import Separator
from unmingle.service.decoding.recordings import DecodedRecording
from unmingle.service.output.package import Delivery
from unmingle.service.output.part_files import lay_out
from unmingle.service.output.stems import StemSet, name
from unmingle.service.problems import UnavailableError
from unmingle.service.recordings.tasks import Kept, Listen, SeparateKept, TakePoints
from unmingle.service.scheduling.work import Control, Task
from unmingle.service.schemas import ModelEntry, SeparateParameters
from unmingle.service.workers import staging
from unmingle.service.workers.parts import Cut, JoinParts, ListenToPart, PlanStems, SeparatePart
from unmingle.service.workers.staging import Brought, StagedTask, Staging, Unreachable
from unmingle.service.workers.tasks import EncodeStem, Pack, Separate, SeparateAndPack, make_anew

RATE = 8_000
MODEL = ModelEntry(name="small", hash="0" * 64)
TWO = SeparateParameters(num_sources=2, background="share")


@pytest.fixture(scope="module")
def separator() -> Separator:
    return Separator.load(SMALL_MODEL, device="cpu")


class Elsewhere:
    """A worker with another disk, of which nobody but its own files are seen."""

    def __init__(self, separator: Separator, place: Path) -> None:
        self.root, self.store = place / "server", place / "store"
        self.root.mkdir()
        self.staging = Staging(self.store.as_uri(), self.root, self.root)
        self._separator, self._place = separator, place
        self.tasks: list[StagedTask] = []
        self.hidden_from_worker = False

    def run(self, task: Task[Any]) -> Any:
        async def do(staged: StagedTask) -> Brought | Unreachable:
            self.tasks.append(staged)
            away = self._place / "away"
            self.root.rename(away)  # nothing is found where the server has it
            if self.hidden_from_worker:
                self.store.rename(self._place / "hidden")
                self.store.touch()  # no directory can be made there
            try:
                return await asyncio.to_thread(staged.run, self._separator, Control())
            finally:
                away.rename(self.root)
                if self.hidden_from_worker:
                    self.store.unlink()
                    (self._place / "hidden").rename(self.store)

        return asyncio.run(self.staging.run(task, do))

    def recording(self, seconds: float) -> DecodedRecording:
        """Noise that comes and goes."""
        rng = np.random.default_rng(0)
        samples = round(seconds * RATE)
        level = np.repeat(rng.random(samples // RATE + 1, np.float32), RATE)[:samples]
        (level * rng.uniform(-0.5, 0.5, samples).astype(np.float32)).tofile(self.root / "decoded")
        return DecodedRecording(self.root / "decoded", RATE, 1, samples)


@pytest.fixture
def elsewhere(separator: Separator, tmp_path: Path) -> Iterator[Elsewhere]:
    staging._store.cache_clear()
    found = Elsewhere(separator, tmp_path)
    yield found
    give_up = time.monotonic() + 10
    while [path.name for path in found.store.iterdir()] != ["unmingle-store"]:
        assert time.monotonic() < give_up
        time.sleep(0.01)
    assert not list(found.root.rglob("excerpt-*"))


def contents(stems: StemSet) -> list[bytes]:
    return [path.read_bytes() for path in stems.files]


def test_stems_and_answers(elsewhere: Elsewhere, separator: Separator) -> None:
    root, recording = elsewhere.root, elsewhere.recording(3.0)
    here = Separate(recording, root / "here", MODEL, TWO).run(separator, Control())
    there = elsewhere.run(Separate(recording, root / "there", MODEL, TWO, overview=True))
    assert there.directory == root / "there"
    assert contents(there) == contents(here)
    flac = Delivery("application/zip", "flac")
    packed = elsewhere.run(Pack(there, flac, root / "packed", 10**6))
    assert packed.content.read().startswith(b"PK")
    assert {path.parent for path in packed.content.files} == {root / "packed"}
    together = SeparateAndPack(Separate(recording, root / "x", MODEL, TWO), flac, root / "y", 10**6)
    assert elsewhere.run(together).manifest.format == "flac"
    elsewhere.run(EncodeStem(there, there.files[1], root / "one.wav", "wav", "PCM_16"))
    assert soundfile.info(root / "one.wav").frames == recording.samples


def test_a_directory_takes_the_place_of_what_was_there(elsewhere: Elsewhere) -> None:
    recording = elsewhere.recording(1.0)
    (elsewhere.root / "stems").mkdir()
    (elsewhere.root / "stems" / "old").touch()
    elsewhere.run(Separate(recording, elsewhere.root / "stems", MODEL, TWO))
    assert sorted(path.name for path in (elsewhere.root / "stems").iterdir()) == [
        "activity.rttm",
        "manifest.json",
        "stem_1.wav",
        "stem_2.wav",
    ]


def test_parts(elsewhere: Elsewhere, separator: Separator) -> None:
    """Of a recording, a part gets what it needs and no more."""
    root, recording = elsewhere.root, elsewhere.recording(120.0)
    whole = Separate(recording, root / "whole", MODEL, TWO).run(separator, Control())
    spread = elsewhere.run(Cut(recording, root / "parts", 3, TWO, overview=False))
    assert len(spread.parts) == 3
    for part in spread.parts:
        elsewhere.run(ListenToPart(spread.around(part), part))
        [heard] = elsewhere.tasks[-1].read
        assert (heard.files[0].start or 0) == 4 * part.heard[0]
    planned = elsewhere.run(PlanStems(spread))
    make_anew(root / "stems")
    lay_out(root / "stems", planned.sources, 1, recording.samples, RATE)
    for part in spread.parts:
        elsewhere.run(SeparatePart(spread.around(part), part, planned, root / "stems"))
    joined = elsewhere.run(JoinParts(spread, planned.plan, root / "stems", MODEL, ((), ()), {}))
    name(joined.stems, joined.order)
    assert contents(joined.stems) == contents(whole)
    assert joined.stems.manifest.stems == whole.manifest.stems


def test_nothing_is_read_that_a_part_does_not_need(elsewhere: Elsewhere, separator: Separator) -> None:
    recording = elsewhere.recording(60.0)
    part = recording.within(10 * RATE, 20 * RATE)
    blocks = part.blocks_from(12 * RATE)
    assert next(blocks).shape == (1, 8 * RATE)
    with pytest.raises(ValueError, match="is wanted, and only"):
        next(blocks)
    with pytest.raises(ValueError, match="is wanted, and only"):
        next(part.blocks())


def test_recordings_that_are_kept(elsewhere: Elsewhere, separator: Separator) -> None:
    root, recording = elsewhere.root, elsewhere.recording(3.0)
    kept = Kept(recording, root / "heard")
    heard = elsewhere.run(Listen(kept, root / "unfinished", 0))
    assert (root / "heard").is_dir() and not (root / "unfinished").exists()
    assert elsewhere.run(Listen(kept, root / "unfinished", 0)).likeliest == heard.likeliest
    wish = Wish(num_sources=2)
    here = SeparateKept(kept, root / "here", wish, MODEL, TWO).run(separator, Control())
    there = elsewhere.run(SeparateKept(kept, root / "there", wish, MODEL, TWO))
    assert contents(there.stems) == contents(here.stems)
    elsewhere.run(TakePoints(kept, root / "points.npz", 100, 0))
    with np.load(root / "points.npz") as points:
        assert points["weights"].size


def test_what_fails_there_fails_here(elsewhere: Elsewhere) -> None:
    recording = elsewhere.recording(1.0)
    with pytest.raises(FileNotFoundError):
        elsewhere.run(dataclasses.replace(Separate(recording, elsewhere.root / "s", MODEL, TWO), recording=_gone()))
    assert not (elsewhere.root / "s").exists()


def _gone() -> DecodedRecording:
    return DecodedRecording(Path("/nowhere/decoded"), RATE, 1, RATE)


def test_a_store_that_cannot_be_reached_is_named(elsewhere: Elsewhere) -> None:
    hidden = elsewhere.store.with_name("hidden")
    task = Separate(elsewhere.recording(1.0), elsewhere.root / "stems", MODEL, TWO)
    elsewhere.store.rename(hidden)
    with pytest.raises(UnavailableError, match="is not there any more"):
        elsewhere.run(task)
    assert not task.target.exists()
    hidden.rename(elsewhere.store)
    assert elsewhere.run(task).manifest.num_sources == 2


def test_a_store_that_the_worker_cannot_reach_is_named(elsewhere: Elsewhere, tmp_path: Path) -> None:
    task = Separate(elsewhere.recording(1.0), elsewhere.root / "stems", MODEL, TWO)
    elsewhere.hidden_from_worker = True
    with pytest.raises(UnavailableError, match="a worker cannot reach the store"):
        elsewhere.run(task)
    assert not task.target.exists()
