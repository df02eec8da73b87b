# ruff: noqa: RUF009 (an option is a dataclasses.field)
"""TrainConfig: everything that decides how one run goes. It is saved as config.json in the run's folder."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Literal

from unmingle.model.config import TAUGHT_LATER, ModelConfig
from unmingle.model.errors import ModelError
from unmingle.training.augment.conditions import Conditions
from unmingle.training.errors import TrainingError
from unmingle.training.mixtures import MixtureConfig, Weighting
from unmingle.training.objectives import parse_objective

EXAMPLES = Path(__file__).resolve().parent.parent / "examples" / "training"

SMALL_NETWORK = ModelConfig(layers=2, hidden=128, embedding_dim=10)
"""Learns something to be heard in five minutes on two cores; what we ship is larger."""

DEFAULT_MIXTURES = MixtureConfig()
DEFAULT_CONDITIONS = Conditions()

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "float32", "float16", "bfloat16"]


def _option(default: Any, help_text: str) -> Any:
    """A field that is also an option of the command line."""
    return dataclasses.field(default=default, metadata={"help": help_text})


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """One run. The run's name is that of its network, `network.name`."""

    data: str = _option(
        str(EXAMPLES), "corpus: a folder per speaker, a folder with a metadata.csv, or shards of training/prepare.py"
    )
    objective: str = _option(
        "affinity",
        "affinity, whitened_kmeans, attractor, kmeans_mask or background, or a sum such as whitened_kmeans+2*attractor",
    )
    weighting: Weighting = _option("magnitude", "what a band weighs in the objective")
    init: str = _option("", "start from another run (the next stage), or from the mean of several, with commas between")
    minutes: float = _option(3.5, "train for this long; the learning rate follows")
    steps: int = _option(0, "train for this many steps instead (then a run can be repeated exactly)")
    frames: int = _option(100, "frames of a training mixture, 8 ms each")
    batch: int = _option(8, "mixtures per batch; a step learns from ACCUMULATE of them")
    accumulate: int = _option(
        1, "batches per step, which several processes share; under torchrun, by default one for each process"
    )
    learning_rate: float = _option(3e-3, "of Adam, at its highest; 1e-3 suits larger networks")
    clip_percentile: float = _option(10.0, "clip gradients at this percentile of the norms so far; 100 is never")
    loss_share: float = _option(0.5, "part of the bands, the loudest, that the objective is computed on")
    rooms: int = _option(200, "how many rooms to make, where some mixtures are heard in rooms")
    cache: str = _option("", "folder for decoded recordings, to be kept for the next time; default: RUNS/.decoded")
    ema_decay: float = _option(0.0, "also keep a moving average of the weights (0.999, say), exported if it is better")
    warm_up: float = _option(100.0, "steps in which the learning rate rises; below 1, the part of the run")
    dropout: float = _option(0.0, "chance to drop a cell's output, after each layer")
    seed: int = _option(0, "decides weights, mixtures and dropout")
    device: Device = _option("auto", "auto is cuda where there is one")
    threads: int = _option(0, "CPU threads; 0 is all cores this process may use")
    precision: Precision = _option("auto", "of the network's arithmetic; auto is what is fastest")
    validations: int = _option(6, "how often to measure SI-SDRi, spread evenly over the run")
    validation_mixtures: int = _option(16, "how many mixtures to measure it on, always the same ones")
    validation_list: str = _option(
        "", "measure on the mixtures of this list instead, a CSV as training/evaluate.py takes"
    )
    patience: int = _option(0, "end the run after so many validations without a better one; 0 is never")
    mixtures: MixtureConfig = DEFAULT_MIXTURES
    conditions: Conditions = DEFAULT_CONDITIONS
    network: ModelConfig = SMALL_NETWORK

    def __post_init__(self) -> None:
        problems = [
            f"{name} must be at least {least}"
            for name, least in (
                ("frames", 1),
                ("batch", 1),
                ("accumulate", 1),
                ("steps", 0),
                ("threads", 0),
                ("validations", 1),
                ("patience", 0),
            )
            if getattr(self, name) < least
        ]
        if self.frames % self.network.frames_per_step:
            problems.append(f"frames must be a multiple of frames_per_step ({self.network.frames_per_step})")
        if self.batch % self.mixtures.pieces:
            problems.append(f"batch must be a multiple of pieces ({self.mixtures.pieces})")
        if self.warm_up < 0 or not 0 <= self.ema_decay < 1:
            problems.append("warm_up must be at least 0, ema_decay 0 to below 1")
        if self.minutes <= 0 or self.learning_rate <= 0:
            problems.append("minutes and learning_rate must be above 0")
        if not 0 <= self.clip_percentile <= 100 or not 0 <= self.dropout < 1:
            problems.append("clip_percentile must be 0 to 100, dropout 0 to below 1")
        if not 0 < self.loss_share <= 1 or self.rooms < 1:
            problems.append("loss_share must be above 0 and at most 1, rooms at least 1")
        if "background" in self.objective and not self.network.background_sharpness:
            problems.append("the objective 'background' needs a background_sharpness above 0, for example 5")
        if self.validation_mixtures < 1:
            problems.append("validation_mixtures must be at least 1")
        if problems:
            raise TrainingError("This configuration cannot be trained with: " + "; ".join(problems) + ".")
        parse_objective(self.objective)

    @property
    def seconds_per_step(self) -> float:
        """Seconds of mixture that one step learns from."""
        return self.accumulate * self.batch * self.frames * self.network.hop / self.network.sample_rate

    def to_json(self) -> str:
        """As `from_json` reads it."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> TrainConfig:
        """Read what `to_json` wrote.

        Raises:
            TrainingError: not JSON, or not with the fields that this version knows.
        """
        try:
            fields: dict[str, Any] = json.loads(text)
            mixtures = fields.pop("mixtures")
            mixtures["num_sources"] = tuple(mixtures["num_sources"])
            known = fields.pop("network").items()
            network = ModelConfig(**{name: value for name, value in known if name not in TAUGHT_LATER})
            fields.setdefault("loss_share", 1.0)  # runs from before there was a choice took all bands
            # Runs from before there were any, or by their earlier name.
            conditions = Conditions(**fields.pop("conditions", fields.pop("surroundings", {})))
            return cls(**fields, mixtures=MixtureConfig(**mixtures), conditions=conditions, network=network)
        except (ValueError, KeyError, TypeError, AttributeError, ModelError) as error:
            raise TrainingError(
                f"This is not the configuration of a run that this version of the trainer knows: {error}. "
                "Start a new run; --init takes over weights."
            ) from error
