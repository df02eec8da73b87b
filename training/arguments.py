"""The command line of train.py -> TrainConfig. Every field of the configurations is an option of the same name."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from unmingle.model.config import TAUGHT_LATER, ModelConfig
from unmingle.training.augment.conditions import Conditions
from unmingle.training.errors import TrainingError
from unmingle.training.mixtures import MixtureConfig
from unmingle.training.train_config import SMALL_NETWORK, TrainConfig

Part = TrainConfig | MixtureConfig | Conditions | ModelConfig

MAY_CHANGE = ("data", "device", "threads", "cache")
"""What a resumed run may be given anew, because machines differ in it."""
_NO_FIELDS = ("runs", "resume", "extend", "profile", "wandb", "config", "set")
"""Options that are no fields of a configuration."""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What the user asked for.

    Attributes:
        runs: folder of all runs.
        resume: the run to go on with; empty for a new one.
        profile: whether to say where the time of steps went.
        wandb: project of Weights & Biases that the run is shown in; empty for none.
        extend: with `resume`, so many more steps or minutes than the run was to have.
        given: value of every option that was given, by its name.
    """

    runs: Path
    resume: str
    extend: float
    profile: bool
    wandb: str
    given: dict[str, Any]


def parse(argv: Sequence[str] | None = None) -> Arguments:
    """Read the command line; ends the process with usage on errors, as argparse does."""
    parser = argparse.ArgumentParser(
        prog="training/train.py",
        description="Train an embedding network and export it for `unmingle separate --model`. Without arguments: a "
        "small network on the project's examples, in less than five minutes on two cores.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("--name", help="of the run and its network (default: run-1, run-2, ...)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder for runs (default: runs)")
    parser.add_argument("--resume", default="", metavar="RUN", help="go on with a run, by name or folder")
    parser.add_argument(
        "--extend",
        type=float,
        default=0.0,
        metavar="MORE",
        help="with --resume: go on for so many more steps (of a run with --steps) or minutes than it was to have",
    )
    parser.add_argument("--profile", action="store_true", help="say in the end where the time of the steps went")
    parser.add_argument("--wandb", default="", metavar="PROJECT", help="show the run in Weights & Biases, too")
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        default=None,
        help="options of an earlier run, its config.json; others go before them",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="an option by its name in config.json"
    )
    _add_fields(parser.add_argument_group("training"), TrainConfig())
    _add_fields(parser.add_argument_group("mixtures", "explained in training/mixtures.py"), MixtureConfig())
    _add_fields(parser.add_argument_group("conditions", "explained in training/augment/conditions.py"), Conditions())
    _add_fields(parser.add_argument_group("network", "explained in model/config.py"), SMALL_NETWORK)
    given = vars(parser.parse_args(argv))
    own = {name: given.pop(name, None) for name in _NO_FIELDS}
    assigned = vars(parser.parse_args([_as_option(parser, text) for text in own["set"]]))
    given = {**{k: v for k, v in assigned.items() if k not in _NO_FIELDS}, **given}
    if own["config"]:
        given = _over(_options_of(own["config"]), given)
    return Arguments(own["runs"], own["resume"], own["extend"], own["profile"], own["wandb"], given)


def _as_option(parser: argparse.ArgumentParser, assignment: str) -> str:
    """`conditions.room_chance=0.3` or `room_chance=0.3` -> `--room-chance=0.3`."""
    name, equals, value = assignment.partition("=")
    if not equals:
        parser.error(f"--set {assignment}: expected NAME=VALUE, for example --set batch=16")
    return f"--{name.rsplit('.', 1)[-1].replace('_', '-')}={value}"


def _options_of(path: Path) -> dict[str, Any]:
    """Every option of an earlier run but its name.

    Raises:
        TrainingError: the file is not a run's config.json.
    """
    try:
        config = TrainConfig.from_json(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"--config {path}: expected the config.json of a run ({error}).") from error
    parts = (config, config.mixtures, config.conditions, config.network)
    fields = {f.name: getattr(part, f.name) for part in parts for f in dataclasses.fields(part)}
    left_out = {"name", *TAUGHT_LATER, "mixtures", "conditions", "network", "minutes" if config.steps else "steps"}
    return {name: value for name, value in fields.items() if name not in left_out}


def _over(options: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """What was given goes before `options`; a run ends by steps or by minutes, whichever was given."""
    other = {"steps": "minutes", "minutes": "steps"}
    beaten = {other[name] for name in given if name in other}
    return {**{name: value for name, value in options.items() if name not in beaten}, **given}


def _add_fields(group: Any, defaults: Part) -> None:
    hints = get_type_hints(type(defaults))
    for field in dataclasses.fields(defaults):
        hint, default = hints[field.name], getattr(defaults, field.name)
        if dataclasses.is_dataclass(hint) or field.name in ("name", *TAUGHT_LATER):
            continue
        choices = get_args(hint) if get_origin(hint) is Literal else None
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else default if default != "" else "none"
        group.add_argument(
            "--" + field.name.replace("_", "-"),
            type=_numbers if isinstance(default, tuple) else None if choices else hint,
            choices=choices,
            metavar=None if choices else field.name.rsplit("_", 1)[-1].upper(),
            help=f"{field.metadata.get('help', '')} (default: {shown})".strip().replace("%", "%%"),
        )


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def new_config(given: dict[str, Any], start: ModelConfig) -> TrainConfig:
    """Given options over the defaults, those of the network over `start`."""
    if "steps" in given and "minutes" in given:
        raise TrainingError("Both --steps and --minutes were given: a run ends by one of them.")
    return TrainConfig(
        **_those_of(TrainConfig, given),
        mixtures=MixtureConfig(**_those_of(MixtureConfig, given)),
        conditions=Conditions(**_those_of(Conditions, given)),
        network=dataclasses.replace(start, **_those_of(ModelConfig, given)),
    )


def resumed_config(given: dict[str, Any], saved: TrainConfig) -> TrainConfig:
    """The configuration of a run to go on with.

    Raises:
        TrainingError: an option was given that would change the run.
    """
    parts = (saved, saved.mixtures, saved.conditions, saved.network)
    had = {name: value for part in parts for name, value in dataclasses.asdict(part).items()}
    changed = [
        f"--{name.replace('_', '-')} is {value}, was {had[name]}"
        for name, value in given.items()
        if name not in MAY_CHANGE and value != had[name]
    ]
    if changed:
        raise TrainingError(
            f"A resumed run goes on as it began, but {'; '.join(changed)}. Leave that out, or start a new run from "
            f"these weights with --init {saved.network.name}."
        )
    return dataclasses.replace(saved, **{k: v for k, v in given.items() if k in MAY_CHANGE})


def extended_config(config: TrainConfig, more: float) -> TrainConfig:
    """The configuration of a longer run; validations stay as far apart as they were.

    Args:
        more: steps, of a run that ends by steps; else minutes.

    Raises:
        TrainingError: not above 0, or not a whole number of steps.
    """
    if more <= 0 or (config.steps and more != round(more)):
        unit = "a whole number of steps" if config.steps else "minutes"
        raise TrainingError(f"--extend is {more:g}; expected {unit}, above 0, by which the run gets longer.")
    had = config.steps or config.minutes
    validations = max(config.validations, round(config.validations * (had + more) / had))
    if config.steps:
        return dataclasses.replace(config, steps=config.steps + round(more), validations=validations)
    return dataclasses.replace(config, minutes=config.minutes + more, validations=validations)


def _those_of(kind: type[Part], given: dict[str, Any]) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(kind)}
    return {name: value for name, value in given.items() if name in names}
