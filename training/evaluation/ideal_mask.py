"""The ideal binary mask: what telling the loudest source of every band would give. Axes: (source, sample)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unmingle.model.config import ModelConfig
from unmingle.model.recording import ArrayRecording
from unmingle.model.signal import masks, segments, stft

Samples = NDArray[np.float32]


def separate_ideally(
    sources: Samples, sample_rate: int, config: ModelConfig, mixture: Samples | None = None
) -> Samples:
    """Stems by the ideal binary mask on the bands of a model: every band belongs to the source that is loudest there.

    The labels come from the true sources, and then take the way that a model's own hard masks take: to the bins of
    the recording's own STFT, onto the mixture, back to samples. So this is what the model would reach with perfect
    embeddings and hard masks; soft masks can in principle do better.

    Args:
        sources: (sources, samples), the true ones.
        sample_rate: Hz, theirs.
        config: whose bands, window and hop to use.
        mixture: (samples,), where it is more than the sum of the sources.

    Returns:
        (sources, samples), in the order of the sources; they add up to the mixture.
    """
    heard = [
        np.concatenate(list(segments.heard_magnitude(ArrayRecording(source, sample_rate), config)))
        for source in sources
    ]
    binary = masks.labels_to_masks(np.stack(heard).argmax(0), len(sources))
    grid = masks.Grid.at_rate(sample_rate, config)
    heard_together = stft.analyse(sources.sum(0) if mixture is None else mixture, grid.window, grid.hop)
    shares = masks.regrid(binary, config, grid, len(heard_together))
    return stft.synthesise(shares * heard_together, sources.shape[-1], grid.window, grid.hop)
