"""What a user wants of the command beside how to separate, and the stems made so."""

from __future__ import annotations

import dataclasses

from unmingle.model.errors import ParameterError
from unmingle.service.cli import arrange
from unmingle.service.cli.plot import PICTURE, check_matplotlib, draw
from unmingle.service.output import encoding, package, stems
from unmingle.service.schemas import SeparateParameters


@dataclasses.dataclass(frozen=True)
class Wishes:
    """What a user wants of the command beside how to separate.

    Attributes:
        start_s, end_s: the part of each recording.
        only: the number of the one stem that is wanted against the rest.
        normalise, gate: see unmingle.service.cli.arrange.
        activity: kinds of unmingle.service.cli.activity_files.
        plot: draw a picture of each.
        skip_existing: leave alone what has its stems.
        jobs: files at the same time.
        quiet, verbose, as_json: what is said.
    """

    start_s: float = 0.0
    end_s: float | None = None
    only: int | None = None
    normalise: bool = False
    gate: bool = False
    activity: tuple[str, ...] = ()
    plot: bool = False
    skip_existing: bool = False
    jobs: int = 1
    quiet: bool = False
    verbose: bool = False
    as_json: bool = False

    @property
    def part(self) -> bool:
        """Whether only a part of each recording is wanted."""
        return bool(self.start_s) or self.end_s is not None

    @property
    def rework(self) -> bool:
        """Whether something is to be done with the stems before they get their format."""
        return self.only is not None or self.normalise or self.gate or self.plot


def granted(found: stems.StemSet, wishes: Wishes, parameters: SeparateParameters) -> stems.StemSet:
    """Float stems as they are wanted, in the format that is wanted.

    Raises:
        ParameterError: there is no stem of the number that is wanted, or no such format at this sample rate.
        UnmingleError: a picture is wanted, and matplotlib is not installed.
    """
    subtype = encoding.check(parameters.format, parameters.subtype, found.manifest.sample_rate, found.manifest.channels)
    if wishes.only is not None:
        found = arrange.only(found, wishes.only)
    if wishes.gate:
        found = arrange.gate(found)
    if wishes.normalise:
        found = arrange.normalise(found)
    if wishes.plot:
        draw(found, found.directory / PICTURE)
    if (parameters.format, subtype) == ("wav", "FLOAT"):
        return found
    converted = found.directory.with_name("converted")
    converted.mkdir()
    result = package.convert(found, parameters.format, subtype, converted)
    if wishes.plot:
        (found.directory / PICTURE).rename(converted / PICTURE)
    return result


def check(wishes: Wishes, parameters: SeparateParameters) -> None:
    """Look, before anything is separated, whether what is wanted can be had.

    Raises:
        ParameterError: it makes no sense.
        UnmingleError: it takes a package that is not installed.
    """
    if wishes.end_s is not None and wishes.end_s <= wishes.start_s:
        raise ParameterError(f"--end {wishes.end_s:g} is not after --start {wishes.start_s:g}.")
    _ = parameters.options  # which checks what belongs together
    encoding.check(parameters.format, parameters.subtype)
    if wishes.plot:
        check_matplotlib()
