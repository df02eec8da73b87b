"""A file of every format gives the same stems through the command, the server and the library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.service import formats, same_stems
from tests.service.harness import RunningServer
from unmingle.model.separator import Separator

pytestmark = pytest.mark.slow

_SECONDS = 1.0
_CASES = {case.format: case for case in same_stems.cases(len(formats.KINDS), _SECONDS)}


@pytest.fixture(scope="module")
def commanded(tmp_path_factory: pytest.TempPathFactory, bundled_model: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """The folder with all files in it, and what one call of the command made of them."""
    place = tmp_path_factory.mktemp("formats")
    return place, same_stems.by_command(list(_CASES.values()), bundled_model, place)


@pytest.mark.parametrize("format", _CASES)
def test_the_same_stems_by_every_way(
    commanded: tuple[Path, dict[str, np.ndarray]], server: RunningServer, separator: Separator, format: str
) -> None:
    place, written = commanded
    case = _CASES[format]
    library = same_stems.by_library(place / "in" / case.name, separator)
    ways = {"command": written[case.name], "server": same_stems.by_server(case, server), "library": library}
    same_stems.check(case, place, ways)


@pytest.mark.parametrize(
    ("format", "least_db"), [("wav 24 bit", 40.0), ("flac", 40.0), ("m4a alac", 40.0), ("mp3", 10.0), ("webm", 5.0)]
)
def test_the_stems_are_those_of_what_was_encoded(
    commanded: tuple[Path, dict[str, np.ndarray]], separator: Separator, format: str, least_db: float
) -> None:
    case = _CASES[format]
    assert same_stems.nearness_db(case, commanded[1][case.name], separator) > least_db
