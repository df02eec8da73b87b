"""The rows of the table: which network is trained on what, with which objective."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from benchmarks.paper import direct, two_heads
from benchmarks.paper.heads import Activation, PaperNet
from unmingle.model.config import ModelConfig
from unmingle.training.mixtures import MixtureConfig, Weighting
from unmingle.training.objectives import Objective, parse_objective
from unmingle.training.train_config import Precision, TrainConfig

SAMPLE_RATE = 8_000
FRAMES = 100
"""Of a training mixture, and of a segment that is clustered alone: the paper's number, at twice its hop."""
BATCH = 8
Kind = Literal["embeddings", "masks", "both"]
TWO, TWO_AND_THREE = (0.0, 1.0), (0.0, 0.5, 0.5)


@dataclasses.dataclass(frozen=True)
class Row:
    """One network.

    Attributes:
        name: of its folder.
        title: in the table.
        dim: numbers that the network gives for each bin.
        num_sources: chances of 1, 2, 3... sources in training.
        objective: what it minimises.
        kind: what the numbers are: coordinates of an embedding; masks, with nothing to cluster; or first the one, then
            the other.
        weighting: what a bin weighs in the objective.
        after: the row whose network this one starts from; empty for random weights.
        share: of the hours of mixtures.
        learning_rate: the highest.
        sharpness: of the masks in the objective.
        hidden: cells of each layer and direction.
        activation, unit_norm: of the embeddings.
        speed_range: voices are played faster or slower by up to this fraction in training.
        precision: of the network's arithmetic in training.
        lists: what it is tested on, by the list's name.
    """

    name: str
    title: str
    dim: int
    objective: Objective
    num_sources: tuple[float, ...] = TWO
    kind: Kind = "embeddings"
    weighting: Weighting = "magnitude"
    after: str = ""
    share: float = 1.0
    learning_rate: float = 3e-3
    sharpness: float = direct.SHARPNESS
    hidden: int = 128
    activation: Activation = "none"
    unit_norm: bool = True
    speed_range: float = 0.0
    precision: Precision = "float32"
    lists: tuple[str, ...] = ("valid_closed_2mix", "test_2mix")

    def config(self, data: str, hours: float, seed: int) -> TrainConfig:
        """All rows alike but for what the row is about; `hours` of mixtures are heard, or the row's share of them.

        Its own `objective` is not used: that of the row may be one that the trainer does not offer.
        """
        network = ModelConfig(
            name=self.name,
            sample_rate=SAMPLE_RATE,
            window=256,
            hop=128,
            embedding_dim=self.dim,
            layers=2,
            hidden=self.hidden,
            frames_per_step=2,
            mask_sharpness=self.sharpness,
        )
        config = TrainConfig(
            data=data,
            weighting=self.weighting,
            steps=1,
            frames=FRAMES,
            batch=BATCH,
            learning_rate=self.learning_rate,
            seed=seed,
            device="cpu",
            precision=self.precision,
            mixtures=MixtureConfig(self.num_sources, sound_chance=0.0, speed_range=self.speed_range),
            network=network,
        )
        return dataclasses.replace(config, steps=max(1, round(self.share * hours * 3600.0 / config.seconds_per_step)))

    def network(self, config: ModelConfig) -> PaperNet:
        """With random weights."""
        return PaperNet(config, self.activation, unit_norm=self.unit_norm)


_AFFINITY = parse_objective("affinity")
_THREE = ("valid_closed_2mix", "test_2mix", "test_3mix")
_THEN: dict[str, Any] = {"after": "dc-20", "share": 0.5, "learning_rate": 1e-3, "sharpness": 5.0}
"""A second stage, as the shipped model has them: objectives that learn little from random weights."""
_PAPER: dict[str, Any] = {"hidden": 300, "activation": "tanh", "share": 6.0, "learning_rate": 1.5e-3, "lists": _THREE}
"""Of the paper's size: two layers of 600, 300 in each direction; and more to hear."""
_LONGER: dict[str, Any] = _PAPER | {
    "after": "paper-size",
    "share": 8.0,
    "learning_rate": 1e-3,
    "speed_range": 0.1,
    "precision": "bfloat16",
}
"""More of the same, once the network knows the voices that there are: at other speeds, they are other voices."""
_LONGEST = _LONGER | {"after": "paper-size-longer", "speed_range": 0.15}
"""And as much again."""

ROWS = (
    Row("dc-20", "deep clustering, D = 20", 20, _AFFINITY, lists=_THREE),
    Row(
        "fixed-order",
        "masks, fixed order",
        2,
        [(1.0, direct.as_term(direct.fixed_order))],
        kind="masks",
    ),
    Row(
        "pit",
        "masks, permutation-invariant",
        2,
        [(1.0, direct.as_term(direct.permutation_invariant))],
        kind="masks",
    ),
    Row("dc-20-two-and-three", "deep clustering, D = 20, two and three", 20, _AFFINITY, TWO_AND_THREE, lists=_THREE),
    Row("dc-60", "deep clustering, D = 60", 60, _AFFINITY),
    Row("dc-40", "deep clustering, D = 40", 40, _AFFINITY),
    Row("dc-10", "deep clustering, D = 10", 10, _AFFINITY),
    Row("dc-5", "deep clustering, D = 5", 5, _AFFINITY),
    Row("dc-20-tanh", "deep clustering, D = 20, tanh", 20, _AFFINITY, activation="tanh"),
    Row("dc-20-logistic", "deep clustering, D = 20, logistic", 20, _AFFINITY, activation="logistic"),
    Row("dc-20-free", "deep clustering, D = 20, tanh, any norm", 20, _AFFINITY, activation="tanh", unit_norm=False),
    Row("dc-20-equal", "deep clustering, D = 20, bins weigh the same", 20, _AFFINITY, weighting="equal"),
    Row(
        "dc-20-masks",
        "deep clustering, D = 20, masks beside the embeddings",
        20 + two_heads.MASKS,
        [(1.0, direct.as_term(two_heads.affinity_and_masks))],
        kind="both",
    ),
    *(
        Row(f"then-{name}", f"D = 20, then {objective}", 20, parse_objective(objective), **_THEN)
        for name, objective in (
            ("affinity", "affinity"),
            ("whitened", "whitened_kmeans"),
            ("attractor", "whitened_kmeans+3*attractor"),
            ("kmeans-mask", "whitened_kmeans+3*kmeans_mask"),
        )
    ),
    Row("paper-size", "the paper's size, D = 40", 40, _AFFINITY, **_PAPER),
    Row(
        "paper-size-equal", "the paper's size, D = 40, bins weigh the same", 40, _AFFINITY, weighting="equal", **_PAPER
    ),
    Row("paper-size-longer", "the paper's size, D = 40, then longer", 40, _AFFINITY, **_LONGER),
    Row("paper-size-longest", "the paper's size, D = 40, then longer again", 40, _AFFINITY, **_LONGEST),
)
"""In the order in which they are trained: what the others are compared with comes first."""

MAIN = ROWS[0]
"""Its embeddings are what normalised cuts are tried on, and its lists are all there are."""
