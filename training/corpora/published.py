"""The corpora that training/prepare.py knows: how they are read, and on what terms their owners give them away."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path

from unmingle.training.corpora.mixtures import tree_of_mixtures
from unmingle.training.corpora.sounds import fuss, musdb18
from unmingle.training.corpora.speech import librispeech, vctk
from unmingle.training.errors import TrainingError
from unmingle.training.recordings import Survey
from unmingle.training.surveying import find_backgrounds, survey


@dataclasses.dataclass(frozen=True)
class Published:
    """A corpus that others own.

    Attributes:
        read: its folder -> its recordings; raises TrainingError that names what is missing.
        licence: of the recordings, as their owners state it.
    """

    read: Callable[[Path], Survey]
    licence: str


def folder(root: Path) -> Survey:
    """A folder per speaker, or a metadata.csv, with or without a background.csv."""
    seen = survey(root)
    return dataclasses.replace(seen, recordings=[*seen.recordings, *find_backgrounds(root)])


_WSJ0 = "LDC (WSJ0: LDC93S6A)"

PUBLISHED: Mapping[str, Published] = {
    "librimix": Published(
        functools.partial(tree_of_mixtures, "librimix"), "CC BY 4.0 (LibriSpeech); noise CC BY-NC 4.0"
    ),
    "wsj0-mix": Published(functools.partial(tree_of_mixtures, "wsj0-mix"), _WSJ0),
    "wham": Published(functools.partial(tree_of_mixtures, "wham"), f"{_WSJ0}; noise CC BY-NC 4.0"),
    "whamr": Published(functools.partial(tree_of_mixtures, "whamr"), f"{_WSJ0}; noise CC BY-NC 4.0"),
    "librispeech": Published(librispeech, "CC BY 4.0"),
    "vctk": Published(vctk, "CC BY 4.0 (0.92), ODC-By 1.0 (before)"),
    "musdb18": Published(musdb18, "education and research only, by track"),
    "fuss": Published(fuss, "CC BY 4.0, sounds CC0 and CC BY"),
    "folder": Published(folder, "not stated"),
}


def read_published(name: str, root: Path) -> Survey:
    """What a published corpus's folder holds.

    Raises:
        TrainingError: it is not that corpus, or something is missing.
    """
    try:
        return PUBLISHED[name].read(root)
    except OSError as error:
        raise TrainingError(f"{root} cannot be read: {error.filename}: {error.strerror}.") from error
