"""Normalising the spread within sources: exact, and it does what it says."""

from __future__ import annotations

import torch
from torch.nn.functional import normalize

from model.config import ModelConfig
from model.network import EmbeddingNet
from training.mixtures import MixtureConfig, MixtureSampler, make_batch, samples_for
from training.whitening import fold, inverse_root, whiten, within_source_covariance

NETWORK = ModelConfig(hidden=16, embedding_dim=6)


def a_network():
    torch.manual_seed(0)
    return EmbeddingNet(NETWORK).eval()


def a_batch(speech, seed=1):
    sampler = MixtureSampler(speech, MixtureConfig(num_sources=(0.0, 1.0)), torch.Generator().manual_seed(seed))
    samples = samples_for(80, NETWORK)
    return make_batch(sampler.sources(sampler.draw(4, samples), samples), NETWORK)


def test_the_covariance_is_that_around_each_sources_mean(speech):
    batch = a_batch(speech)
    with torch.no_grad():
        v = a_network()(batch.features)
    expected = torch.zeros(6, 6, dtype=torch.float64)
    for item in range(4):
        for source in range(2):
            weight = (batch.weights[item] * batch.memberships[item, ..., source]).double().flatten()
            points = v[item].double().flatten(0, 1)
            away = points - (weight @ points) / weight.sum()
            expected += (away * weight[:, None]).T @ away
    torch.testing.assert_close(within_source_covariance(v, batch), expected, atol=1e-9, rtol=1e-6)


def test_a_folded_transform_is_the_transform_of_the_embeddings(speech):
    network, batch = a_network(), a_batch(speech)
    with torch.no_grad():
        before = network(batch.features)
        transform = inverse_root(within_source_covariance(before, batch))
        fold(network, transform)
        torch.testing.assert_close(network(batch.features), normalize(before @ transform.float().T, dim=-1))


def test_embeddings_spread_more_alike_in_all_directions_afterwards(speech):
    network, batch = a_network(), a_batch(speech)
    sampler = MixtureSampler(speech, MixtureConfig(num_sources=(0.0, 1.0)), torch.Generator().manual_seed(2))

    def unevenness():
        with torch.no_grad():
            values = torch.linalg.eigvalsh(within_source_covariance(network(batch.features), batch))
        return float(values[-1] / values.mean())

    fold(network, torch.diag(torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 5.0])))
    before = unevenness()
    whiten(network, sampler, mixtures=16, frames=80)
    assert unevenness() < 0.8 * before
