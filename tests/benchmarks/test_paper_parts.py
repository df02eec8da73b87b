"""The parts of the paper's table: objectives of direct masks, normalised cuts, segments, training that goes on."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize, one_hot

from benchmarks.paper import direct, learning, methods, two_heads
from benchmarks.paper.hearing import hear
from benchmarks.paper.normalised_cuts import normalised_cuts
from benchmarks.paper.rows import MAIN, Row
from benchmarks.paper.scoring import by_pairing, score, score_ideal
from tests.benchmarks.conftest import ROOT
from unmingle.model.config import ModelConfig
from unmingle.model.network.trunk import make_network
from unmingle.model.signal.masks import labels_to_masks
from unmingle.training.errors import TrainingError
from unmingle.training.evaluation.mixture_list import read_list
from unmingle.training.interruption import Interruption
from unmingle.training.mixtures import Batch
from unmingle.training.objectives import parse_objective

pytestmark = pytest.mark.slow

CONFIG = MAIN.config("nowhere", 1.0, 0).network
EXAMPLES = read_list(ROOT / "examples" / "list.csv")


@pytest.mark.parametrize(("activation", "low", "high"), [("tanh", -1.0, 1.0), ("logistic", 0.0, 1.0)])
def test_embeddings_end_as_a_row_says(activation, low, high):
    row = dataclasses.replace(MAIN, activation=activation, hidden=8)
    torch.manual_seed(0)
    network = row.network(row.config("nowhere", 1.0, 0).network).eval()
    heard = 20.0 * torch.randn(2, 6, network.config.bands)
    with torch.no_grad():
        unit = network(heard)
        free = dataclasses.replace(row, unit_norm=False).network(network.config)
        free.load_state_dict(network.state_dict())
        anywhere = free(heard)
    assert unit.norm(dim=-1).numpy() == pytest.approx(1.0, abs=1e-5)
    assert low < anywhere.min() and anywhere.max() < high
    assert anywhere.norm(dim=-1).std() > 0.01
    np.testing.assert_allclose(normalize(anywhere, dim=-1), unit, atol=1e-5)


def test_a_row_without_either_is_the_trainers_network():
    torch.manual_seed(0)
    network = MAIN.network(CONFIG).eval()
    usual = make_network(CONFIG).eval()
    usual.load_state_dict(network.state_dict())
    heard = torch.randn(1, 4, CONFIG.bands)
    with torch.no_grad():
        assert torch.equal(network(heard), usual(heard))


def a_batch():
    """Two sources that do not overlap, and outputs that say which is where."""
    labels = torch.randint(2, (3, 7, 5), generator=torch.Generator().manual_seed(0))
    memberships = one_hot(labels, 2).float()
    magnitudes = torch.rand(3, 7, 5, generator=torch.Generator().manual_seed(1))
    batch = Batch(magnitudes.log(), memberships, magnitudes, memberships * magnitudes.unsqueeze(-1), magnitudes)
    return batch, memberships


def test_right_masks_cost_nothing_and_only_the_fixed_order_minds_their_order():
    batch, right = a_batch()
    swapped = right.flip(-1)
    for objective in (direct.fixed_order, direct.permutation_invariant):
        assert objective(right, batch, direct.SHARPNESS).item() == pytest.approx(0.0, abs=1e-3)
    assert direct.permutation_invariant(swapped, batch, direct.SHARPNESS).item() == pytest.approx(0.0, abs=1e-3)
    assert direct.fixed_order(swapped, batch, direct.SHARPNESS).item() == pytest.approx(2.0, abs=1e-3)


def test_the_order_is_chosen_for_each_mixture():
    batch, right = a_batch()
    mixed = torch.cat((right[:1].flip(-1), right[1:]))
    assert direct.permutation_invariant(mixed, batch, direct.SHARPNESS).item() == pytest.approx(0.0, abs=1e-3)


def explicit_cut(points, width):
    """The bipartition by the second eigenvector of the whole normalised affinity matrix."""
    distance = np.square(points[:, None] - points[None]).sum(-1)
    affinity = np.exp(-distance / (2 * width**2))
    root = np.sqrt(affinity.sum(1))
    vectors = np.linalg.eigh(affinity / root[:, None] / root)[1]
    return vectors[:, -2] / root > 0


@pytest.mark.parametrize("landmarks", [40, 200])
def test_normalised_cuts_find_what_the_whole_matrix_says(landmarks):
    """Two rings of bins, one around the other: no centroid could tell them apart."""
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 200)
    inner = np.arange(200) < 100
    radius = np.where(inner, 1.0, 3.0)
    points = np.stack((radius * np.cos(angle), radius * np.sin(angle)), -1).astype(np.float32)
    whole = explicit_cut(points.astype(float), 0.4)
    assert (whole == inner).all() or (whole != inner).all()
    found = normalised_cuts(points, 2, 0.4, np.random.default_rng(1), landmarks)
    assert (found == found[0]).sum() == 100
    assert (found[inner] == found[0]).all()


def test_normalised_cuts_of_hardly_any_points_are_defined():
    assert len(normalised_cuts(np.zeros((0, 3), np.float32), 2, 1.0, np.random.default_rng(0))) == 0
    assert set(normalised_cuts(np.zeros((2, 3), np.float32), 2, 1.0, np.random.default_rng(0))) == {0, 1}


def test_segments_cover_all_frames_once():
    heard = hear(EXAMPLES[0], CONFIG)
    parts = heard.segments(100)
    assert [frame for part in parts for frame in range(part.start, part.stop)] == list(range(len(heard.magnitude)))
    assert all(50 <= part.stop - part.start < 150 for part in parts)


def test_true_labels_swapped_from_segment_to_segment_are_ideal_locally_and_not_globally():
    """What the two ways of clustering mean, with an oracle in place of a method that finds masks."""

    def swapping(heard):
        labels = np.abs(heard.spectra).argmax(0)

        def mask(part):
            found = labels_to_masks(labels[part], len(heard.sources))
            return np.roll(found, part.start // 100, axis=0)

        return mask

    heard = hear(EXAMPLES[0], CONFIG)
    ideal = score_ideal([EXAMPLES[0]], CONFIG)["global"]["all"]
    assert score(swapping, [EXAMPLES[0]], CONFIG, "oracle")["local"]["all"] == pytest.approx(ideal)
    unordered = np.concatenate([swapping(heard)(part) for part in heard.segments(100)], axis=1)
    assert heard.improvement_db(unordered) < ideal - 5.0


def test_embeddings_that_know_the_truth_reach_the_ideal_mask_by_kmeans_and_by_cuts(monkeypatch):
    def oracle(_network, heard):
        embeddings = np.eye(20, dtype=np.float32)[np.abs(heard.spectra).argmax(0)]
        return embeddings

    monkeypatch.setattr(methods, "outputs", oracle)
    ideal = score_ideal(EXAMPLES, CONFIG)["global"]["all"]
    for method in (methods.deep_clustering(None), methods.euclidean_clustering(None), methods.cuts_of_embeddings(None)):
        found = score(method, EXAMPLES, CONFIG, "oracle")
        assert found["global"]["all"] == pytest.approx(ideal, abs=0.3)
        assert found["local"]["all"] == pytest.approx(ideal, abs=0.3)


def test_a_network_that_hears_bands_masks_all_their_bins():
    config = ModelConfig()
    heard = hear(EXAMPLES[0], config)
    assert heard.magnitude.shape[-1] == config.bands < config.bins
    ideal = heard.ideal()
    assert ideal.shape == (len(heard.sources), *heard.magnitude.shape)
    assert heard.improvement_db(ideal) > 10.0
    # The paper's measure forgives a filter of the source, and cannot be much worse.
    assert heard.improvement_db(ideal) - 0.5 < heard.sdr_improvement_db(ideal) < heard.improvement_db(ideal) + 3.0
    np.testing.assert_array_equal(heard.in_order(ideal[::-1], heard.whole), ideal)


def test_pairings_are_told_apart_by_gender():
    by_id = {mixture.id: mixture for mixture in EXAMPLES}
    listed = [by_id["same_gender"], by_id["two_speakers"], by_id["three_speakers"]]
    assert by_pairing(listed, [1.0, 2.0, 6.0]) == {"all": 3.0, "same": 1.0, "different": 4.0}
    assert by_pairing(listed[:1], [1.0]) == {"all": 1.0, "same": 1.0}


def test_training_that_was_stopped_ends_with_the_weights_of_one_that_was_not(tmp_path, speech):
    def weights(folder, stop_after):
        asked = Interruption()
        [(_, affinity)] = parse_objective("affinity")
        calls = 0

        def counting(embeddings: torch.Tensor, batch: Batch, sharpness: float) -> torch.Tensor:
            nonlocal calls
            calls += 1
            if calls == stop_after:
                asked.signal_number = 2
            return affinity(embeddings, batch, sharpness)

        row = Row("dc", "", 4, [(1.0, counting)])
        config = row.config("nowhere", 4 * 8 * 1.6 / 3600.0, 0)
        assert config.steps == 4
        finished = learning.learn(row, config, speech, folder, asked)
        assert (calls, finished is None) == ((stop_after, True) if stop_after else (config.steps, False))
        trained = finished or learning.learn(row, config, speech, folder, Interruption())
        return trained.network.state_dict()

    straight, resumed = weights(tmp_path / "a", 0), weights(tmp_path / "b", 2)
    for name, weight in straight.items():
        torch.testing.assert_close(resumed[name], weight, rtol=0, atol=0)


def test_unit_outputs_reach_nearly_pure_masks():
    pure = normalize(torch.tensor([1.0, -1.0]), dim=-1)
    assert (direct.SHARPNESS * pure).softmax(-1)[0] > 1 - 1e-5


def test_the_head_with_embeddings_is_clustered_and_the_one_with_masks_is_not():
    """Right embeddings beside masks that say nothing: what comes out is what the embeddings say."""
    heard = hear(EXAMPLES[0], CONFIG)
    right = np.moveaxis(heard.ideal(), 0, -1)
    both = np.concatenate((np.pad(right, ((0, 0), (0, 0), (0, 18))), np.ones_like(right)), -1) / np.sqrt(3.0)

    class Planted:
        config = CONFIG
        segments_at_once = 1

        def embed(self, features):
            return both[None].astype(np.float32)

    masker = methods.of(dataclasses.replace(MAIN, kind="both"), Planted())(heard)
    assert heard.improvement_db(masker(heard.whole)) == pytest.approx(heard.improvement_db(heard.ideal()), abs=0.5)


def test_both_heads_cost_something_until_both_are_right():
    batch, right = a_batch()
    wrong = torch.full_like(right, 0.5)

    def cost(embeddings, masks):
        return two_heads.affinity_and_masks(torch.cat((embeddings, masks), -1), batch, direct.SHARPNESS).item()

    assert cost(right, right.flip(-1)) == pytest.approx(0.0, abs=1e-3)
    assert cost(right, wrong) > 0.1
    assert cost(wrong, right) > 0.1


def test_a_second_stage_starts_from_the_network_of_the_first_and_needs_it(tmp_path, speech):
    [first, then] = (
        Row("first", "", 4, parse_objective("affinity")),
        Row("then", "", 4, parse_objective("whitened_kmeans"), after="first", learning_rate=1e-9),
    )

    def learned(row):
        trained = learning.learn(row, row.config("nowhere", 0.003, 0), speech, tmp_path / row.name, Interruption())
        return trained.network.state_dict()

    with pytest.raises(TrainingError, match="first"):
        learned(then)
    begun = learned(first)
    for name, weight in learned(then).items():
        torch.testing.assert_close(weight, begun[name], rtol=0, atol=1e-6)
