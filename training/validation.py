"""How well the network separates speakers that it does not learn from, by the path that users take."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from unmingle.model.config import ModelConfig
from unmingle.model.embedding.embedder import pad_frames
from unmingle.model.metrics import si_sdr_improvement_db
from unmingle.model.network.trunk import EmbeddingNet
from unmingle.model.separator import Separator
from unmingle.training.corpus import Corpus
from unmingle.training.mixtures import MixtureConfig, MixtureSampler

SECONDS = 4.0
SEED = 20160325
"""The same in every run, so that runs can be compared."""


class TorchEmbedder:
    """A network in training behind the interface `Embedder`, so that the Separator can use it."""

    segments_at_once = 1

    def __init__(self, network: EmbeddingNet) -> None:
        self.network = network
        self.config: ModelConfig = network.config

    def embed(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(segments, frames, bands) -> unit-norm (segments, frames, bands, dim), in float32 and without dropout."""
        if 0 in features.shape:
            return np.zeros((*features.shape, self.config.embedding_dim), np.float32)
        padded = torch.from_numpy(np.ascontiguousarray(pad_frames(features, self.config)))
        was_training = self.network.training
        self.network.eval()
        with torch.no_grad():
            embeddings = self.network(padded.to(self.network.mean.device))
        self.network.train(was_training)
        found: NDArray[np.float32] = embeddings[:, : features.shape[1]].cpu().numpy()
        return found


class Validation:
    """A fixed set of mixtures of two held-out speakers, 0 to 5 dB apart."""

    def __init__(self, corpus: Corpus, mixtures: int) -> None:
        samples = round(SECONDS * corpus.sample_rate)
        generator = torch.Generator().manual_seed(SEED)
        sampler = MixtureSampler(corpus, MixtureConfig(num_sources=(0.0, 1.0), sound_chance=0.0), generator)
        self._sample_rate = corpus.sample_rate
        self._sources: NDArray[np.float32] = sampler.sources(sampler.draw(mixtures, samples), samples).numpy()

    def si_sdr_improvement_db(self, network: EmbeddingNet) -> float:
        """Mean over all sources of all mixtures."""
        separator = Separator(TorchEmbedder(network))
        scores = []
        for sources in self._sources:
            mixture = sources.sum(0)
            stems = separator.separate(mixture, self._sample_rate, len(sources)).stems
            scores.append(si_sdr_improvement_db(stems, sources, mixture))
        # A piece of pure silence has no SI-SDR.
        return float(np.nanmean(scores))
