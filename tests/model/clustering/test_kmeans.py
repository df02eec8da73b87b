"""k-means finds what was planted, repeats itself, and agrees with the slow and obvious way of doing it."""

from __future__ import annotations

import numpy as np
import pytest

from unmingle.model.clustering import kmeans
from unmingle.model.clustering.kmeans import EmbeddingSample, cluster, cluster_from, local_centroids
from unmingle.model.embedding.embedded import OnHost


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def plant(num_sources, bins=600, dim=8, spread=0.15, seed=0):
    """Embeddings around orthogonal directions, with weights of uneven size."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(num_sources, size=bins)
    embeddings = unit(np.eye(dim)[labels] + spread * rng.standard_normal((bins, dim)))
    return embeddings, rng.random(bins).astype(np.float32) + 0.01, labels


def obvious_kmeans(points, weights, num_sources, rng, iterations=30):
    """Weighted spherical k-means, one bin at a time, from randomly chosen bins."""
    centroids = points[rng.choice(len(points), num_sources, replace=False)]
    for _ in range(iterations):
        sums = np.zeros_like(centroids, dtype=np.float64)
        for point, weight in zip(points, weights, strict=True):
            sums[max(range(num_sources), key=lambda s, p=point: float(p @ centroids[s]))] += weight * point
        centroids = np.stack([s / np.linalg.norm(s) if s.any() else c for s, c in zip(sums, centroids, strict=True)])
    return centroids, objective(points, weights, centroids)


def objective(points, weights, centroids):
    return float(np.average((points @ centroids.T).max(1), weights=weights))


@pytest.mark.parametrize("num_sources", [1, 2, 3, 5, 8])
def test_finds_planted_clusters(num_sources):
    embeddings, weights, labels = plant(num_sources)
    found = cluster(embeddings, weights, num_sources, np.random.default_rng(0))
    np.testing.assert_allclose(np.linalg.norm(found.centroids, axis=1), 1.0, rtol=1e-5)
    given = (embeddings @ found.centroids.T).argmax(1)
    # Every planted cluster is one found cluster, and no two share one.
    pairs = {(int(a), int(b)) for a, b in zip(labels, given, strict=True)}
    assert len(pairs) == num_sources
    assert found.objective == pytest.approx(objective(embeddings, weights, found.centroids), abs=1e-4)


@pytest.mark.parametrize("num_sources", [2, 3])
def test_as_good_as_the_obvious_way(num_sources):
    """On data without clear clusters, where starts matter: at least as good as the best of ten slow runs."""
    rng = np.random.default_rng(5)
    embeddings, weights = unit(rng.standard_normal((150, 4))), rng.random(150).astype(np.float32)
    found = cluster(embeddings, weights, num_sources, np.random.default_rng(0), starts=20)
    slow = max(obvious_kmeans(embeddings, weights, num_sources, rng)[1] for _ in range(10))
    assert found.objective > slow - 0.01


def test_the_seed_decides():
    rng = np.random.default_rng(5)
    embeddings, weights = unit(rng.standard_normal((30_000, 6))), rng.random(30_000).astype(np.float32)
    runs = [cluster(embeddings, weights, 3, np.random.default_rng(s), starts=1).centroids.tobytes() for s in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_bins_without_weight_do_not_count():
    embeddings, weights, _ = plant(2)
    noise = unit(np.random.default_rng(1).standard_normal((400, 8)))
    alone = cluster(embeddings, weights, 2, np.random.default_rng(0))
    among = cluster(
        np.concatenate((noise, embeddings)), np.concatenate((np.zeros(400, np.float32), weights)), 2,
        np.random.default_rng(0),
    )  # fmt: skip
    np.testing.assert_array_equal(alone.centroids, among.centroids)


def test_heavy_bins_place_the_centroid():
    embeddings = np.eye(2, dtype=np.float32)
    found = cluster(embeddings, np.array([3.0, 1.0], np.float32), 1, np.random.default_rng(0))
    np.testing.assert_allclose(found.centroids, unit(np.array([[3.0, 1.0]])), rtol=1e-5)


@pytest.mark.parametrize("num_sources", [1, 2, 4])
def test_all_bins_the_same(num_sources):
    embeddings = np.tile(np.eye(5, dtype=np.float32)[2], (50, 1))
    found = cluster(embeddings, np.ones(50, np.float32), num_sources, np.random.default_rng(0))
    np.testing.assert_allclose(found.centroids, embeddings[:num_sources], atol=1e-6)
    assert found.objective == pytest.approx(1.0, abs=1e-6)


def test_fewer_bins_than_sources():
    found = cluster(np.eye(3, dtype=np.float32)[:2], np.ones(2, np.float32), 5, np.random.default_rng(0))
    assert found.centroids.shape == (5, 3)
    assert np.isfinite(found.centroids).all()
    assert found.objective == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("bins", [0, 10])
def test_no_bin_has_weight(bins):
    found = cluster(np.ones((bins, 3), np.float32), np.zeros(bins, np.float32), 2, np.random.default_rng(0))
    assert found.centroids.shape == (2, 3)
    assert not found.centroids.any()
    assert found.objective == 0.0


def test_a_sample_places_the_centroids_where_all_bins_would():
    embeddings, weights, _ = plant(3, bins=60_000, spread=0.3)
    sampled = cluster(embeddings, weights, 3, np.random.default_rng(0)).centroids
    every = cluster(embeddings, weights, 3, np.random.default_rng(0), sample=60_000).centroids
    assert (sampled @ every.T).max(1).min() > 0.999


@pytest.mark.parametrize("segments", [1, 7, 40])
def test_a_sample_of_segments_is_bounded_and_stands_for_all(segments):
    rng = np.random.default_rng(0)
    sample = EmbeddingSample(most=2000, per_segment=1000)
    embeddings, weights, _ = plant(3, bins=segments * 1500)
    for part in np.array_split(np.arange(len(weights)), segments):
        sample.add(OnHost(embeddings[part].reshape(15, 100, -1)), weights[part].reshape(15, 100), rng)
    points, mass = sample.all()
    assert len(points) == len(mass) <= 2000
    assert mass.sum() == pytest.approx(weights.sum(), rel=1e-3)
    found = cluster(points, mass, 3, rng).centroids
    every = cluster(embeddings, weights, 3, rng, sample=len(weights)).centroids
    assert (found @ every.T).max(1).min() > 0.99


def test_a_sample_of_silence_is_empty():
    sample = EmbeddingSample()
    sample.add(OnHost(np.ones((2, 5, 3), np.float32)), np.zeros((2, 5), np.float32), np.random.default_rng(0))
    assert len(sample) == 0
    assert not cluster(*sample.all(), 2, np.random.default_rng(0)).centroids.any()


def test_excerpts_are_few_and_evenly_spread_and_say_which_frame_each_bin_is_of():
    rng = np.random.default_rng(0)
    sample = EmbeddingSample(most=4000, per_segment=1000, most_excerpts=4)
    for number in range(21):
        # The embedding says where the bin is: segment, frame and band.
        frame, band = np.meshgrid(np.arange(30), np.arange(50), indexing="ij")
        where = np.stack((np.full_like(frame, number), frame, band), axis=-1).astype(np.float32)
        sample.add(OnHost(where), rng.random((30, 50), np.float32), rng)
    excerpts = sample.excerpts()
    numbers = [int(excerpt.embeddings[0, 0]) for excerpt in excerpts]
    assert 2 <= len(numbers) <= 4
    assert len(set(np.diff(numbers))) == 1
    assert numbers[-1] - numbers[0] >= 10
    for excerpt in excerpts:
        assert len(excerpt.frames) == len(excerpt.weights) == 1000
        np.testing.assert_array_equal(excerpt.frames, excerpt.embeddings[:, 1])


@pytest.mark.parametrize("num_sources", [1, 2, 4])
def test_the_fast_iteration_is_the_obvious_one(num_sources):
    """Also where two centroids are the same: the first of them takes the points, the other stays where it is."""
    embeddings, weights, _ = plant(3, spread=0.5)
    starts = embeddings[[0, 7, 7, 3]][:num_sources]
    centroids, reached = starts, -np.inf
    while (now := objective(embeddings, weights, centroids)) - reached >= 1e-6:
        labels, reached = (embeddings @ centroids.T).argmax(1), now
        sums = [(weights[labels == s, None] * embeddings[labels == s]).sum(0) for s in range(num_sources)]
        centroids = np.stack([unit(s) if s.any() else c for s, c in zip(sums, centroids, strict=True)])
    found = kmeans._lloyd(embeddings, weights, starts[None], 1000)
    np.testing.assert_allclose(found.centroids, centroids, atol=1e-5)
    assert found.objective == pytest.approx(reached, abs=1e-6)


def test_drawing_is_numpys_choice():
    chances = np.random.default_rng(0).random(50)
    chances[::3] = 0.0
    chances /= chances.sum()
    ours, numpys = np.random.default_rng(1), np.random.default_rng(1)
    assert [kmeans._draw(chances, ours) for _ in range(200)] == [numpys.choice(50, p=chances) for _ in range(200)]


def turned(vectors, degrees):
    """Unit vectors, each turned towards the next axis: a voice that has changed a little."""
    angle = np.deg2rad(degrees)
    return (np.cos(angle) * vectors + np.sin(angle) * np.roll(vectors, 1, axis=-1)).astype(np.float32)


def around(centroid, bins, seed):
    """(bins, dim) unit vectors near a centroid."""
    return unit(centroid + 0.2 * np.random.default_rng(seed).standard_normal((bins, len(centroid))))


def local(centroids, points, weights=None):
    if weights is None:
        weights = np.ones((1, len(points)), np.float32)
    return local_centroids(centroids, OnHost(points[None]), weights, np.random.default_rng(0))


def test_centroids_of_a_segment_follow_those_who_speak_in_it():
    recording = np.eye(8, dtype=np.float32)[[0, 3]]
    segment = turned(recording, 25.0)
    points = np.concatenate([around(segment[0], 900, 1), around(segment[1], 600, 2)])
    found = local(recording, points)
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1.0, atol=1e-5)
    assert (np.diag(found @ segment.T) > 0.98).all()
    assert (np.diag(recording @ segment.T) < 0.92).all()


def test_who_says_nothing_in_a_segment_keeps_the_centroid():
    recording = np.eye(8, dtype=np.float32)[[0, 3, 6]]
    found = local(recording, around(turned(recording, 25.0)[1], 1000, 3))
    assert (np.diag(found @ recording.T)[[0, 2]] > 0.999).all()
    assert found[1] @ turned(recording, 25.0)[1] > 0.98


def test_a_silent_segment_has_the_centroids_of_the_recording():
    recording = np.eye(8, dtype=np.float32)[[0, 3]]
    points = around(recording[0], 50, 4)
    assert np.array_equal(local(recording, points, np.zeros((1, 50), np.float32)), recording)


@pytest.mark.parametrize("known", [1, 3, 4])
def test_where_some_centroids_are_known_they_keep_their_order_and_the_others_are_found(known):
    embeddings, weights, _ = plant(4)
    begin = unit(np.eye(8)[[2, 0, 3, 1]][:known] + 0.3)
    found = cluster_from(begin, embeddings, weights, 4, np.random.default_rng(0))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, rtol=1e-5)
    assert found.argmax(1)[:known].tolist() == [2, 0, 3, 1][:known]
    assert sorted(found.argmax(1)) == [0, 1, 2, 3]


def test_of_silence_known_centroids_are_nowhere():
    begin = unit(np.ones((1, 8)))
    assert not cluster_from(
        begin, np.zeros((0, 8), np.float32), np.zeros(0, np.float32), 3, np.random.default_rng(0)
    ).any()
