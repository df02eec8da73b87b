"""What a model can do, by its configuration alone: known before, and without, its network."""

from __future__ import annotations

import dataclasses

from unmingle.model.clustering import counting
from unmingle.model.config import ModelConfig
from unmingle.model.errors import ParameterError
from unmingle.model.options import Background, Quality, SeparationOptions

UNCOUNTED = 2
"""Sources to find where nobody says how many there are, and the model was not taught to count."""


@dataclasses.dataclass(frozen=True)
class Abilities:
    """Of the model with this configuration.

    Attributes:
        config: of the model.
        refines: whether there is a refiner beside it.
    """

    config: ModelConfig
    refines: bool = False

    def check(self, options: SeparationOptions) -> None:
        """Look whether the model can do what is asked for, before anything is read.

        Raises:
            ParameterError: it cannot count as far as `min_sources`, or there is no refiner.
        """
        self.to_count(options)
        if options.quality == "high" and not self.refines:
            raise ParameterError(
                f"quality=high needs a refiner, and there is none beside the model {self.config.name}; expected "
                "quality=fast."
            )

    @property
    def qualities(self) -> tuple[Quality, ...]:
        """That can be asked for."""
        return ("fast", "high") if self.refines else ("fast",)

    def to_count(self, options: SeparationOptions) -> bool:
        """Whether the sources are to be counted.

        Raises:
            ParameterError: they are, and the model cannot count as far as the fewest there may be.
        """
        taught = self._counts_up_to
        if options.num_sources is None:
            return taught >= options.min_sources
        if options.num_sources == "auto" and taught < options.min_sources:
            raise ParameterError(
                f"The model {self.config.name} counts "
                + (f"up to {taught} sources" if taught else "no sources")
                + f", so min_sources={options.min_sources} cannot be counted; give num_sources, or calibrate the model "
                "with training/calibrate.py."
            )
        return options.num_sources == "auto"

    def background_of(self, options: SeparationOptions) -> Background:
        """What becomes of the background."""
        return options.background or ("stem" if self.config.background_sharpness > 0 else "share")

    def most_stems(self, options: SeparationOptions, channels: int = 1) -> int:
        """How many stems a recording of so many channels may need room for, the background among them."""
        most = min(options.max_sources, max(UNCOUNTED, self._counts_up_to))
        sources = options.num_sources if isinstance(options.num_sources, int) else most
        apart = channels if options.channels == "separate" else 1
        return sources * apart + (self.background_of(options) == "stem")

    @property
    def _counts_up_to(self) -> int:
        return counting.counts_up_to(self.config.count_weights)
