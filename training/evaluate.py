"""How good is a model? `python training/evaluate.py --model M --list L [--condition NAME...]`; see docs/evaluation.md.

Without arguments: the bundled model on the project's examples.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import onnxruntime
from tqdm import tqdm

from unmingle.model.clustering import counting
from unmingle.model.embedding.embedder import OnnxEmbedder
from unmingle.model.threads import usable_cores
from unmingle.model.weights.bundled import bundled_model
from unmingle.training import command
from unmingle.training.evaluation.case_scoring import score_case
from unmingle.training.evaluation.conditions import CONDITIONS, cases, sounds_of
from unmingle.training.evaluation.drawn_mixtures import mixtures_of
from unmingle.training.evaluation.errors import EvaluationError
from unmingle.training.evaluation.further_measures import MEASURES, check_packages
from unmingle.training.evaluation.mixture_list import ListedMixture, read_list
from unmingle.training.evaluation.published_sets import read_published_set
from unmingle.training.evaluation.scoring import HowMany, score
from unmingle.training.evaluation.speed import measure_speed
from unmingle.training.evaluation.workers import spread

EXAMPLES = Path(__file__).resolve().parent.parent / "examples" / "list.csv"
DRAWN = 100
"""Mixtures of --voices without --limit."""
LIBRARIES = ("mir_eval", "pystoi", "numpy", "scipy")
"""Those that the figures depend on, besides ONNX Runtime, whose package has several names."""


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate, print the report and write it; returns the process's exit code."""
    asked = _parse(argv)
    return command.run(lambda: _run(asked), "stopped; nothing was written")


def _run(asked: argparse.Namespace) -> None:
    out = asked.out or _default_folder(asked)
    if asked.voices:
        if asked.data is None:
            raise EvaluationError("--voices draws mixtures from a corpus; name its folder with --data.")
        listed = mixtures_of(asked.data, asked.split, asked.voices, asked.limit or DRAWN)
        subject = f"{asked.voices} voices of '{asked.split}' of {_shown(asked.data)}"
    elif asked.list.is_dir():
        found = read_published_set(asked.list, asked.split, asked.mixtures, asked.limit)
        listed, subject = list(found.mixtures), found.title
    else:
        listed, subject = read_list(asked.list, asked.limit), _shown(asked.list)
    if asked.condition:
        if asked.mixtures and not asked.mixtures.startswith("mix_clean"):
            raise EvaluationError(
                f"--condition makes surroundings for sources, and {asked.mixtures} has its own: take mix_clean, "
                "or leave --condition out."
            )
        sounds = sounds_of(asked.data or asked.list.parent)
        evaluate_under(asked.condition, asked.model, listed, sounds, subject, out, asked.jobs, asked.refiner)
    else:
        check_packages(asked.measures)
        evaluate(asked.model, listed, subject, out, asked.jobs, asked.num_sources, asked.measures, asked.refiner)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="training/evaluate.py",
        description="Separate the mixtures of a list and measure how much better their sources are heard.",
        allow_abbrev=False,
    )
    parser.add_argument("--model", type=Path, default=bundled_model(), help="an ONNX file (default: the bundled one)")
    parser.add_argument("--refiner", type=Path, help="an ONNX file of training/publish_refiner.py, for soft masks")
    parser.add_argument(
        "--list",
        type=Path,
        default=EXAMPLES,
        help="CSV file, or a folder as LibriMix, wsj0-mix and WHAM! publish it (default: examples/list.csv)",
    )
    parser.add_argument(
        "--out", type=Path, help="folder for the report (default: runs/evaluation/MODEL-LIST, with -auto)"
    )
    parser.add_argument("--limit", type=_positive, metavar="N", help="only the first N mixtures")
    parser.add_argument("--jobs", type=_positive, default=usable_cores(), help="processes (default: one per core)")
    parser.add_argument(
        "--num-sources",
        choices=("true", "auto"),
        default="true",
        help="true: tell the separator how many sources there are; auto: let it find out (default: true)",
    )
    parser.add_argument(
        "--measures", nargs="+", choices=MEASURES, default=[], metavar="NAME", help=f"also {', '.join(MEASURES)}"
    )
    parser.add_argument(
        "--condition",
        nargs="+",
        choices=CONDITIONS,
        metavar="NAME",
        help=f"instead of the full report, a table with a line per condition: {', '.join(CONDITIONS)}",
    )
    parser.add_argument(
        "--voices",
        type=_positive,
        metavar="N",
        help="mixtures of N voices of a corpus, drawn by a seed, in place of a list",
    )
    parser.add_argument(
        "--data", type=Path, metavar="CORPUS", help="folder with metadata.csv, for --voices and for sounds"
    )
    parser.add_argument("--split", default="test", help="of a folder, or of --data for --voices (default: test)")
    parser.add_argument(
        "--mixtures", metavar="KIND", help="of a folder: mix_clean, mix_both, ... (default: mix or mix_clean)"
    )
    return parser.parse_args(argv)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"is '{text}'; expected a whole number of 1 or more")
    return int(text)


def _default_folder(asked: argparse.Namespace) -> Path:
    what = f"{asked.voices}-voices" if asked.voices else _name_of(asked)
    how = "-conditions" if asked.condition else "-auto" if asked.num_sources == "auto" else ""
    how += "-refined" if asked.refiner else ""
    return Path("runs") / "evaluation" / f"{asked.model.stem}-{what}{how}"


def _name_of(asked: argparse.Namespace) -> str:
    if not asked.list.is_dir():
        return str(asked.list.stem)
    return "-".join((*asked.list.resolve().parts[-2:], asked.split, *([asked.mixtures] if asked.mixtures else [])))


def evaluate(
    model: Path,
    listed: Sequence[ListedMixture],
    list_name: str,
    out: Path,
    jobs: int,
    how_many: HowMany,
    measures: Sequence[str] = (),
    refiner: Path | None = None,
) -> None:
    """List and model -> figures -> report, printed and written to `out`.

    Raises:
        EvaluationError: one of the recordings, the folder or an option is not usable.
        ModelError: the model is not usable.
    """
    embedder = OnnxEmbedder(model, device="cpu", threads=1)  # complain now, not in every process
    if how_many == "auto" and not counting.counts_up_to(embedder.config.count_weights):
        raise EvaluationError(
            f"--num-sources auto was asked for, but the model {_shown(model)} was not taught to count; teach it with "
            "training/calibrate.py, or leave the option out."
        )
    _make_folder(out)
    work = functools.partial(score, how_many=how_many, measures=measures)
    scored = list(tqdm(spread(work, listed, model, jobs, refiner), total=len(listed), unit="mixture", disable=None))
    speed = measure_speed(listed, model, how_many, refiner)

    # Only now: the processes import this file too, and have no use for what draws and writes.
    from unmingle.training.evaluation import plots
    from unmingle.training.evaluation.markdown import to_markdown
    from unmingle.training.evaluation.report import Report, Subject, to_csv, to_json

    subject = Subject(_shown(model), embedder.model_hash, list_name, len(listed), how_many, _versions())
    report = Report(subject, scored, speed)
    markdown = to_markdown(report)
    files = {
        "report.md": markdown.encode(),
        "report.json": to_json(report).encode(),
        "mixtures.csv": to_csv(scored).encode(),
    }
    if report.mixed:
        files["histogram.png"] = plots.histogram(report.mixed)
        files["scatter.png"] = plots.scatter(report.mixed)
    _publish(markdown, files, out)


def evaluate_under(
    names: Sequence[str],
    model: Path,
    listed: Sequence[ListedMixture],
    sounds: Sequence[Path],
    list_name: str,
    out: Path,
    jobs: int,
    refiner: Path | None = None,
) -> None:
    """The same list under one condition after the other -> one table, printed and written to `out`.

    Raises:
        EvaluationError: one of the recordings, the folder or a condition is not usable.
        ModelError: the model is not usable.
    """
    wanted = [case for name in dict.fromkeys(names) for case in cases(listed, CONDITIONS[name], sounds)]
    embedder = OnnxEmbedder(model, device="cpu", threads=1)
    _make_folder(out)
    scored = list(
        tqdm(spread(score_case, wanted, model, jobs, refiner), total=len(wanted), unit="mixture", disable=None)
    )

    from unmingle.training.evaluation.conditions_report import rows, to_csv, to_json, to_markdown
    from unmingle.training.evaluation.report import Subject

    subject = Subject(_shown(model), embedder.model_hash, list_name, len(listed), "auto", _versions())
    table = rows(scored)
    markdown = to_markdown(subject, table)
    files = {"conditions.md": markdown, "conditions.json": to_json(subject, table), "conditions.csv": to_csv(scored)}
    _publish(markdown, {name: text.encode() for name, text in files.items()}, out)


def _versions() -> dict[str, str]:
    return {name: version(name) for name in LIBRARIES} | {"onnxruntime": onnxruntime.__version__}


def _publish(markdown: str, files: Mapping[str, bytes], out: Path) -> None:
    for name, content in files.items():
        _write(out / name, content)
    print(markdown)
    print(f"written to {out}: {', '.join(files)}")


def _shown(path: Path) -> str:
    """A path as it is to be read: short where it lies below the current folder."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EvaluationError(f"The folder {out} cannot be made ({error.strerror}); give another --out.") from error


def _write(path: Path, content: bytes) -> None:
    """The file appears whole or not at all."""
    temporary = path.with_name(path.name + ".partial")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        raise EvaluationError(f"{path} cannot be written ({error.strerror}); give another --out.") from error


if __name__ == "__main__":
    sys.exit(main())
