"""A training step needs nothing of the CPU but small tensors, and asks the device for no value before its end."""

from __future__ import annotations

import torch

from unmingle.model.config import ModelConfig
from unmingle.model.network.trunk import make_network
from unmingle.training.mixtures import MixtureConfig, MixtureSampler, join, make_batch, samples_for
from unmingle.training.objectives import TERMS, evaluate, parse_objective

PIECES = 2


def test_from_samples_to_gradients_everything_stays_on_the_device(speech):
    """On torch's meta device, which has shapes but no values: a look at a value, or a mix of devices, is an error."""
    config = ModelConfig(hidden=16, embedding_dim=6, background_sharpness=5.0)
    samples = samples_for(20, config)
    mixtures = MixtureConfig((0.5, 0.5), speed_range=0.1, pieces=PIECES)
    sampler = MixtureSampler(speech.to("meta"), mixtures, torch.Generator().manual_seed(0))
    network = make_network(config).to("meta")

    batch = make_batch(sampler.sources(sampler.draw(4, samples), samples), config)
    embeddings = network(batch.features)
    loss = evaluate(parse_objective("+".join(TERMS)), join(embeddings, PIECES), batch.joined(PIECES), config)
    loss.backward()

    assert batch.features.device.type == embeddings.device.type == loss.device.type == "meta"
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.device.type == "meta", name
