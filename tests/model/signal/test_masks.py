"""Masks share every bin out completely, on the network's grid and on every other."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from unmingle.model.config import ModelConfig
from unmingle.model.signal import masks, stft

CONFIG = ModelConfig()
RATES = [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000]


def unit_vectors(*shape):
    vectors = np.random.default_rng(0).standard_normal(shape)
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def some_masks(num_sources=3, frames=40, config=CONFIG):
    return masks.soft_masks(
        unit_vectors(frames, config.bands, config.embedding_dim), unit_vectors(num_sources, config.embedding_dim), 5.0
    )


@pytest.mark.parametrize("num_sources", [1, 2, 5])
@pytest.mark.parametrize("make", [lambda v, c: masks.soft_masks(v, c, 5.0), masks.hard_masks])
def test_sum_to_one(make, num_sources):
    shares = make(unit_vectors(11, 7, 4), unit_vectors(num_sources, 4))
    assert shares.shape == (num_sources, 11, 7)
    assert (shares >= 0).all()
    np.testing.assert_allclose(shares.sum(0), 1.0, rtol=1e-6)


@pytest.mark.parametrize("make", [lambda v, c: masks.soft_masks(v, c, 5.0), masks.hard_masks])
def test_without_centroids_all_sources_share_alike(make):
    shares = make(unit_vectors(3, 5, 4), np.zeros((4, 4), np.float32))
    np.testing.assert_allclose(shares, 0.25)


def test_soft_masks_follow_the_equation():
    embeddings, centroids = unit_vectors(2, 3, 4), unit_vectors(2, 4)
    shares = masks.soft_masks(embeddings, centroids, 5.0)
    for frame, band in np.ndindex(2, 3):
        cosines = [float(embeddings[frame, band] @ c) for c in centroids]
        expected = np.exp(5.0 * cosines[1]) / (np.exp(5.0 * cosines[0]) + np.exp(5.0 * cosines[1]))
        assert shares[1, frame, band] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("sharpness", [0.0, 5.0, 1e4])
@pytest.mark.parametrize("num_sources", [1, 2, 3])
def test_soft_masks_are_the_softmax_of_all_cosines(sharpness, num_sources):
    """However many frames there are, and however sharp they are."""
    embeddings, centroids = unit_vectors(300, 7, 4), unit_vectors(num_sources, 4)
    exponents = sharpness * np.moveaxis(embeddings.astype(np.float64) @ centroids.T.astype(np.float64), -1, 0)
    shares = np.exp(exponents - exponents.max(0))
    found = masks.soft_masks(embeddings, centroids, sharpness)
    np.testing.assert_allclose(found, shares / shares.sum(0), atol=2e-6 + 1e-7 * sharpness)


def test_hard_masks_take_the_nearest_centroid():
    centroids = np.eye(3, dtype=np.float32)
    shares = masks.hard_masks(centroids[[[2, 0], [1, 1]]], centroids)
    np.testing.assert_array_equal(shares.argmax(0), [[2, 0], [1, 1]])
    np.testing.assert_array_equal(np.unique(shares), [0.0, 1.0])


@pytest.mark.parametrize("rate", RATES)
def test_regridded_masks_sum_to_one(rate):
    grid = masks.Grid.at_rate(rate, CONFIG)
    assert grid.window % (2 * grid.hop) == 0
    frames = stft.frame_count(round(rate * 0.3), grid.window, grid.hop)
    regridded = masks.regrid(some_masks(), CONFIG, grid, frames)
    assert regridded.shape == (3, frames, grid.window // 2 + 1)
    assert (regridded >= 0).all()
    np.testing.assert_allclose(regridded.sum(0), 1.0, atol=1e-5)


def test_the_networks_own_grid_is_the_identity():
    config = dataclasses.replace(CONFIG, high_group=1)
    shares = some_masks(config=config)
    grid = masks.Grid.at_rate(config.sample_rate, config)
    assert grid == masks.Grid(config.sample_rate, config.window, config.hop)
    np.testing.assert_array_equal(masks.regrid(shares, config, grid, shares.shape[1]), shares)


def test_single_bins_are_copied_where_others_come_in_groups():
    shares = some_masks()
    grid = masks.Grid.at_rate(CONFIG.sample_rate, CONFIG)
    regridded = masks.regrid(shares, CONFIG, grid, shares.shape[1])
    low = CONFIG.full_resolution_bins
    np.testing.assert_array_equal(regridded[..., :low], shares[..., :low])


@pytest.mark.parametrize("rate", RATES)
def test_a_mask_stays_where_it_was_in_time_and_frequency(rate):
    """A mask that opens below 2 kHz and in the first half: the same region of the recording at every rate."""
    frames = 101
    own = masks.Grid.at_rate(CONFIG.sample_rate, CONFIG)
    shares = np.zeros((2, frames, CONFIG.bands), np.float32)
    early, low = own.frame_seconds(frames) < 0.4, masks.band_hz(CONFIG) < 2000.0
    shares[0] = early[:, None] & low
    shares[1] = 1.0 - shares[0]
    grid = masks.Grid.at_rate(rate, CONFIG)
    count = stft.frame_count(int(rate * 0.8), grid.window, grid.hop)
    regridded = masks.regrid(shares, CONFIG, grid, count)[0]
    seconds, hz = grid.frame_seconds(count), grid.bin_hz()
    # The mask fades over one hop and one bin, and hop and window are rounded to whole samples at every rate.
    assert (regridded[np.ix_(seconds < 0.38, hz < 1940.0)] > 0.99).all()
    assert (regridded[seconds > 0.42] < 0.01).all()
    assert (regridded[:, hz > 2060.0] < 0.01).all()


@pytest.mark.parametrize("rate", [*RATES, 4_000, 192_000])
def test_pieces_make_no_difference(rate):
    shares = some_masks(frames=203)
    grid = masks.Grid.at_rate(rate, CONFIG)
    regridder = masks.Regridder(CONFIG, grid)
    edges = [0, 1, 2, 2, 30, 31, 100, 180, 203]
    parts = [regridder.push(shares[:, a:b]) for a, b in itertools.pairwise(edges)]
    parts.append(regridder.hold(3))
    in_pieces = np.concatenate(parts, axis=1)
    np.testing.assert_allclose(in_pieces, masks.regrid(shares, CONFIG, grid, in_pieces.shape[1]), atol=1e-6)


def test_beyond_the_networks_band_the_mean_of_its_top_holds():
    shares = some_masks()
    grid = masks.Grid.at_rate(48_000, CONFIG)
    frames = shares.shape[1]
    above = masks.regrid(shares, CONFIG, grid, frames)[..., grid.bin_hz() > CONFIG.sample_rate / 2 + 125]
    top = masks.band_hz(CONFIG) >= masks.band_hz(CONFIG)[-1] - 2_000
    expected = shares[..., top].mean(-1, keepdims=True)
    np.testing.assert_allclose(above, np.broadcast_to(expected, above.shape), atol=1e-6)


@pytest.mark.parametrize("num_sources", [1, 2, 5])
def test_with_a_background_they_still_sum_to_one(num_sources):
    soft = masks.soft_masks(unit_vectors(11, 7, 4), unit_vectors(num_sources, 4), 5.0)
    claimed = masks.claim(soft)
    assert claimed.shape == (11, 7)
    assert ((claimed >= 0) & (claimed <= 1)).all()
    shared = masks.with_background(soft, 1.0 - claimed)
    assert shared.shape == (num_sources + 1, 11, 7)
    assert (shared >= 0).all()
    np.testing.assert_allclose(shared.sum(0), 1.0, rtol=1e-6)


def test_nobody_claims_what_is_undecided():
    undecided, decided = np.full((2, 1, 1), 0.5, np.float32), np.array([[[1.0]], [[0.0]]], np.float32)
    assert masks.claim(undecided) == 0.0
    assert masks.claim(decided) == 1.0


def test_clarity_is_the_mean_of_margin_and_purity():
    clarity = masks.Clarity(2)
    # One loud bin that is clear, and one as loud that nobody can tell; the second source has half of that one only.
    clarity.push(np.array([[[1.0, 0.5]], [[0.0, 0.5]]], np.float32), np.ones((1, 2), np.float32))
    first, second = clarity.per_source()
    margin, purity = 0.5, (1.0 + 0.5 * 0.5) / (1.0 + 0.5)
    assert first == pytest.approx(np.sqrt(margin * (2 * purity - 1)))
    assert second == pytest.approx(0.0)


@pytest.mark.parametrize("num_sources", [1, 2, 5])
def test_clarity_is_whole_where_masks_are_pure_and_nothing_where_they_know_nothing(num_sources):
    magnitude = np.ones((3, 5), np.float32)
    pure, ignorant = masks.Clarity(num_sources), masks.Clarity(num_sources)
    pure.push(masks.labels_to_masks(np.arange(15).reshape(3, 5) % num_sources, num_sources), magnitude)
    ignorant.push(np.full((num_sources, 3, 5), 1.0 / num_sources, np.float32), magnitude)
    assert pure.per_source() == pytest.approx((1.0,) * num_sources)
    assert ignorant.per_source() == pytest.approx((float(num_sources == 1),) * num_sources, abs=1e-3)


def test_clarity_sums_over_all_frames():
    shares, magnitude = some_masks(3, 300), np.random.default_rng(0).random((300, CONFIG.bands), np.float32)
    clarity = masks.Clarity(3)
    clarity.push(shares, magnitude)
    margin = np.average(1.5 * shares.max(0) - 0.5, weights=magnitude)
    energy = shares * np.square(magnitude)
    purity = (energy * shares).sum((1, 2)) / energy.sum((1, 2))
    assert clarity.per_source() == pytest.approx(np.sqrt(margin * (1.5 * purity - 0.5)), rel=1e-4)


def test_clarity_of_silence_is_nothing():
    clarity = masks.Clarity(2)
    clarity.push(np.full((2, 3, 4), 0.5, np.float32), np.zeros((3, 4), np.float32))
    assert clarity.per_source() == (0.0, 0.0)


def test_what_is_taken_in_turn_still_sums_to_one():
    speaking = np.random.default_rng(1).random((3, 40)).astype(np.float32)
    found = masks.taken_in_turn(some_masks(), speaking)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(0), 1.0, atol=1e-5)


def test_whoever_is_silent_gives_most_of_its_share_to_whoever_speaks():
    soft = some_masks(2)
    speaking = np.array([[1.0] * 20 + [0.0] * 20, [0.0] * 20 + [1.0] * 20], np.float32)
    found = masks.taken_in_turn(soft, speaking)
    assert (found[0, :20] >= soft[0, :20]).all()
    assert (found[1, 20:] >= soft[1, 20:]).all()
    tie = masks.taken_in_turn(np.full_like(soft, 0.5), speaking)
    assert 0.8 < tie[0, :20].min() < 0.95


def test_where_all_are_as_likely_to_speak_masks_stay_what_they_are():
    soft = some_masks()
    for chance in (0.0, 0.5, 1.0):
        found = masks.taken_in_turn(soft, np.full((3, 40), chance, np.float32))
        np.testing.assert_allclose(found, soft, atol=1e-6)
