# ruff: noqa: RUF009 (the parts are frozen)
"""RefineConfig: everything that decides how a refiner is trained. It is saved as config.json in the run's folder."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from unmingle.training.augment.conditions import Conditions
from unmingle.training.errors import TrainingError
from unmingle.training.mixtures import MixtureConfig
from unmingle.training.train_config import Device


@dataclasses.dataclass(frozen=True)
class RefineConfig:
    """One run.

    Attributes:
        data: folder of the corpus.
        trunk: checkpoint of the embedding network, which stays as it is.
        listener: checkpoint of the network inside the refiner that listens once more; it stays as it is, too.
        init: weights of another run to start from.
        mask_sharpness: of the separator that the refiner will work in.
        minutes: train for this long; the learning rate follows.
        steps: train for this many steps instead.
        frames: of a piece of a mixture.
        batch: pieces per step, a multiple of `mixtures.pieces`.
        learning_rate: of Adam, at its highest.
        ema_decay: of the moving average of the weights, which is what is exported.
        found_chance: chance that the background is taken apart, in mixtures without and with one.
        layers: of the refiner, after its listener.
        validation_batches: of mixtures of held-out speakers, under the same conditions.
    """

    data: str
    trunk: str
    listener: str
    init: str = ""
    mask_sharpness: float = 4.0
    minutes: float = 60.0
    steps: int = 0
    frames: int = 200
    batch: int = 8
    learning_rate: float = 1e-3
    clip_percentile: float = 20.0
    ema_decay: float = 0.995
    warm_up: float = 50.0
    seed: int = 0
    threads: int = 0
    device: Device = "auto"
    rooms: int = 200
    cache: str = ""
    found_chance: tuple[float, float] = (0.25, 0.95)
    layers: int = 1
    validations: int = 6
    validation_batches: int = 8
    mixtures: MixtureConfig = MixtureConfig(pieces=2)
    conditions: Conditions = Conditions()

    def __post_init__(self) -> None:
        if self.batch < 1 or self.batch % self.mixtures.pieces:
            raise TrainingError(f"batch is {self.batch}; expected a multiple of pieces ({self.mixtures.pieces}).")
        if self.minutes <= 0 or self.steps < 0 or self.frames < 1 or self.learning_rate <= 0:
            raise TrainingError("Expected minutes, frames and learning_rate above 0, and steps of 0 or more.")
        if not 0 <= self.ema_decay < 1:
            raise TrainingError(f"ema_decay is {self.ema_decay}; expected 0 to below 1.")

    def of_speech(self) -> RefineConfig:
        """The same without sounds that are not speech, of which there are none to validate on."""
        return dataclasses.replace(self, mixtures=dataclasses.replace(self.mixtures, sound_chance=0.0))

    def to_json(self) -> str:
        """As `from_json` reads it."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> RefineConfig:
        """Read what `to_json` wrote."""
        return cls.from_fields(json.loads(text))

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> RefineConfig:
        """From the fields of a recipe or of a saved configuration.

        Raises:
            TrainingError: fields that there are not, or values that they cannot have.
        """
        fields = dict(fields)
        try:
            mixtures, conditions = dict(fields.pop("mixtures", {})), fields.pop("conditions", {})
            if "num_sources" in mixtures:
                mixtures["num_sources"] = tuple(map(float, mixtures["num_sources"]))
            if "found_chance" in fields:
                fields["found_chance"] = tuple(fields["found_chance"])
            return cls(mixtures=MixtureConfig(**mixtures), conditions=Conditions(**conditions), **fields)
        except (TypeError, ValueError) as error:
            raise TrainingError(f"This is not the configuration of a refiner's run: {error}.") from error
