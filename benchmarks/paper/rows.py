"""The rows of the table: which network is trained on what, with which objective."""

from __future__ import annotations

import dataclasses

from benchmarks.paper import direct
from model.config import ModelConfig
from training.mixtures import MixtureConfig
from training.objectives import Objective, parse_objective
from training.train_config import TrainConfig

SAMPLE_RATE = 8_000
FRAMES = 100
"""Of a training mixture, and of a segment that is clustered alone: the paper's number, at twice its hop."""
BATCH = 8
TWO, TWO_AND_THREE = (0.0, 1.0), (0.0, 0.5, 0.5)


@dataclasses.dataclass(frozen=True)
class Row:
    """One network.

    Attributes:
        name: of its folder.
        title: in the table.
        dim: what the network gives for each bin: coordinates of an embedding, or masks.
        num_sources: chances of 1, 2, 3... sources in training.
        objective: what it minimises.
        is_direct: its outputs are masks, one per source, and there is nothing to cluster.
        lists: what it is tested on, by the list's name.
    """

    name: str
    title: str
    dim: int
    objective: Objective
    num_sources: tuple[float, ...] = TWO
    is_direct: bool = False
    lists: tuple[str, ...] = ("valid_closed_2mix", "test_2mix")

    def config(self, data: str, hours: float, seed: int) -> TrainConfig:
        """All rows alike but for what the row is about; `hours` of mixtures are heard.

        Its own `objective` is not used: that of the row may be one that the trainer does not offer.
        """
        network = ModelConfig(
            name=self.name,
            sample_rate=SAMPLE_RATE,
            window=256,
            hop=128,
            embedding_dim=self.dim,
            layers=2,
            hidden=128,
            frames_per_step=2,
            mask_sharpness=direct.SHARPNESS,
        )
        config = TrainConfig(
            data=data,
            weighting="magnitude",
            steps=1,
            frames=FRAMES,
            batch=BATCH,
            learning_rate=3e-3,
            seed=seed,
            device="cpu",
            precision="float32",
            mixtures=MixtureConfig(self.num_sources, sound_chance=0.0),
            network=network,
        )
        return dataclasses.replace(config, steps=max(1, round(hours * 3600.0 / config.seconds_per_step)))


_AFFINITY = parse_objective("affinity")
_THREE = ("valid_closed_2mix", "test_2mix", "test_3mix")

ROWS = (
    Row("dc-20", "deep clustering, D = 20", 20, _AFFINITY, lists=_THREE),
    Row("fixed-order", "masks, fixed order", 2, [(1.0, direct.fixed_order)], is_direct=True),
    Row("pit", "masks, permutation-invariant", 2, [(1.0, direct.permutation_invariant)], is_direct=True),
    Row("dc-20-two-and-three", "deep clustering, D = 20, two and three", 20, _AFFINITY, TWO_AND_THREE, lists=_THREE),
    Row("dc-40", "deep clustering, D = 40", 40, _AFFINITY),
    Row("dc-10", "deep clustering, D = 10", 10, _AFFINITY),
    Row("dc-5", "deep clustering, D = 5", 5, _AFFINITY),
)
"""In the order in which they are trained: what the others are compared with comes first."""

MAIN = ROWS[0]
"""Its embeddings are what normalised cuts are tried on, and its lists are all there are."""
