"""Conditions: how often training mixtures are heard under which conditions."""

from __future__ import annotations

import dataclasses

from unmingle.training.errors import TrainingError


@dataclasses.dataclass(frozen=True)
class Conditions:
    """The chance of each condition, 0 to 1, for one mixture; the pieces of a mixture share their conditions.

    All are 0 by default: clean voices that talk all the time.
    """

    talk_chance: float = 0.0
    """Chance that voices pause and take turns, instead of all talking from beginning to end (augment/turns.py)."""
    room_chance: float = 0.0
    """Chance of a room: every voice has a place of its own in it, and the echo belongs to the voice
    (augment/rooms.py)."""
    noise_chance: float = 0.0
    """Chance of a background: noise, music, hum or babble (augment/backgrounds.py)."""
    loud_noise_db: float = -5.0
    """Signal-to-noise ratio of the loudest background, in dB."""
    soft_noise_db: float = 30.0
    """Signal-to-noise ratio of the softest background, in dB."""
    telephone_chance: float = 0.0
    """Chance of a telephone line: 300 to 3400 Hz, give or take, and half of the time mu-law or A-law
    (augment/channels.py)."""
    band_chance: float = 0.0
    """Chance of milder band limits, as of cheap microphones and low sample rates."""
    equaliser_chance: float = 0.0
    """Chance of an uneven frequency response, by up to 12 dB."""
    gain_control_chance: float = 0.0
    """Chance of automatic gain control."""
    clipping_chance: float = 0.0
    """Chance of a clipped recording."""
    codec_chance: float = 0.0
    """Chance of a real codec at a low rate (AMR, Opus, MP3); needs PyAV (augment/codecs.py)."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_chance") and not 0 <= value <= 1:
                raise TrainingError(f"{field.name} is {value}; expected a chance from 0 to 1.")
        if self.loud_noise_db > self.soft_noise_db:
            raise TrainingError(
                f"loud_noise_db is {self.loud_noise_db} and soft_noise_db is {self.soft_noise_db}; expected the lower "
                "signal-to-noise ratio first."
            )
