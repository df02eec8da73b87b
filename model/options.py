"""SeparationOptions: how to separate a recording, wherever that is asked: Python, command line, REST."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

from unmingle.model.errors import ParameterError

MaskKind = Literal["soft", "hard"]
NumSources = int | Literal["auto"]
Background = Literal["stem", "share", "drop"]
Channels = Literal["keep", "mono", "reference", "separate"]
Spatial = Literal["auto", "off"]
Quality = Literal["fast", "high"]

MAX_SOURCES = 8


@dataclasses.dataclass(frozen=True)
class SeparationOptions:
    """How to separate a recording.

    Attributes:
        num_sources: 1 to 8, or "auto" to have them counted; None counts them if the model can, else it is 2. The
            background is not counted.
        min_sources, max_sources: bounds of counting. A model counts no further than it was taught to.
        seed: decides the starts of the clustering; the same seed gives the same stems.
        mask_kind: "soft" masks sound better, "hard" ones are the paper's.
        background: what becomes of noise, music under speech and hum. "stem" gives them a stem of their own; stems and
            background add up to the recording. "share" leaves them in the stems, which add up to the recording.
            "drop" leaves them out. None is "stem" with a model that was taught what background is, else "share".
        channels: "keep" gives every stem all channels of the recording; "mono" gives the mean of them; "reference" the
            one with the least reverberation and noise. "separate" separates each channel on its own: for recordings
            with a person on each channel, and for channels that cancel. A stem is then silent in all channels but its
            own, and stems are numbered by channel. "together" is the former name of "keep".
        spatial: "auto" uses where sounds come from, where channels differ, beside what they sound like. "off" masks
            all channels alike. Recordings with one channel, hard masks and channels="separate" never use it.
        enhance: where channels are used together, clean the stems further; they then no longer add up to the recording.
        quality: "fast" uses the masks of the clustering; "high" has a refiner make them better, where one was loaded,
            which takes more than twice the time. Only soft masks can be refined.

    Raises:
        ParameterError: a value is out of range, or not one of those above.
    """

    num_sources: NumSources | None = None
    min_sources: int = 1
    max_sources: int = MAX_SOURCES
    seed: int = 0
    mask_kind: MaskKind = "soft"
    background: Background | None = None
    channels: Channels = "keep"
    spatial: Spatial = "auto"
    enhance: bool = False
    quality: Quality = "fast"

    def __post_init__(self) -> None:
        if str(self.channels) == "together":
            object.__setattr__(self, "channels", "keep")
        number = self.num_sources
        if number not in (None, "auto") and not (_is_int(number) and 1 <= int(number) <= MAX_SOURCES):
            raise ParameterError(f'num_sources is {number!r}; expected 1 to {MAX_SOURCES}, or "auto".')
        if not 1 <= self.min_sources <= self.max_sources <= MAX_SOURCES:
            raise ParameterError(
                f"min_sources is {self.min_sources} and max_sources is {self.max_sources}; expected 1 to "
                f"{MAX_SOURCES}, and min_sources not above max_sources."
            )
        if not _is_int(self.seed) or self.seed < 0:
            raise ParameterError(f"seed is {self.seed!r}; expected a whole number, 0 or above.")
        for name, value, choices in (
            ("mask_kind", self.mask_kind, get_args(MaskKind)),
            ("channels", self.channels, get_args(Channels)),
            ("spatial", self.spatial, get_args(Spatial)),
            ("enhance", self.enhance, (False, True)),
            ("quality", self.quality, get_args(Quality)),
            ("background", self.background, (None, *get_args(Background))),
        ):
            if value not in choices:
                raise ParameterError(f"{name} is {value!r}; expected one of {', '.join(map(repr, choices))}.")
        if self.quality == "high" and self.mask_kind == "hard":
            raise ParameterError("quality is 'high', and hard masks are not refined; expected soft ones, or 'fast'.")

    def channels_of_stems(self, channels: int) -> int:
        """How many channels stems of a recording with so many have."""
        return 1 if self.channels in ("mono", "reference") else channels


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
