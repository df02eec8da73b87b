"""The `unmingle` command. What a subcommand needs is imported when it runs, so that `--help` answers at once."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from unmingle.model.errors import UnmingleError
from unmingle.service.version import version

MODEL_HELP = "an ONNX file (default: the bundled one)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 done, 1 some files failed, 2 nothing could be done."""
    # Its matrices are too small for threads, which would wait for work on the cores that the network uses. NumPy reads
    # this when it is imported, which is later.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except UnmingleError as error:
        print(f"unmingle: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("unmingle: stopped.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="unmingle", description="Separate a recording in which several sounds overlap into each sound on its own."
    )
    parser.add_argument("--version", action="version", version=f"unmingle {version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    separate = commands.add_parser(
        "separate",
        help="separate audio files",
        description="Write DIR/<file's name>/stem_1.wav ... (loudest first) and manifest.json for every FILE.",
    )
    separate.add_argument("files", nargs="+", type=Path, metavar="FILE", help="WAV, FLAC, Ogg, MP3, AIFF ...")
    separate.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help="where the stems go")
    separate.add_argument(
        "-n",
        "--num-sources",
        type=_whole_or_auto(1, 8),
        metavar="N",
        help="sounds to find, 1 to 8, or auto to have them counted (default: auto if the model was taught to, else 2)",
    )
    for bound, default in (("min", 1), ("max", 8)):
        separate.add_argument(
            f"--{bound}-sources", type=_whole(1, 8), default=default, metavar="N", help=f"bound of auto ({default})"
        )
    separate.add_argument("--model", type=Path, metavar="FILE", help=MODEL_HELP)
    separate.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where the network runs")
    separate.add_argument(
        "--seed", type=_whole(0, 2**63 - 1), default=0, metavar="N", help="same seed, same stems (default 0)"
    )
    separate.add_argument("--masks", choices=("soft", "hard"), default="soft", help="soft sounds better (default)")
    separate.add_argument(
        "--subtype",
        choices=("FLOAT", "PCM_16", "PCM_24", "VORBIS", "OPUS"),
        help="sample type of the stems; PCM saturates beyond full scale (default FLOAT for wav, PCM_24, VORBIS)",
    )
    separate.add_argument("--format", choices=("wav", "flac", "ogg"), default="wav", help="of the stems (default wav)")
    separate.add_argument(
        "--background",
        choices=("stem", "share", "drop"),
        help="noise, music and hum: a file of their own (stem), left in the stems (share) or left out (drop)",
    )
    separate.add_argument("--residual", action="store_true", help=argparse.SUPPRESS)  # the former --background stem
    separate.add_argument("--mono", action="store_true", help="mix all channels down to one first")
    separate.set_defaults(run=_separate)

    serve = commands.add_parser(
        "serve",
        help="start the REST service",
        description="Start the REST service. Further settings are UNMINGLE_* environment variables.",
    )
    serve.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    serve.add_argument("--port", type=_whole(0, 65535), help="port to listen on (default 8000)")
    serve.add_argument("--model", type=Path, metavar="FILE", help=MODEL_HELP)
    serve.set_defaults(run=_serve)

    settings = commands.add_parser(
        "settings", help="list the settings of the service", description="List every UNMINGLE_* setting and its value."
    )
    settings.set_defaults(run=_settings)

    hash_key = commands.add_parser(
        "hash-key",
        help="hash an API key for the settings",
        description="Read an API key from standard input and print what goes into UNMINGLE_API_KEYS.",
    )
    hash_key.add_argument("name", help="whose key it is")
    hash_key.set_defaults(run=_hash_key)
    return parser


def _whole(lowest: int, highest: int) -> Callable[[str], int]:
    """An argparse type: a whole number in a range."""

    def convert(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = lowest - 1
        if not lowest <= number <= highest:
            raise argparse.ArgumentTypeError(f"{text} is not a whole number from {lowest} to {highest}")
        return number

    return convert


def _whole_or_auto(lowest: int, highest: int) -> Callable[[str], int | str]:
    """An argparse type: a whole number in a range, or auto."""
    whole = _whole(lowest, highest)
    return lambda text: text if text == "auto" else whole(text)


def _separate(options: argparse.Namespace) -> int:
    from unmingle.service.cli.batch import separate_files
    from unmingle.service.output import encoding
    from unmingle.service.schemas import SeparateParameters

    parameters = SeparateParameters(
        num_sources=options.num_sources,
        min_sources=options.min_sources,
        max_sources=options.max_sources,
        seed=options.seed,
        masks=options.masks,
        format=options.format,
        subtype=options.subtype,
        mono=options.mono,
        background="stem" if options.residual and options.background is None else options.background,
        channels="together",
        track=None,
        stem=None,
        model=None,
    )
    encoding.check(parameters.format, parameters.subtype)
    failures = separate_files(options.files, options.output, parameters, options.model, options.device)
    if failures:
        print(f"unmingle: {len(failures)} of {len(options.files)} files failed:", file=sys.stderr)
        for path, reason in failures:
            print(f"  {path}: {reason}", file=sys.stderr)
    return 1 if failures else 0


def _serve(options: argparse.Namespace) -> int:
    from unmingle.service.server import serve

    given = {name: value for name in ("host", "port", "model") if (value := getattr(options, name)) is not None}
    serve(given)
    return 0


def _settings(options: argparse.Namespace) -> int:
    from unmingle.service.settings import listing, read_settings, unknown_in_environment

    for variable, value, description in listing(read_settings()):
        print(f"{variable}={value}\n    {description}")
    for name in unknown_in_environment():
        print(f"unmingle: {name} is no setting and has no effect.", file=sys.stderr)
    return 0


def _hash_key(options: argparse.Namespace) -> int:
    from unmingle.service.http.auth import hashed

    if not (key := sys.stdin.readline().strip()):
        print("unmingle: no key on standard input.", file=sys.stderr)
        return 2
    print(f"{options.name}={hashed(key)}")
    return 0
