"""Real mixtures with their sources, and embedders that need no training."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from unmingle.model.config import ModelConfig
from unmingle.model.embedding.embedder import OnnxEmbedder
from unmingle.model.network.export import export
from unmingle.model.network.trunk import EmbeddingNet, make_network
from unmingle.model.signal import features, stft
from unmingle.model.signal.segments import SegmentLayout, cut

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = ModelConfig(name="small", layers=1, hidden=16, embedding_dim=6)


@dataclasses.dataclass(frozen=True)
class Example:
    """A mixture of real speech with its true sources.

    Attributes:
        mixture: (samples,) float32.
        sources: (sources, samples) float32.
    """

    mixture: NDArray[np.float32]
    sources: NDArray[np.float32]
    sample_rate: int


@pytest.fixture(scope="session")
def example() -> Callable[[str], Example]:
    """Reads one of the bundled mixtures by the name of its folder."""

    def read(name: str) -> Example:
        mixture, sample_rate = soundfile.read(EXAMPLES / name / "mixture.flac", dtype="float32")
        files = sorted((EXAMPLES / name).glob("source_*.flac"))
        return Example(mixture, np.stack([soundfile.read(f, dtype="float32")[0] for f in files]), sample_rate)

    return read


class OracleEmbedder:
    """Embeds every band as the one-hot vector of the source that is loudest there: what perfect training would give."""

    segments_at_once = 2

    def __init__(self, sources: NDArray[np.float32], config: ModelConfig, layout: SegmentLayout | None = None) -> None:
        self.config = config
        self.layout = layout or SegmentLayout()
        power = np.square(np.abs(stft.analyse(sources, config.window, config.hop)))
        loudest = features.band_magnitude(power, config).argmax(0)
        self.embeddings = np.eye(config.embedding_dim, dtype=np.float32)[loudest]
        frames = np.zeros((len(loudest), 1), np.float32)
        self.places = itertools.cycle([slice(s.start, s.start + len(s.magnitude)) for s in cut([frames], self.layout)])

    def embed(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """The planted embeddings of the next segments, whatever the features."""
        taken = [self.embeddings[place] for place in itertools.islice(self.places, len(features))]
        assert features.shape == (len(taken), *taken[0].shape[:2])
        return np.stack(taken)


@pytest.fixture(scope="session")
def oracle() -> type[OracleEmbedder]:
    """Makes an oracle from true sources at the config's sample rate."""
    return OracleEmbedder


def lively_network(config: ModelConfig, seed: int, larger: float, mean: float, deviation: float) -> EmbeddingNet:
    """An untrained network whose weights are `larger` than usual, so that its embeddings depend on what it hears."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = make_network(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(larger)
        network.mean += mean
        network.deviation *= deviation
    return network


@pytest.fixture(scope="session")
def small_network() -> EmbeddingNet:
    """A small one that is lively."""
    return lively_network(SMALL, seed=3, larger=3.0, mean=0.5, deviation=2.0)


@pytest.fixture(scope="session")
def small_model(small_network: EmbeddingNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`small_network` as an ONNX file."""
    path = tmp_path_factory.mktemp("small_model") / "small.onnx"
    export(small_network, path)
    return path


@pytest.fixture(scope="session")
def small_embedder(small_model: Path) -> OnnxEmbedder:
    """`small_model` in a session on one thread."""
    return OnnxEmbedder(small_model, device="cpu", threads=1)
