"""A test set as it is published, a tree of mixtures (LibriMix, wsj0-mix, WHAM!, WHAMR!) -> mixtures to evaluate on.

The mixtures are read as they are, not made again. References are the sources beside them: for mixtures in rooms those
with their rooms, since the echo of a voice belongs to it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import soundfile

from unmingle.training.corpora.mixture_trees import (
    audio_files,
    find_trees,
    mixture_folders,
    source_folders,
    source_number,
    split_of,
    version_of,
    who,
)
from unmingle.training.errors import TrainingError
from unmingle.training.evaluation.errors import EvaluationError
from unmingle.training.evaluation.mixture_list import ListedMixture, Part

_EXPECTED = (
    "expected, as in LibriMix, wsj0-mix and WHAM!, folders such as wav8k/min/tt with mix_clean, s1 and s2 in it, or a "
    "CSV list"
)


@dataclasses.dataclass(frozen=True)
class PublishedSet:
    """One set of test mixtures.

    Attributes:
        title: what was taken of the tree, as it is to be read.
        mixtures: in the order of their names.
    """

    title: str
    mixtures: tuple[ListedMixture, ...]


def read_published_set(root: Path, split: str, kind: str | None = None, limit: int | None = None) -> PublishedSet:
    """The mixtures of one split of a tree.

    Args:
        root: the tree, or any folder in it that has one set alone.
        split: train, valid or test; folders are also called tr, cv, tt, dev...
        kind: mix_clean, mix_both...; None takes mix, mix_clean or the only one there.
        limit: only the first so many mixtures.

    Raises:
        EvaluationError: there is no such set, several, or a source of a mixture is missing.
    """
    trees = list(find_trees(root)) if root.is_dir() else []
    found = [tree for tree in trees if (split_of(tree.name) or tree.name) in (split, split_of(split))]
    if not found and len(trees) == 1 and not split_of(trees[0].name):
        found = trees
    if not found:
        there = f"it has {', '.join(sorted({tree.name for tree in trees}))}" if trees else _EXPECTED
        raise EvaluationError(f"{root} has no mixtures for '{split}': {there}.")
    if len(found) > 1:
        names = ", ".join(str(tree.relative_to(root)) for tree in found)
        raise EvaluationError(f"{root} has several sets for '{split}': {names}. Name one of these folders.")
    (tree,) = found
    mixed = _mixtures_folder(tree, kind)
    sources = source_folders(tree, "reverb" if mixed.name.endswith("_reverb") else "anechoic")
    if mixed.name.startswith("mix_single"):
        sources = sources[:1]
    files = audio_files(mixed)[:limit]
    if not files:
        raise EvaluationError(f"{mixed} has no recordings.")
    rate = "/".join(version_of(tree))
    title = f"{mixed.name} of '{tree.name}' of {root}{f' ({rate})' if rate else ''}"
    return PublishedSet(title, tuple(_mixture(file, mixed, sources) for file in files))


def _mixtures_folder(tree: Path, kind: str | None) -> Path:
    folders = {f.name: f for f in mixture_folders(tree)}
    usual = [name for name in ("mix", "mix_clean", "mix_clean_anechoic") if name in folders]
    chosen = kind or (usual[0] if usual else next(iter(folders)) if len(folders) == 1 else None)
    if chosen not in folders:
        asked = f"no {kind}" if kind else "several kinds of mixtures"
        raise EvaluationError(f"{tree} has {asked}; name one of {', '.join(folders) or 'none'} with --mixtures.")
    return folders[chosen]


def _mixture(file: Path, mixed: Path, sources: Sequence[Path]) -> ListedMixture:
    parts = []
    for source in sources:
        own = source / file.relative_to(mixed)
        if not own.is_file():
            raise EvaluationError(f"{file} has no source {own}: is the set complete?")
        parts.append(Part(own, 0, 0.0, "U", _speaker(own, source_number(source))))
    try:
        seconds = float(soundfile.info(file).duration)
    except (OSError, soundfile.LibsndfileError) as error:
        raise EvaluationError(f"The mixture {file} cannot be read ({error}); expected an audio file.") from error
    return ListedMixture(file.stem, seconds, tuple(parts), mixture=file)


def _speaker(file: Path, source: int) -> str:
    try:
        return who(file, source)[1]
    except TrainingError:
        return ""
