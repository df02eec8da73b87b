"""The `unmingle` command. What a subcommand needs is imported when it runs, so that `--help` answers at once."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TextIO

from unmingle.model.errors import UnmingleError
from unmingle.service.cli.arguments import DESCRIPTION, EXAMPLES, MODEL_HELP, REFINER_HELP, add_separate, whole


class _Stopped(KeyboardInterrupt):
    """A signal other than that of Ctrl-C asks the command to end."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class _Version(argparse.Action):
    """Looks the version up only when it is asked for, which takes a while."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        from unmingle.service.version import version

        print(f"unmingle {version()}")
        parser.exit()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 done, 1 some files failed, 2 nothing could be done."""
    # Its matrices are too small for threads, which would wait for work on the cores that the network uses. NumPy reads
    # this when it is imported, which is later.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for stream in (sys.stdout, sys.stderr):
        _take_any_name(stream)
    options = parser().parse_args(arguments)
    if not getattr(options, "own_signals", False):
        for name in ("SIGTERM", "SIGHUP"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), _stop)
    try:
        return int(options.run(options))
    except UnmingleError as error:
        from unmingle.service.cli.names import shown

        print(f"unmingle: {shown(str(error))}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that nothing more is said at exit
        return 141
    except _Stopped as stopped:
        print("unmingle: stopped.", file=sys.stderr)
        return 128 + stopped.number
    except KeyboardInterrupt:
        print("unmingle: stopped.", file=sys.stderr)
        return 130


def _stop(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough; there is something to clean up
    raise _Stopped(number)


def _take_any_name(stream: TextIO) -> None:
    """Names of files need not be valid in any encoding."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")


def parser() -> argparse.ArgumentParser:
    """What the command can be told."""
    top = argparse.ArgumentParser(
        prog="unmingle",
        description="Separate a recording in which several sounds overlap into each sound on its own.",
        epilog="`unmingle COMMAND --help` has examples.",
    )
    top.add_argument("--version", action=_Version, nargs=0, help="say which version this is")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    separate = commands.add_parser(
        "separate",
        help="separate recordings",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_separate(separate)
    separate.set_defaults(run=_separate)

    info = commands.add_parser(
        "info",
        help="say what a recording is: format, level, how many sounds, what spoils it",
        epilog="example: unmingle info meeting.m4a",
    )
    info.add_argument("files", nargs="+", metavar="RECORDING", help="a file, a folder, or - for standard input")
    info.add_argument("--model", type=Path, metavar="FILE", help=MODEL_HELP)
    info.add_argument("--json", action="store_true", help="a JSON object for each recording")
    info.set_defaults(run=_info)

    models = commands.add_parser("models", help="list the models that come with the package")
    models.add_argument("--json", action="store_true", help="a JSON object for each model")
    models.set_defaults(run=_models)

    serve = commands.add_parser(
        "serve",
        help="start the REST service",
        description="Start the REST service. Further settings are UNMINGLE_* environment variables.",
    )
    serve.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    serve.add_argument("--port", type=whole(0, 65535), help="port to listen on (default 8000)")
    serve.add_argument("--model", type=Path, metavar="FILE", help=MODEL_HELP)
    serve.add_argument("--refiner", type=Path, metavar="FILE", help=REFINER_HELP)
    serve.add_argument(
        "--ray", action="store_true", help="serve through Ray Serve, on the cluster UNMINGLE_RAY_ADDRESS"
    )
    serve.set_defaults(run=_serve, own_signals=True)

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

    completion = commands.add_parser(
        "completion",
        help="print a script that completes commands and options",
        epilog='examples: eval "$(unmingle completion bash)"; unmingle completion fish | source',
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))
    completion.set_defaults(run=_completion)
    return top


def _separate(options: argparse.Namespace) -> int:
    from unmingle.service.cli import batch, inputs, places, wishes
    from unmingle.service.output.stems import ACTIVITY
    from unmingle.service.schemas import SeparateParameters

    parameters = SeparateParameters.model_validate(
        {
            **{name: getattr(options, name) for name in ("num_sources", "min_sources", "max_sources", "seed", "masks")},
            **{name: getattr(options, name) for name in ("format", "subtype", "mono", "channels", "track")},
            **{name: getattr(options, name) for name in ("spatial", "enhance", "quality")},
            "background": "stem" if options.residual and options.background is None else options.background,
        }
    )
    wished = wishes.Wishes(
        start_s=options.start,
        end_s=options.end,
        only=options.only,
        normalise=options.normalise,
        gate=options.gate,
        activity=tuple(kind for kind in ("labels", "srt", "csv") if getattr(options, kind)),
        plot=options.plot,
        skip_existing=options.skip_existing,
        jobs=options.jobs,
        quiet=options.quiet,
        verbose=options.verbose,
        as_json=options.json,
    )
    wishes.check(wished, parameters)
    with tempfile.TemporaryDirectory(prefix="unmingle-") as scratch:
        files = inputs.find(options.files, options.pattern, options.output, Path(scratch))
        certain = (f"stem_{options.only or 1}.{options.format}", ACTIVITY)
        targets = places.places(files, options.output, options.name, options.flat, certain)
        if options.server:
            from unmingle.service.cli.remote import by_server

            separating = by_server(options.server, os.environ.get("UNMINGLE_API_KEY"), parameters, wished)
        else:
            from unmingle.service.cli.local import here

            separating = here(options.model, options.refiner, options.device, options.threads, wished, parameters)
        return 1 if batch.separate_files(files, targets, separating, wished) else 0


def _info(options: argparse.Namespace) -> int:
    from unmingle.service.cli import inputs, listing

    with tempfile.TemporaryDirectory(prefix="unmingle-") as scratch:
        files = inputs.find(options.files, None, Path(scratch), Path(scratch))
        return 1 if listing.info(files, options.model, options.json) else 0


def _models(options: argparse.Namespace) -> int:
    from unmingle.service.cli import listing

    return listing.models(options.json)


def _completion(options: argparse.Namespace) -> int:
    from unmingle.service.cli.completion import script

    print(script(parser(), options.shell), end="")
    return 0


def _serve(options: argparse.Namespace) -> int:
    from unmingle.service.cli.serve import serve

    given = {name: getattr(options, name) for name in ("host", "port", "model", "refiner")}
    serve({name: value for name, value in given.items() if value is not None}, through_ray=options.ray)
    return 0


def _settings(options: argparse.Namespace) -> int:
    from unmingle.service.settings import listing, read_settings, unknown_in_environment

    for variable, value, description in listing(read_settings()):
        print(f"{variable}={value}\n    {description}")
    for name in unknown_in_environment():
        print(f"unmingle: {name} is not a setting and has no effect.", file=sys.stderr)
    return 0


def _hash_key(options: argparse.Namespace) -> int:
    from unmingle.service.http.auth import hashed

    if not (key := sys.stdin.readline().strip()):
        print("unmingle: no key on standard input.", file=sys.stderr)
        return 2
    print(f"{options.name}={hashed(key)}")
    return 0
