"""Overlapping objects in pictures, told apart by the losses and the k-means that tell voices apart.

A small network gives every pixel an embedding; pixels of one object lie close together. Like voices, objects have no
classes: the network is trained on two and three objects of some kinds and shown up to five of others.

    python examples/images/segment.py [--steps 600] [--output FOLDER]

Axes: (batch, row, column, channel) for pictures, (batch, row, column, dim) for embeddings, (row, column) for labels.
"""

import argparse
import itertools
import time
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.image import imread
from numpy.typing import NDArray
from torch import Tensor, nn

from unmingle.model.clustering import kmeans
from unmingle.training.losses import affinity, whitened_kmeans

SIDE, DIM, WIDTH = 40, 16, 20
KINDS = {  # of pictures: what objects may look like, and what they may be made of
    "known": (("disc", "square", "bar"), ("clouds", "wood", "grass", "bricks", "meadow", "turf")),
    "new, drawn": (("triangle", "ring", "star"), ("marble", "pebbles", "checks")),
    "new, natural": (("triangle", "ring", "star"), ("fur", "gravel", "planks")),
}
PHOTOGRAPHS = {path.stem: imread(path) for path in (Path(__file__).parent / "textures").glob("*.png")}
Picture = NDArray[np.float32]
Labels = NDArray[np.int64]


def shape(kind: str, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Where an object is: somewhere, of some size, turned."""
    y, x = np.mgrid[:SIDE, :SIDE] - rng.uniform(0.2, 0.8, (2, 1, 1)) * SIDE
    turn, size = rng.uniform(0, 2 * np.pi), rng.uniform(0.15, 0.3) * SIDE
    x, y = (np.cos(turn) * x + np.sin(turn) * y) / size, (np.cos(turn) * y - np.sin(turn) * x) / size
    away, angle = np.hypot(x, y), np.arctan2(y, x)
    inside = {
        "disc": away < 0.9,
        "square": np.maximum(abs(x), abs(y)) < 0.8,
        "bar": (abs(x) < 1.4) & (abs(y) < 0.45),
        "triangle": np.maximum.reduce([-y, 0.87 * x + 0.5 * y, 0.5 * y - 0.87 * x]) < 0.55,
        "ring": (away > 0.5) & (away < 1.1),
        "star": away < 0.75 + 0.4 * np.cos(5 * angle),
    }
    return inside[kind]


def smooth(rng: np.random.Generator, x: float, y: float) -> NDArray[np.float64]:
    """Noise that changes over about x columns and y rows."""
    rows, columns = np.fft.fftfreq(SIDE)[:, None] * y, np.fft.rfftfreq(SIDE)[None] * x
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((SIDE, SIDE))) * np.exp(-10 * (rows**2 + columns**2)))
    return np.asarray((noise - noise.mean()) / noise.std())


def cutting(photograph: Picture, rng: np.random.Generator) -> Picture:
    """Some part of a photograph, turned or not."""
    top, left = (rng.integers(side - SIDE + 1) for side in photograph.shape)
    part = np.rot90(photograph[top : top + SIDE, left : left + SIDE], rng.integers(4))
    return np.asarray((part - photograph.mean()) / photograph.std())


def texture(kind: str, rng: np.random.Generator) -> Picture:
    """(rows, columns, 3): a pattern that changes from place to place, between two colours."""
    y, x = rng.permutation(np.mgrid[:SIDE, :SIDE] + rng.uniform(0, SIDE, (2, 1, 1)))
    pattern = {
        **dict.fromkeys(PHOTOGRAPHS, lambda: cutting(PHOTOGRAPHS[kind], rng)),
        "clouds": lambda: smooth(rng, 4, 4),
        "wood": lambda: np.sin(0.9 * x + 1.5 * smooth(rng, 4, 12)),
        "grass": lambda: smooth(rng, 1, 6),
        "marble": lambda: np.abs(np.sin(0.3 * (x + y) + 1.5 * smooth(rng, 5, 5))) * 2 - 1,
        "pebbles": lambda: np.cos(1.1 * x + smooth(rng, 5, 5)) * np.cos(1.1 * y + smooth(rng, 5, 5)),
        "checks": lambda: np.sign(np.sin(0.8 * x) * np.sin(0.8 * y)),
    }[kind]()
    one, other = rng.uniform(0, 1, (2, 3))
    shares = 1 / (1 + np.exp(-2 * pattern))[..., None]
    return np.asarray(shares * one + (1 - shares) * other, np.float32)


def draw(objects: int, kinds: str, rng: np.random.Generator) -> tuple[Picture, Labels]:
    """A picture of objects in front of each other, and which one is seen where; 0 is what is behind them."""
    shapes, textures = KINDS[kinds]
    while True:
        picture, labels = texture(rng.choice(textures), rng), np.zeros((SIDE, SIDE), np.int64)
        for number in range(1, objects + 1):
            where = shape(rng.choice(shapes), rng)
            picture[where], labels[where] = texture(rng.choice(textures), rng)[where], number
        if np.bincount(labels.ravel(), minlength=objects + 1).min() >= 30:  # everything is seen
            return picture + rng.normal(0, 0.02, picture.shape).astype(np.float32), labels


class PixelNet(nn.Module):
    """Pictures -> an embedding of length 1 for every pixel: down to an eighth of the size and up again."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [WIDTH, 2 * WIDTH, 3 * WIDTH, 4 * WIDTH]
        self.first = self._block(5, sizes[0])
        self.down = nn.ModuleList(self._block(a, b) for a, b in itertools.pairwise(sizes))
        self.up = nn.ModuleList(self._block(a + b, a) for a, b in itertools.pairwise(sizes))
        self.last = nn.Conv2d(sizes[0], DIM, 1)
        self.register_buffer("places", torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, SIDE)] * 2, indexing="ij")))

    @staticmethod
    def _block(before: int, after: int) -> nn.Sequential:
        layers = [nn.Conv2d(before, after, 3, padding=1), nn.GroupNorm(4, after), nn.ReLU()]
        return nn.Sequential(*layers, nn.Conv2d(after, after, 3, padding=1), nn.ReLU())

    def forward(self, pictures: Tensor) -> Tensor:
        """(batch, row, column, 3) -> (batch, row, column, dim)."""
        places = self.places.expand(len(pictures), -1, -1, -1)
        x = self.first(torch.cat((pictures.permute(0, 3, 1, 2) - 0.5, places), 1))
        passed = []
        for block in self.down:
            passed.append(x)
            x = block(nn.functional.avg_pool2d(x, 2))
        for block in reversed(self.up):
            x = block(torch.cat((nn.functional.interpolate(x, scale_factor=2.0), passed.pop()), 1))
        return nn.functional.normalize(self.last(x), dim=1).permute(0, 2, 3, 1)


def train(steps: int, rng: np.random.Generator) -> PixelNet:
    """Affinity first, then whitened k-means, as for voices; two and three objects of the known kinds."""
    net = PixelNet()
    optimiser = torch.optim.Adam(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=max(steps, 2))
    for step in range(steps):
        drawn = zip(*(draw(int(rng.integers(2, 4)), "known", rng) for _ in range(12)), strict=True)
        pictures, labels = (torch.from_numpy(np.stack(part)) for part in drawn)
        members, weights = nn.functional.one_hot(labels, 4), torch.full(labels.shape, 1.0 / labels[0].numel())
        loss = (affinity if step < 0.6 * steps else whitened_kmeans)(net(pictures), members, weights)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if (step + 1) % 50 == 0 or step + 1 == steps:
            print(f"step {step + 1}, loss {loss.item():.3f}, {time.process_time():.0f} s CPU", flush=True)
    return net.eval()


def segment(vectors: NDArray[np.float32], parts: int) -> Labels:
    """(rows, columns, dim) of length 1 -> which of so many parts each pixel is of."""
    flat = vectors.reshape(-1, vectors.shape[-1])
    centroids = kmeans.cluster(flat, np.ones(len(flat), np.float32), parts, np.random.default_rng(0)).centroids
    return np.asarray((flat @ centroids.T).argmax(1).reshape(vectors.shape[:2]))


def adjusted_rand_index(found: Labels, true: Labels) -> float:
    """How well two partitions agree: 1 entirely, 0 as by chance (Hubert and Arabie, 1985)."""
    table = np.histogram2d(found.ravel(), true.ravel(), (found.max() + 1, true.max() + 1))[0]
    pairs, rows, columns = ((n * (n - 1) / 2).sum() for n in (table, table.sum(1), table.sum(0)))
    chance = rows * columns / (true.size * (true.size - 1) / 2)
    return float((pairs - chance) / max((rows + columns) / 2 - chance, 1e-9))


def colours(picture: Picture) -> NDArray[np.float32]:
    """What a pixel is without a network: its colour and its place, as a vector of length 1."""
    vectors = np.dstack((picture, *(np.mgrid[:SIDE, :SIDE] / SIDE), np.full((SIDE, SIDE), 0.5)))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32)


def main() -> None:
    """Train, write `objects.png`, print a table of the mean adjusted Rand index."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--pictures", type=int, default=100, help="for each figure of the table")
    parser.add_argument("--output", type=Path, default=Path("."))
    options = parser.parse_args()
    torch.manual_seed(0)
    net = train(options.steps, np.random.default_rng(0))
    figure = Figure((8, 8.4), layout="tight")
    print("| objects | " + " | ".join(KINDS) + " | natural, colour and place alone |\n" + "|---" * 5 + "|")
    for objects, row in zip(range(2, 6), figure.subplots(4, 4), strict=True):
        scores = []
        for kinds in KINDS:
            shown = [draw(objects, kinds, np.random.default_rng((objects, n))) for n in range(options.pictures)]
            with torch.no_grad():
                embedded = net(torch.from_numpy(np.stack([picture for picture, _ in shown]))).numpy()
            found = [segment(vectors, objects + 1) for vectors in embedded]
            scores.append(np.mean([adjusted_rand_index(f, true) for f, (_, true) in zip(found, shown, strict=True)]))
        plain = [adjusted_rand_index(segment(colours(p), objects + 1), true) for p, true in shown]
        print(f"| {objects} | " + " | ".join(f"{s:.2f}" for s in (*scores, np.mean(plain))) + " |", flush=True)
        flat = embedded[0].reshape(-1, DIM) - embedded[0].reshape(-1, DIM).mean(0)
        seen = (flat @ np.linalg.svd(flat, full_matrices=False)[2][:3].T).reshape(SIDE, SIDE, 3)
        panels = (shown[0][0].clip(0, 1), (seen / (2 * np.abs(seen).max()) + 0.5), found[0], shown[0][1])
        for place, panel, title in zip(row, panels, ("picture", "embeddings", "found", "true"), strict=True):
            place.imshow(panel, cmap="tab10" if panel.ndim == 2 else None, interpolation="nearest")
            place.set(title=title if objects == 2 else "", xticks=[], yticks=[])
    options.output.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.output / "objects.png", dpi=80)


if __name__ == "__main__":
    main()
