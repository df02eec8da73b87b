"""The paper's table on a corpus of your own: `python -m benchmarks.paper.run --data CORPUS`; see README.md beside it.

Every row's network is trained for the same hours of mixtures and then tested. Rows that are done are not done again,
and one that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# As in training/train.py: threads that wait must not burn the cores that others need. Read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from benchmarks.paper import experiment, learning, methods, table
from benchmarks.paper.casa import by_pitch
from benchmarks.paper.experiment import Experiment
from benchmarks.paper.methods import Method
from benchmarks.paper.oracle_nmf import OracleNmf
from benchmarks.paper.rows import FRAMES, MAIN, ROWS, SAMPLE_RATE, Row
from benchmarks.paper.scoring import Figures, score, score_ideal
from unmingle.model.embedding.embedder import OnnxEmbedder
from unmingle.model.weights.bundled import bundled_model
from unmingle.training import command
from unmingle.training.corpus import Corpus, read_corpus
from unmingle.training.evaluation.errors import EvaluationError
from unmingle.training.evaluation.mixture_list import ListedMixture, read_list
from unmingle.training.interruption import heed_interruptions
from unmingle.training.surveying import find_recordings
from unmingle.training.validation import TorchEmbedder

Lists = Mapping[str, list[ListedMixture]]

UNTRAINED = {
    "casa": "auditory scene analysis, by pitch",
    "cuts-features": "normalised cuts, local features",
    "cuts-embeddings": "normalised cuts, embeddings of D = 20",
    "oracle-nmf": "oracle NMF",
    "bundled-kmeans": "the bundled model, k-means",
    "bundled-cuts": "the bundled model, normalised cuts",
    "bundled-ideal": "ideal binary mask on its bands",
    "ideal": "ideal binary mask",
}
"""Rows that train nothing."""
NAMES = [row.name for row in ROWS] + list(UNTRAINED)
CLOSED = "valid_closed_2mix"
"""The list of speakers of whom there is more to hear."""
UNASKED = [name for name in NAMES if name != "oracle-nmf"]
"""Rows that every corpus has what it takes for."""


def main(argv: Sequence[str] | None = None) -> int:
    """Train, test, write and print; returns the process's exit code."""
    asked = _parse(argv)
    return command.run(lambda: run(asked), "stopped; the same command goes on")


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.paper.run", description=(__doc__ or "").splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("--data", type=Path, required=True, help="corpus, as for training/train.py")
    parser.add_argument(
        "--lists",
        type=Path,
        help="folder with valid_closed_2mix.csv, test_2mix.csv and test_3mix.csv (default: the corpus); what is not "
        "there is left out",
    )
    parser.add_argument(
        "--rows", default=",".join(UNASKED), help=f"of {', '.join(NAMES)} (default: all but oracle-nmf)"
    )
    parser.add_argument("--hours", type=float, default=6.0, help="of mixtures that every network hears (default: 6)")
    parser.add_argument("--limit", type=int, help="only the first N mixtures of each list")
    parser.add_argument("--out", type=Path, default=Path("runs/paper"), help="folder (default: runs/paper)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="(default: 1; other rows may run beside on other cores)")
    asked = parser.parse_args(argv)
    asked.rows = asked.rows.split(",")
    unknown = sorted(set(asked.rows) - set(NAMES))
    if unknown:
        parser.error(f"--rows has {', '.join(unknown)}; expected some of {', '.join(NAMES)}")
    if asked.hours <= 0 or (asked.limit is not None and asked.limit < 1) or asked.threads < 1:
        parser.error("--hours must be above 0, --limit and --threads 1 or more")
    return asked


def run(asked: argparse.Namespace) -> None:
    """All rows that were asked for, then the table of all that are done by now."""
    torch.set_num_threads(asked.threads)
    about = Experiment(asked.data, asked.lists or asked.data, asked.hours, asked.limit, asked.seed)
    lists = read_lists(about)
    about.begin(asked.out)
    missing = [name for name in asked.rows if experiment.result_of(asked.out, name) is None]
    corpus = None
    for row in ROWS:
        if row.name in missing:
            corpus = corpus or load_speech(about.data)
            train_and_test(row, about, corpus, lists, asked.out)
    for name in UNTRAINED:
        if name in missing:
            test_untrained(name, about, lists, asked.out)
    found = {name: experiment.result_of(asked.out, name) for name in NAMES}
    done = {name: result for name, result in found.items() if result is not None}
    print(table.write(asked.out, how_it_was_made(about), done))


def load_speech(data: Path) -> Corpus:
    """The training speakers of a corpus."""
    return read_corpus(data, "train", SAMPLE_RATE, speech_only=True)


def read_lists(about: Experiment) -> Lists:
    """The lists that there are, by name; the examples' list.csv stands for those of two and of three speakers.

    Raises:
        EvaluationError: none is there, or one is not right.
    """
    files = {name: about.lists / f"{name}.csv" for name in MAIN.lists}
    found = {name: read_list(file, about.limit) for name, file in files.items() if file.is_file()}
    if not found and (about.lists / "list.csv").is_file():
        mixed = read_list(about.lists / "list.csv", about.limit)
        found = {f"test_{n}mix": [mixture for mixture in mixed if len(mixture.parts) == n] for n in (2, 3)}
        found = {name: mixtures for name, mixtures in found.items() if mixtures}
    if not found:
        raise EvaluationError(
            f"None of {', '.join(f'{name}.csv' for name in files)} is in {about.lists}: name their folder with "
            "--lists; docs/evaluation.md says how a list is written."
        )
    return found


def train_and_test(row: Row, about: Experiment, corpus: Corpus, lists: Lists, out: Path) -> None:
    """One row's network.

    Raises:
        KeyboardInterrupt: somebody asked to stop; training goes on from its checkpoint the next time.
    """
    config = row.config(str(about.data), about.hours, about.seed)
    with heed_interruptions() as interruption:
        trained = learning.learn(row, config, corpus, out / row.name, interruption)
    if trained is None:
        raise KeyboardInterrupt
    method = methods.of(row, TorchEmbedder(trained.network))
    result = {
        "title": row.title,
        "trained_on": "2" if len(row.num_sources) == 2 else "2, 3",
        "hours_heard": trained.hours_heard,
        "training_s": trained.wall_s,
        "weights": sum(p.numel() for p in trained.network.parameters()),
        "corpus": f"{corpus.hours:.2f} hours of {len(corpus.speakers)} speakers",
        "lists": {
            name: _figures(lists[name], score(method, lists[name], config.network, f"{row.name} on {name}"))
            for name in row.lists
            if name in lists
        },
    }
    experiment.keep_result(out, row.name, result)


def test_untrained(name: str, about: Experiment, lists: Lists, out: Path) -> None:
    """One row that trains nothing.

    Raises:
        TrainingError: it needs the network of MAIN, or more of what the speakers say, and that is not there.
    """
    train_config = MAIN.config(str(about.data), about.hours, about.seed)
    config = train_config.network
    method: Method = by_pitch if name == "casa" else methods.cuts_of_local_features
    if name == "cuts-embeddings":
        method = methods.cuts_of_embeddings(TorchEmbedder(learning.load(MAIN, train_config, out / MAIN.name)))
    elif name == "oracle-nmf":
        lists = {key: listed for key, listed in lists.items() if key == CLOSED}
        method = OracleNmf(find_recordings(about.data))
    elif name.startswith("bundled"):
        embedder = OnnxEmbedder(bundled_model(), device="cpu", threads=1)
        config = embedder.config
        method = (methods.cuts_of_embeddings if name == "bundled-cuts" else methods.deep_clustering)(embedder)
    figures = {}
    for list_name, listed in lists.items():
        title = f"{name} on {list_name}"
        found = score_ideal(listed, config) if name.endswith("ideal") else score(method, listed, config, title)
        figures[list_name] = _figures(listed, found)
    experiment.keep_result(out, name, {"title": UNTRAINED[name], "lists": figures})


def _figures(listed: list[ListedMixture], found: Figures) -> dict[str, Any]:
    return {"mixtures": len(listed), **found}


def how_it_was_made(about: Experiment) -> dict[str, str]:
    """What stands below the table."""
    limit = f" --limit {about.limit}" if about.limit else ""
    seed = f" --seed {about.seed}" if about.seed else ""
    return {
        "command": f"`python -m benchmarks.paper.run --data CORPUS --hours {about.hours:g}{seed}{limit}`",
        "segments clustered alone": f"{FRAMES} frames: 1.6 s, of the bundled model 0.8 s",
        **experiment.machine(),
    }


if __name__ == "__main__":
    sys.exit(main())
