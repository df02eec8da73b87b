"""LibriMix, wsj0-mix, WHAM! and WHAMR! as trees of mixtures -> their separate sources, and their noise."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from unmingle.training import layouts
from unmingle.training.corpora.mixture_trees import audio_files, find_trees, split_of, subfolders
from unmingle.training.errors import TrainingError
from unmingle.training.recordings import Recording, Survey

_SHAPES = {
    "librimix": "Libri2Mix/wav16k/min/{train-100,dev,test}/{mix_clean,s1,s2}",
    "wsj0-mix": "2speakers/wav8k/min/{tr,cv,tt}/{mix,s1,s2}",
    "wham": "wav8k/min/{tr,cv,tt}/{mix_both,s1,s2,noise}, or wham_noise/{tr,cv,tt}",
    "whamr": "wav8k/min/{tr,cv,tt}/{mix_both_reverb,s1_anechoic,s2_anechoic,noise}",
}
_SPEAKERS = {"librimix": "librispeech", "wsj0-mix": "wsj0", "wham": "wsj0", "whamr": "wsj0"}
"""Whose people speak in a corpus: the same person in two of them is one."""


def tree_of_mixtures(name: str, root: Path) -> Survey:
    """The sources of a tree of mixtures and its noise.

    Args:
        name: a key of the published corpora.

    Raises:
        TrainingError: this is no such tree, a source lacks files that its mixtures have, or a name does not say who
            speaks.
    """
    if not root.is_dir():
        raise TrainingError(f"There is no folder {root}.")
    trees = list(find_trees(root))
    dataset = _SPEAKERS[name]
    if not trees:
        noise = wham_noise(root) if name == "wham" else []
        if noise:
            return Survey(noise, "WHAM!'s noise, as background")
        raise TrainingError(
            f"{root} has no mixtures in the layout of {name}: expected {_SHAPES[name]} in it. (Mixtures can also be "
            "made from the official lists: --lists.)"
        )
    for tree in trees:
        _see_that_all_is_there(tree)
    seen = layouts.of_mixtures(trees)
    sources = [dataclasses.replace(r, speaker=f"{dataset}/{r.speaker}", dataset=dataset) for r in seen.recordings]
    noise = [dataclasses.replace(r, background=True, dataset=name) for r in layouts.noises_of_mixtures(root)]
    also = f", and {len(noise)} recordings of noise" if noise else ""
    # What the trainer leaves out, tests, is kept in shards.
    left_out = tuple(note for note in seen.left_out if note != layouts.TEST_LEFT_OUT)
    return Survey([*sources, *noise], seen.layout + also, left_out)


def wham_noise(root: Path) -> list[Recording]:
    """wham_noise/{tr,cv,tt}/NAME.wav; empty for any other folder."""
    splits = [f for f in subfolders(root) if split_of(f.name)]
    return [
        Recording(file, str(file), split_of(folder.name) or "train", dataset="wham", background=True)
        for folder in splits
        for file in audio_files(folder)
    ]


def _see_that_all_is_there(tree: Path) -> None:
    names = {f.name: {file.name for file in audio_files(f)} for f in subfolders(tree)}
    sources = {name: files for name, files in names.items() if name[:1] == "s" and name[1:2].isdigit()}
    every = set().union(*sources.values())
    for name, files in sources.items():
        missing = sorted(every - files)
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise TrainingError(f"{tree / name} has no {missing[0]}{more}, which the other sources of {tree} have.")
