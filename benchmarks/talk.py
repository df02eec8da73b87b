"""Who speaks when? `python -m benchmarks.talk [FOLDER ...] [--corpus DIR] [--conversations N] [--json FILE]`

Diarisation error rate and its parts (missed speech, false alarms, confused speakers) in per cent of the speech, without
a collar and with overlapping speech. A person is a stem, and speaks when the separator says that the stem is heard.
Once the model finds the number of people (left out with a model that was not taught to count), once it is given.

Every FOLDER holds real recordings, each beside an .rttm file of the same name (meeting.flac, meeting.rttm). Without
FOLDER, conversations are simulated from the speakers of a corpus: 2 to 8 people, 30 to 120 s, up to 30 % of overlap, in
rooms and in noise. Of these, the SI-SDR improvement of the stems is measured, too, where there is one for everybody.
--write keeps them as WAV and RTTM to listen to. Needs the `benchmarks` extra.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as for the command and the server, see service/cli/command.py

import numpy as np
import soundfile
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.diarisation import Errors, errors, found_turns
from benchmarks.measuring import ROOT, Row, positive, report
from unmingle.model.clustering.counting import counts_up_to
from unmingle.model.errors import UnmingleError
from unmingle.model.metrics import si_sdr_improvement_db
from unmingle.model.options import MAX_SOURCES, NumSources, SeparationOptions
from unmingle.model.recording import ArrayRecording
from unmingle.model.separator import Separator
from unmingle.training.corpus import AUDIO_SUFFIXES
from unmingle.training.evaluation.conversations import Material, converse
from unmingle.training.evaluation.errors import EvaluationError
from unmingle.training.evaluation.rttm import Turn, read_rttm

SIMULATED = "simulated conversations"
COUNTED, GIVEN = "number of people found by the model", "number of people given"


@dataclasses.dataclass(frozen=True)
class Talk:
    """A recording and who speaks in it when.

    Attributes:
        group: what it is pooled with.
        name: of the recording.
        samples: (samples,) or (samples, channels) float32.
        sample_rate: Hz.
        turns: the truth.
        sources: (people, samples) of a mono recording: what each of them says; None where that is not known.
    """

    group: str
    name: str
    samples: NDArray[np.float32]
    sample_rate: int
    turns: tuple[Turn, ...]
    sources: NDArray[np.float32] | None = None

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.samples) / self.sample_rate

    @property
    def people(self) -> int:
        """How many people speak."""
        return len({turn.speaker for turn in self.turns})


@dataclasses.dataclass(frozen=True)
class Scored:
    """What was found in one recording.

    Attributes:
        group, name, people, seconds: of the recording.
        found: how many stems there are.
        errors: in seconds.
        improvement_db: SI-SDR improvement, the mean over the people; None where that is not known.
    """

    group: str
    name: str
    people: int
    seconds: float
    found: int
    errors: Errors
    improvement_db: float | None


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print tables and write them as JSON; returns the process's exit code."""
    asked = _parse(argv)
    try:
        separator = Separator.load(asked.model, "cpu")
        found = list(_measure(tqdm(_talks(asked, separator), unit="recording", disable=None), separator))
    except UnmingleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    config = separator.embedder.config
    about = {"model": config.name, "collar_s": 0.0, "overlap": "scored"}
    report("Who speaks when", about, _tables(found), asked.json)
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="real recordings with .rttm files")
    parser.add_argument("--model", type=Path, help="an ONNX file (default: the bundled one)")
    parser.add_argument(
        "--conversations", type=positive, metavar="N", help="simulate so many (default: 14, or none with FOLDER)"
    )
    parser.add_argument(
        "--corpus", type=Path, default=ROOT / "examples" / "training", help="whose voices to simulate with"
    )
    parser.add_argument("--split", default="valid", help="of the corpus (default: valid; to report, test)")
    parser.add_argument("--seed", type=int, default=0, help="of the simulation")
    parser.add_argument("--write", type=Path, metavar="DIR", help="keep simulated conversations as WAV and RTTM")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    return parser.parse_args(argv)


def _talks(asked: argparse.Namespace, separator: Separator) -> Iterator[Talk]:
    for folder in asked.folders:
        yield from recordings(folder)
    count = asked.conversations or (0 if asked.folders else 14)
    if not count:
        return
    if asked.write:
        asked.write.mkdir(parents=True, exist_ok=True)
    material = Material.load(asked.corpus, asked.split, separator.embedder.config.sample_rate)
    for conversation in converse(material, count, asked.seed):
        if asked.write:
            conversation.write(asked.write)
        rate, turns, sources = conversation.sample_rate, conversation.turns, conversation.sources
        yield Talk(SIMULATED, conversation.name, conversation.mixture, rate, turns, sources)


def recordings(folder: Path) -> Iterator[Talk]:
    """The recordings of a folder that have an RTTM file beside them, in the order of their names.

    Raises:
        EvaluationError: there are none, or one cannot be read.
    """
    files = sorted(f for f in folder.glob("*") if f.suffix in AUDIO_SUFFIXES and f.with_suffix(".rttm").is_file())
    if not files:
        raise EvaluationError(
            f"The folder {folder} has no recordings with RTTM files; expected pairs such as meeting.flac and "
            "meeting.rttm."
        )
    for file in files:
        try:
            samples, rate = soundfile.read(file, dtype="float32")
        except (OSError, soundfile.LibsndfileError) as error:
            raise EvaluationError(f"The recording {file} cannot be read ({error}).") from error
        yield Talk(folder.name, file.stem, samples, rate, read_rttm(file.with_suffix(".rttm")))


def _measure(talks: Iterable[Talk], separator: Separator) -> Iterator[tuple[str, Scored]]:
    counts = counts_up_to(separator.embedder.config.count_weights) > 0
    for talk in talks:
        if counts:
            yield COUNTED, score(talk, separator, "auto")
        yield GIVEN, score(talk, separator, min(talk.people, MAX_SOURCES))


def score(talk: Talk, separator: Separator, num_sources: NumSources) -> Scored:
    """Separate a recording and compare with the truth who is heard when, and the stems where that is known."""
    stems: list[NDArray[np.float32]] = []
    outcome = separator.separate_recording(
        ArrayRecording(talk.samples.T, talk.sample_rate),
        (lambda _stems: None) if talk.sources is None else stems.append,
        SeparationOptions(num_sources),
    )
    found = errors(talk.turns, found_turns(outcome.stems), talk.seconds)
    improvement = None
    if talk.sources is not None and len(outcome.stems) >= len(talk.sources):
        everybody = np.concatenate(stems, axis=-1)[list(outcome.order), 0]
        improvement = float(si_sdr_improvement_db(everybody, talk.sources, talk.samples).mean())
    return Scored(talk.group, talk.name, talk.people, talk.seconds, len(outcome.stems), found, improvement)


def _tables(found: Sequence[tuple[str, Scored]]) -> dict[str, list[Row]]:
    """Per way to know the number of people: a row for each recording, and below them one for each group."""
    tables: dict[str, list[Row]] = {}
    for way in dict.fromkeys(way for way, _ in found):
        scored = [item for found_way, item in found if found_way == way]
        groups = {
            group: [item for item in scored if item.group == group] for group in dict.fromkeys(s.group for s in scored)
        }
        rows = [_row(f"{item.group}/{item.name}", item.people, item.found, [item]) for item in scored]
        for group, items in groups.items():
            right = sum(item.people == item.found for item in items)
            rows.append(_row(f"**{group}, pooled**", f"{len(items)} recordings", f"{right} right", items))
        tables[way] = rows
    return tables


def _row(name: str, people: object, found: object, items: Sequence[Scored]) -> Row:
    rates = sum((item.errors for item in items), Errors()).percent
    improvements = [item.improvement_db for item in items if item.improvement_db is not None]
    all_known = len(improvements) == len(items)
    return {
        "recording": name,
        "seconds": round(sum(item.seconds for item in items), 1),
        "people": people,
        "found": found,
        **{f"{part} %": round(rate, 1) for part, rate in rates.items()},
        "SI-SDRi dB": round(float(np.mean(improvements)), 1) if all_known else None,
    }


if __name__ == "__main__":
    sys.exit(main())
