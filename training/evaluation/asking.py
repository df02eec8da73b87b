"""How a separator is asked for what is scored."""

from __future__ import annotations

from unmingle.model.options import MaskKind, NumSources, SeparationOptions
from unmingle.model.separator import Separator

SEED = 0


def options(separator: Separator, num_sources: NumSources | None, mask_kind: MaskKind = "soft") -> SeparationOptions:
    """Soft masks go through the refiner, where there is one."""
    refined = separator.abilities.refines and mask_kind == "soft"
    return SeparationOptions(num_sources, seed=SEED, mask_kind=mask_kind, quality="high" if refined else "fast")
