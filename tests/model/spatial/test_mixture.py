"""The mathematics of the spatial filter, beside its slow and obvious version."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from unmingle.model.spatial import hermitian, mixture, wiener
from unmingle.model.spatial.blocks import Locating, SpatialFilter

BINS, FRAMES = 5, 200


def complex_noise(rng, *shape):
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def planted(rng, channels, sources=2):
    """Spectra in which every bin is of one source, which is at a place of its own, and whose it is."""
    places = complex_noise(rng, sources, BINS, channels)
    owner = rng.integers(sources, size=(BINS, FRAMES))
    loudness = complex_noise(rng, BINS, FRAMES)
    spectra = np.stack([places[owner[b], b].T * loudness[b] for b in range(BINS)])
    return spectra + 0.01 * complex_noise(rng, *spectra.shape), owner


def vague(owner, sources, sure):
    """Masks that are right about most bins, and not sure."""
    rng = np.random.default_rng(1)
    guess = np.where(rng.random(owner.shape) < 0.75, owner, rng.integers(sources, size=owner.shape))
    return np.where(np.arange(sources)[:, None, None] == guess, sure, (1 - sure) / (sources - 1)).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 2, 3, 8])
def test_many_systems_at_once_are_solved_as_one_by_one(channels):
    rng = np.random.default_rng(0)
    root = complex_noise(rng, 3, 4, channels, channels)
    matrices = root @ root.conj().swapaxes(-1, -2) + np.eye(channels, dtype=np.complex64)
    right = complex_noise(rng, channels, 3, 4)
    lower = [[matrices[..., i, j].copy() for j in range(i + 1)] for i in range(channels)]
    expected = np.linalg.solve(matrices, np.moveaxis(right, 0, -1)[..., None])[..., 0]
    np.testing.assert_allclose(np.moveaxis(hermitian.solve(lower, right), 0, -1), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_packed_matrices_keep_their_products(channels):
    rng = np.random.default_rng(0)
    vectors = complex_noise(rng, BINS, channels, FRAMES)
    products = np.einsum("bct,bdt->btcd", vectors, vectors.conj())
    packed = hermitian.outer(vectors).transpose(0, 2, 1)
    np.testing.assert_allclose(hermitian.unpack(packed), products, atol=1e-4)
    np.testing.assert_allclose(hermitian.pack(products), packed, atol=1e-4)
    other = products[::-1]
    traces = np.einsum("btcd,btdc->bt", products, other).real
    np.testing.assert_allclose((packed * hermitian.pack(other)).sum(-1), traces, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("channels", "sources"), [(2, 2), (4, 2), (4, 3), (8, 3)])
def test_places_correct_what_the_network_gets_wrong(channels, sources):
    spectra, owner = planted(np.random.default_rng(2), channels, sources)
    prior = vague(owner, sources, 0.7)
    assert (prior.argmax(0) == owner).mean() < 0.9
    assert (mixture.locate(spectra, prior, None).masks.argmax(0) == owner).mean() > 0.98


def test_the_order_of_the_sources_is_that_of_the_masks():
    spectra, owner = planted(np.random.default_rng(3), 4, 3)
    prior = vague(owner, 3, 0.7)
    order = [2, 0, 1]
    found, again = mixture.locate(spectra, prior, None), mixture.locate(spectra, prior[order], None)
    np.testing.assert_allclose(again.masks, found.masks[order], atol=1e-4)
    np.testing.assert_allclose(again.shapes, found.shapes[order], atol=1e-3)


def test_frequencies_agree_about_who_is_who():
    """Each bin is clustered on its own; the masks, not the places, say which cluster is which source."""
    spectra, owner = planted(np.random.default_rng(4), 3)
    found = mixture.locate(spectra, vague(owner, 2, 0.7), None).masks
    for one, true in zip(found[1], owner, strict=True):
        assert np.corrcoef(one, true)[0, 1] > 0.9


@pytest.mark.parametrize("channels", [2, 4, 8])
def test_images_add_up_and_are_those_of_the_local_gaussian_model(channels):
    rng = np.random.default_rng(5)
    spectra, owner = planted(rng, channels)
    found = mixture.locate(spectra, vague(owner, 2, 0.7), None)
    images = wiener.images(spectra, found.masks, found.shapes, 2)
    np.testing.assert_allclose(sum(images), spectra, atol=1e-3 * np.abs(spectra).max())
    powers = found.masks * np.square(np.abs(spectra)).mean(1)
    covariance = np.einsum("kbt,kbcd->kbtcd", powers, found.shapes).astype(np.complex128)
    whitened = np.einsum("btcd,bdt->bct", np.linalg.inv(covariance.sum(0)), spectra)
    # The powers are refined once, and the filter is made of them.
    fit = np.einsum("bct,kbcd,bdt->kbt", whitened.conj(), found.shapes, whitened).real
    refined = powers * np.sqrt(np.maximum(fit, 0.0) * powers.sum(0) / channels)
    covariance = np.einsum("kbt,kbcd->kbtcd", refined, found.shapes).astype(np.complex128)
    slow = np.einsum("btcd,btde,bet->bct", covariance[0], np.linalg.inv(covariance.sum(0)), spectra)
    np.testing.assert_allclose(images[0], slow, atol=1e-2 * np.abs(spectra).max())


def test_where_places_say_nothing_the_masks_decide():
    rng = np.random.default_rng(6)
    one = complex_noise(rng, BINS, 1, FRAMES)
    prior = vague(rng.integers(2, size=(BINS, FRAMES)), 2, 0.9)
    spectra = np.concatenate((one, -0.5 * one), axis=1)
    found = mixture.locate(spectra, prior, None)
    np.testing.assert_allclose(found.masks, prior, atol=1e-2)


def pieces(frames, channels=2, bins=40, step=20):
    rng = np.random.default_rng(7)
    for _ in range(0, frames, step):
        shares = rng.random((1, step, bins)).astype(np.float32)
        yield np.concatenate((shares, 1 - shares)), complex_noise(rng, channels, step, bins)


def run(given):
    spatial = SpatialFilter(2, Locating((0, 1)))
    for shares, spectrum in given:
        yield from spatial.push(shares, spectrum)
    yield from spatial.finish()


def test_blocks_give_every_frame_once_and_add_up():
    given = list(pieces(900))
    images = np.concatenate(list(run(given)), axis=2)
    whole = np.concatenate([spectrum for _, spectrum in given], axis=1)
    np.testing.assert_allclose(images.sum(0), whole, atol=1e-4)


def test_memory_does_not_grow_with_the_recording():
    def peak(frames):
        tracemalloc.start()
        try:
            for _ in run(pieces(frames, channels=4)):
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    # Lengths that leave last blocks of the same size.
    peak(1500)  # what is made once
    assert peak(1500 + 5 * 1280) < 1.1 * peak(1500)


@pytest.mark.parametrize("level", [1e-12, 1e10])
def test_any_level(level):
    def scaled():
        for number, (shares, spectrum) in enumerate(pieces(900)):
            # Loud, silent, then as it is: what is remembered must survive it.
            yield shares, spectrum * np.float32((level, 0.0, 1.0)[number * 20 // 300])

    for block in run(scaled()):
        assert np.isfinite(block).all()


def test_a_source_that_is_nowhere_gets_nothing():
    given = [(np.concatenate((shares, 0 * shares[:1])), spectrum) for shares, spectrum in pieces(300)]
    spatial = SpatialFilter(3, Locating((0, 1)))
    blocks = [block for shares, spectrum in given for block in spatial.push(shares, spectrum)]
    everything = np.concatenate((*blocks, *spatial.finish()), axis=2)
    assert not everything[2].any()
