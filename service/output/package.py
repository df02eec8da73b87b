"""Stems on disk -> an answer: a ZIP, JSON with the stems in it, a multipart body, or a WAV."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from unmingle.model.errors import ParameterError
from unmingle.service.output import encoding
from unmingle.service.output.content import Content, FilePart
from unmingle.service.output.encoding import Samples
from unmingle.service.output.stems import MANIFEST, StemSet, reports
from unmingle.service.output.zip_layout import zip_of
from unmingle.service.problems import Problem
from unmingle.service.schemas import Format, Manifest, ResultParameters, Subtype

Kind = Literal["application/zip", "application/json", "audio/wav", "multipart/mixed", "audio/*"]

KINDS: tuple[Kind, ...] = ("application/zip", "application/json", "audio/wav", "multipart/mixed")
"""What Accept can ask for, the default first."""


@dataclasses.dataclass(frozen=True)
class Delivery:
    """The answer that is wanted.

    Attributes:
        kind: media type; audio/* is one stem alone, in whatever format.
        format: of the stems.
        subtype: of the stems; None for the format's default.
        stem: the only one wanted, from 1; None for all.
    """

    kind: Kind
    format: Format = "wav"
    subtype: Subtype | None = None
    stem: int | None = None

    @property
    def is_as_it_is(self) -> bool:
        """Whether the stems are sent as they are on disk, so that the answer needs no space of its own."""
        if self.format != "wav" or self.subtype not in (None, "FLOAT"):
            return False
        return self.stem is not None or self.kind not in ("application/json", "audio/wav")

    @classmethod
    def of(cls, kind: Kind, parameters: ResultParameters) -> Delivery:
        """What a request asks for.

        Raises:
            ParameterError: its parameters do not go together.
        """
        encoding.check(parameters.format, parameters.subtype)
        if kind == "audio/wav" and parameters.format != "wav":
            raise ParameterError(f"format={parameters.format} does not fit Accept: audio/wav; expected format=wav.")
        if parameters.stem is not None and kind != "audio/wav":
            raise ParameterError(f"stem={parameters.stem} does not fit Accept: {kind}; expected Accept: audio/wav.")
        return cls(kind, parameters.format, parameters.subtype, parameters.stem)

    @classmethod
    def alone(cls, stem: int, format: Format, subtype: Subtype | None) -> Delivery:
        """One stem in any format.

        Raises:
            ParameterError: the format does not hold this subtype.
        """
        return cls("audio/*", format, encoding.check(format, subtype), stem)


@dataclasses.dataclass(frozen=True)
class Package:
    """An answer to send.

    Attributes:
        content: its body.
        media_type: of the answer.
        filename: for the client's disk.
        manifest: what is in it.
    """

    content: Content
    media_type: str
    filename: str
    manifest: Manifest


def negotiate(accept: str | None, stem: int | None = None) -> Kind:
    """The answer that an Accept header asks for; if it accepts several, a WAV if one stem is wanted.

    Raises:
        Problem: it asks for nothing that we have.
    """
    best: tuple[float, int] = (0.0, 0)
    chosen: Kind | None = None
    for kind in KINDS if stem is None else ("audio/wav", *KINDS):
        quality, precision = _quality(accept or "*/*", kind)
        if quality > 0 and (quality, precision) > best:
            best, chosen = (quality, precision), kind
    if chosen is None:
        raise Problem(
            "not_acceptable", f"Accept is '{accept}'; expected one of {', '.join(KINDS)}.", extra={"available": KINDS}
        )
    return chosen


def _quality(accept: str, kind: str) -> tuple[float, int]:
    """(q, precision) of the most precise range in an Accept header that covers `kind`."""
    found = (0.0, -1)
    precisions = {"*/*": 0, kind.split("/", maxsplit=1)[0] + "/*": 1, kind: 2}
    for item in accept.split(","):
        media_range, *options = (part.strip().lower() for part in item.split(";"))
        precision = precisions.get(media_range, -1)
        if precision <= found[1]:
            continue
        quality = 1.0
        for option in options:
            name, _, value = option.partition("=")
            if name.strip() == "q":
                try:
                    quality = float(value)
                except ValueError:
                    quality = 0.0
        found = (quality, precision)
    return found


def pack(
    stems: StemSet,
    delivery: Delivery,
    directory: Path,
    max_json_bytes: int,
    still_wanted: encoding.StillWanted = encoding.wanted_anyway,
) -> Package:
    """Make the answer; what it needs besides the stems is in `directory`, which is empty and stays until it is sent.

    Raises:
        ParameterError: the stems cannot be had so.
        Problem: too large for JSON.
    """
    manifest = stems.manifest
    subtype = encoding.check(delivery.format, delivery.subtype, manifest.sample_rate, manifest.channels)
    if delivery.stem is not None and delivery.stem > len(stems.files):
        raise ParameterError(f"stem={delivery.stem}, but there are {len(stems.files)}.")
    if delivery.stem is not None:
        return _alone(stems, stems.files[delivery.stem - 1], delivery.format, subtype, directory, still_wanted)
    if delivery.kind == "audio/wav":
        return _side_by_side(stems, subtype, directory, still_wanted)
    converted = convert(stems, delivery.format, subtype, directory, still_wanted)
    match delivery.kind:
        case "application/zip":
            archive = zip_of(converted.files, reports(converted.manifest), still_wanted)
            return Package(archive, delivery.kind, "stems.zip", converted.manifest)
        case "application/json":
            text = Content((FilePart.of(_json(converted, directory, max_json_bytes)),))
            return Package(text, delivery.kind, "stems.json", converted.manifest)
        case _:
            body, boundary = _multipart(converted, delivery.format)
            return Package(body, f'multipart/mixed; boundary="{boundary}"', "", converted.manifest)


def convert(
    stems: StemSet,
    format: Format,
    subtype: Subtype,
    directory: Path,
    still_wanted: encoding.StillWanted = encoding.wanted_anyway,
) -> StemSet:
    """The stems in the format asked for, with their manifest; in `directory`, unless they are so already."""
    if (format, subtype) == ("wav", "FLOAT"):
        return stems
    start = time.perf_counter()
    entries = []
    for entry in stems.manifest.stems:
        target = directory / Path(entry.file).with_suffix(f".{format}")
        clipped = encoding.encode_stem(stems, stems.directory / entry.file, target, format, subtype, still_wanted)
        entries.append(entry.model_copy(update={"file": target.name, "clipped_samples": clipped}))
    background = stems.manifest.background
    if background:
        target = directory / Path(background).with_suffix(f".{format}")
        encoding.encode_stem(stems, stems.directory / background, target, format, subtype, still_wanted)
        background = target.name
    warnings = list(stems.manifest.warnings)
    if clipped := sum(entry.clipped_samples for entry in entries):
        warnings.append(f"{clipped} samples exceeded the range of {subtype} and were set to full scale.")
    seconds = {**stems.manifest.stage_seconds, "encode": time.perf_counter() - start}
    update: dict[str, object] = {"format": format, "subtype": subtype, "stems": entries, "background": background}
    update |= {"warnings": warnings, "stage_seconds": seconds}
    return StemSet(directory, stems.manifest.model_copy(update=update))


def _json(stems: StemSet, directory: Path, max_bytes: int) -> Path:
    size = sum(path.stat().st_size for path in stems.files)
    if size > max_bytes:
        raise Problem(
            "too_large_for_json",
            f"The stems take {size} bytes; expected at most {max_bytes} for Accept: application/json. "
            "Ask for application/zip.",
            extra={"limit": max_bytes, "unit": "bytes"},
        )
    body = stems.manifest.model_dump(mode="json")
    audio = [base64.b64encode(path.read_bytes()).decode() for path in stems.files]
    for entry, text in zip(body["stems"], audio, strict=False):
        entry["audio_base64"] = text
    if stems.manifest.background:
        body["background_audio_base64"] = audio[-1]
    target = directory / "package"
    target.write_text(json.dumps(body, allow_nan=False))
    return target


def _multipart(stems: StemSet, format: Format) -> tuple[Content, str]:
    """The body, and the boundary between its parts."""
    boundary = _boundary(stems)

    def head(media_type: str, name: str, size: int) -> bytes:
        lines = (
            f"--{boundary}",
            f"Content-Type: {media_type}",
            f'Content-Disposition: attachment; filename="{name}"',
            f"Content-Length: {size}",
        )
        return "\r\n".join((*lines, "", "")).encode()

    text = stems.manifest.model_dump_json(indent=2).encode()
    parts: list[bytes | FilePart] = [head("application/json", MANIFEST, len(text)) + text + b"\r\n"]
    for path in stems.files:
        part = FilePart.of(path)
        parts += [head(encoding.MEDIA_TYPES[format], path.name, part.size), part, b"\r\n"]
    return Content((*parts, f"--{boundary}--\r\n".encode())), boundary


def _boundary(stems: StemSet) -> str:
    """The same for the same stems, and infeasible to include in a recording on purpose."""
    digest = hashlib.sha256()
    for path in stems.files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"unmingle-{digest.hexdigest()[:32]}"


def _alone(
    stems: StemSet,
    file: Path,
    format: Format,
    subtype: Subtype,
    directory: Path,
    still_wanted: encoding.StillWanted,
) -> Package:
    target = file
    if (format, subtype) != ("wav", "FLOAT"):
        target = directory / f"{file.stem}.{format}"
        encoding.encode_stem(stems, file, target, format, subtype, still_wanted)
    return Package(Content((FilePart.of(target),)), encoding.MEDIA_TYPES[format], target.name, stems.manifest)


def _side_by_side(stems: StemSet, subtype: Subtype, directory: Path, still_wanted: encoding.StillWanted) -> Package:
    """All stems in one WAV: stem 1's channels, then stem 2's ..., then the background's."""
    manifest = stems.manifest
    sources = [stems.samples(file) for file in stems.files]
    shape = (manifest.samples, manifest.channels * len(sources))

    def blocks() -> Iterator[Samples]:
        for start in range(0, manifest.samples, 2**16):
            still_wanted()
            yield np.concatenate([source[start : start + 2**16] for source in sources], axis=1)

    target = directory / "package"
    encoding.encode(blocks, target, shape, manifest.sample_rate, "wav", subtype)
    return Package(Content((FilePart.of(target),)), "audio/wav", "stems.wav", manifest)
