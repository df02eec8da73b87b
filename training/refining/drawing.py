"""A corpus -> batches of examples for a refiner, on the fly, seeded."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unmingle.model.network.trunk import EmbeddingNet
from unmingle.training.augment.scene import make_scene
from unmingle.training.augment.surroundings import find_surroundings
from unmingle.training.corpus import Corpus
from unmingle.training.mixtures import MixtureSampler, samples_for
from unmingle.training.refining.examples import Examples, make_examples
from unmingle.training.refining.refine_config import RefineConfig


class ExampleSource:
    """Draws batches of examples; two random generators are all the state there is."""

    def __init__(
        self, config: RefineConfig, corpus: Corpus, trunk: EmbeddingNet, babblers: Corpus, cache: Path, seed: int
    ) -> None:
        """Args:
        babblers: whose voices make babble.
        cache: folder for decoded backgrounds.
        """
        self._config, self._trunk = config, trunk
        self._generator = torch.Generator().manual_seed(seed)
        self._rng = np.random.default_rng(seed)
        most = len(config.mixtures.num_sources)
        # All mixtures of a batch have the same number of sources, so that nothing is padded.
        self._samplers = [
            MixtureSampler(
                corpus,
                dataclasses.replace(config.mixtures, num_sources=tuple(float(n == last) for n in range(last + 1))),
                self._generator,
            )
            for last in range(most)
        ]
        self._surroundings = find_surroundings(
            config.conditions,
            Path(config.data),
            babblers,
            most,
            self._generator,
            config.rooms,
            config.seed,
            config.mixtures.pieces,
            cache,
        )

    def draw(self) -> Examples:
        """The next batch."""
        config, pieces = self._config, self._config.mixtures.pieces
        chances = torch.tensor(config.mixtures.num_sources)
        sampler = self._samplers[int(torch.multinomial(chances, 1, generator=self._generator))]
        samples, rate = samples_for(config.frames, self._trunk.config), sampler.corpus.sample_rate
        sources = sampler.sources(sampler.draw(config.batch, samples), samples)
        scene = make_scene(sources, config.conditions, self._surroundings, pieces, rate, self._generator)
        return make_examples(scene, self._trunk, pieces, config.found_chance, self._rng)

    def state(self) -> dict[str, Tensor | str]:
        """As `restore` takes it."""
        return {"generator": self._generator.get_state(), "rng": json.dumps(self._rng.bit_generator.state)}

    def restore(self, state: dict[str, Tensor | str]) -> None:
        """Go on from where another source was."""
        generator = state["generator"]
        if isinstance(generator, Tensor):
            self._generator.set_state(generator)
        self._rng.bit_generator.state = json.loads(str(state["rng"]))
