"""The fast losses equal their explicit definitions, and have the properties that their papers state."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn.functional import normalize, one_hot

from unmingle.training import losses

BATCH, FRAMES, BINS, DIM = 3, 7, 5, 6


def a_case(num_sources, seed=0):
    """Random unit-norm V, one-hot Y and weights that sum to 1 over each item, some of them 0."""
    g = torch.Generator().manual_seed(seed)
    V = normalize(torch.randn(BATCH, FRAMES, BINS, DIM, generator=g), dim=-1)
    labels = torch.randint(num_sources, (BATCH, FRAMES, BINS), generator=g)
    w = torch.rand(BATCH, FRAMES, BINS, generator=g)
    w = torch.where(w > 0.2, w, torch.zeros(()))
    return V, one_hot(labels, num_sources).float(), w / w.sum((1, 2), keepdim=True)


def perfect(Y):
    """Embeddings that say exactly which source a bin belongs to."""
    return torch.nn.functional.pad(Y, (0, DIM - Y.shape[-1]))


def items(V, Y, w):
    """Each item of a batch in float64: (bins, dim), (bins, source), (bins,)."""
    return zip(V.double().flatten(1, 2), Y.double().flatten(1, 2), w.double().flatten(1), strict=True)


def explicit_affinity(V, Y, w):
    """|| W^1/2 (V V' - Y Y') W^1/2 ||_F^2 with the bins x bins matrices written out, in float64."""
    total = 0.0
    for v, y, weight in items(V, Y, w):
        root = weight.sqrt()
        difference = root[:, None] * (v @ v.T - y @ y.T) * root[None, :]
        total += float(difference.square().sum())
    return total / len(V)


@pytest.mark.parametrize("num_sources", [1, 2, 3, 5])
def test_low_rank_affinity_equals_the_explicit_one(num_sources):
    V, Y, w = a_case(num_sources)
    assert float(losses.affinity(V, Y, w)) == pytest.approx(explicit_affinity(V, Y, w), rel=1e-5)


def test_affinity_of_perfect_embeddings_is_zero():
    _, Y, w = a_case(3)
    assert float(losses.affinity(perfect(Y), Y, w)) == pytest.approx(0.0, abs=1e-6)


def test_bins_without_weight_do_not_count():
    V, Y, w = a_case(2)
    other = torch.where(w.unsqueeze(-1) > 0, V, -V.flip(-1))
    assert (w == 0).any()
    for loss in (losses.affinity, losses.whitened_kmeans):
        assert float(loss(V, Y, w)) == pytest.approx(float(loss(other, Y, w)), abs=1e-6)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3)))[1:])
def test_the_order_of_sources_does_not_matter(order):
    V, Y, w = a_case(3)
    turned = Y[..., list(order)]
    target = torch.rand(BATCH, FRAMES, BINS, 3, generator=torch.Generator().manual_seed(1))
    mixture = target.sum(-1)
    for loss in (losses.affinity, losses.whitened_kmeans):
        assert float(loss(V, turned, w)) == pytest.approx(float(loss(V, Y, w)), rel=1e-5)
    plain = losses.attractor_mask(V, Y, w, target, mixture, 5.0)
    swapped = losses.attractor_mask(V, turned, w, target[..., list(order)], mixture, 5.0)
    assert float(swapped) == pytest.approx(float(plain), rel=1e-5)


def test_turning_the_space_does_not_matter():
    V, Y, w = a_case(2)
    turn = torch.linalg.qr(torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(2)))[0]
    for loss in (losses.affinity, losses.whitened_kmeans):
        assert float(loss(V @ turn, Y, w)) == pytest.approx(float(loss(V, Y, w)), abs=1e-4)


@pytest.mark.parametrize("num_sources", [1, 2, 3])
def test_whitened_kmeans_lies_between_zero_and_the_number_of_sources(num_sources):
    V, Y, w = a_case(num_sources)
    assert 0.0 < float(losses.whitened_kmeans(V, Y, w)) < num_sources
    # The ridge that keeps the inverse finite costs a little.
    assert float(losses.whitened_kmeans(perfect(Y), Y, w)) == pytest.approx(0.0, abs=2e-3)


def test_whitened_kmeans_equals_its_definition():
    V, Y, w = a_case(3)
    total = 0.0
    for v, y, weight in items(V, Y, w):
        W = torch.diag(weight)
        explained = torch.linalg.inv(v.T @ W @ v) @ v.T @ W @ y @ torch.linalg.inv(y.T @ W @ y) @ y.T @ W @ v
        total += 3.0 - float(torch.trace(explained))
    assert float(losses.whitened_kmeans(V, Y, w)) == pytest.approx(total / BATCH, abs=2e-3)


def test_an_absent_source_adds_nothing():
    V, Y, w = a_case(2)
    with_absent = torch.nn.functional.pad(Y, (0, 1))
    target = torch.rand(BATCH, FRAMES, BINS, 2, generator=torch.Generator().manual_seed(1))
    mixture = target.sum(-1)
    for loss in (losses.affinity, losses.whitened_kmeans):
        assert float(loss(V, with_absent, w)) == pytest.approx(float(loss(V, Y, w)), rel=1e-5)
    padded = losses.attractor_mask(V, with_absent, w, torch.nn.functional.pad(target, (0, 1)), mixture, 5.0)
    assert float(padded) == pytest.approx(float(losses.attractor_mask(V, Y, w, target, mixture, 5.0)), rel=1e-5)


def test_attractor_masks_of_perfect_embeddings_are_nearly_right():
    """Sources that do not overlap: what is left at perfect embeddings is the softness of the masks."""
    V, Y, w = a_case(2)
    mixture = torch.rand(BATCH, FRAMES, BINS, generator=torch.Generator().manual_seed(1))
    target = Y * mixture.unsqueeze(-1)
    random, right = (float(losses.attractor_mask(v, Y, w, target, mixture, 5.0)) for v in (V, perfect(Y)))
    assert right < 0.02 < random
    assert float(losses.attractor_mask(perfect(Y), Y, w, target, mixture, 30.0)) == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("name", ["affinity", "whitened_kmeans", "attractor_mask"])
def test_following_the_gradient_lowers_the_loss(name):
    V, Y, w = a_case(2)
    mixture = torch.rand(BATCH, FRAMES, BINS, generator=torch.Generator().manual_seed(1))
    further = (Y * mixture.unsqueeze(-1), mixture, 5.0) if name == "attractor_mask" else ()
    x = V.clone().requires_grad_()
    optimiser = torch.optim.Adam([x], 0.05)
    values = []
    for _ in range(30):
        loss = getattr(losses, name)(normalize(x, dim=-1), Y, w, *further)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        values.append(loss.item())
    assert values[-1] < 0.7 * values[0]


def test_attractor_masks_after_steps_are_those_of_kmeans():
    """With steps, centroids move exactly as Lloyd's algorithm moves them, and the gradient goes through."""
    V, Y, w = (x[:1] for x in a_case(2))
    w = w / w.sum()
    mixture = w * 3.0
    target = Y * mixture.unsqueeze(-1)
    flat, mass = V.flatten(1, 2)[0], w.flatten()
    members = Y.flatten(1, 2)[0]
    for _ in range(3):
        centroids = normalize((members * mass.unsqueeze(-1)).T @ flat, dim=-1)
        members = one_hot((flat @ centroids.T).argmax(-1), Y.shape[-1]).float()
    centroids = normalize((members * mass.unsqueeze(-1)).T @ flat, dim=-1)
    masks = (5.0 * flat @ centroids.T).softmax(-1)
    wanted = (masks * mixture.flatten().unsqueeze(-1) - target.flatten(1, 2)[0]).abs().sum() / mixture.sum()
    V.requires_grad_()
    found = losses.attractor_mask(V, Y, w, target, mixture, 5.0, steps=3)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-4)
    found.backward()
    assert V.grad is not None
    assert V.grad.abs().sum() > 0


def plain_attractor_mask(V, Y, w, target, mixture, sharpness, steps):
    """attractor_mask as its docstring tells it, bins before sources, with every centroid in the graph."""
    flat = V.flatten(1, 2)
    mass = w.flatten(1).unsqueeze(-1)
    members = Y.flatten(1, 2) * mass
    absent = (members.sum(1) == 0).unsqueeze(1)
    centroids = normalize(members.transpose(1, 2) @ flat, dim=-1)
    for _ in range(steps):
        similarity = (flat @ centroids.transpose(1, 2)).masked_fill(absent, -torch.inf)
        members = one_hot(similarity.argmax(-1), Y.shape[-1]) * mass
        kept = members.sum(1).unsqueeze(-1) > 0
        centroids = torch.where(kept, normalize(members.transpose(1, 2) @ flat, dim=-1), centroids)
    similarity = (flat @ centroids.transpose(1, 2)).masked_fill(absent, -torch.inf)
    estimate = (sharpness * similarity).softmax(-1) * mixture.flatten(1).unsqueeze(-1)
    error = (estimate - target.flatten(1, 2)).abs().sum((1, 2)) / mixture.flatten(1).sum(1)
    return error.mean()


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("case", ["two", "three", "one of them absent", "one of them lost"])
def test_attractor_masks_equal_the_plain_version_also_in_their_gradient(case, steps):
    V, Y, w = (x.double() for x in a_case(2 if case == "two" else 3))
    if case == "one of them absent":
        Y[0, ..., 1] += Y[0, ..., 2]
        Y[0, ..., 2] = 0.0
    if case == "one of them lost":
        # Half of the third source looks like the first and half like the second: its centroid is nobody's nearest.
        frames = torch.arange(FRAMES)
        looks = one_hot((frames >= 3).long(), DIM).double()[None, :, None]
        V = normalize(looks + 0.01 * V, dim=-1)
        owner = torch.where((frames == 2) | (frames == 3), 2, (frames >= 3).long())
        Y = one_hot(owner[None, :, None].expand(BATCH, -1, BINS), 3).double()
    target = torch.rand(Y.shape, generator=torch.Generator().manual_seed(1)).double()
    mixture = target.sum(-1)
    plain, fast = V.clone().requires_grad_(), V.clone().requires_grad_()
    wanted = plain_attractor_mask(plain, Y, w, target, mixture, 5.0, steps)
    found = losses.attractor_mask(fast, Y, w, target, mixture, 5.0, steps)
    wanted.backward()
    found.backward()
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)
    torch.testing.assert_close(fast.grad, plain.grad, rtol=1e-4, atol=1e-6)


def with_background(num_sources, seed=0):
    """A case whose last column is the background's, with targets that do not overlap, and the mixture."""
    V, Y, w = a_case(num_sources + 1, seed)
    mixture = torch.rand(BATCH, FRAMES, BINS, generator=torch.Generator().manual_seed(seed + 1))
    return V, Y, w, Y * mixture.unsqueeze(-1), mixture


def perfect_with_background(Y):
    """The background along the first axis, voices away from it and at right angles to each other."""
    voices = Y[..., :-1] @ torch.eye(Y.shape[-1] - 1, DIM - 1)
    away = 2.0 * Y[..., -1:] - 1.0  # cosine with the first axis: 1 for background, -1 for voices
    return normalize(torch.cat((away, voices), -1), dim=-1)


def test_entropy_of_the_background_equals_its_definition():
    V, Y, w = a_case(3)
    total = 0.0
    for v, y, weight in items(V, Y, w):
        chance = 1.0 / (1.0 + torch.exp(-5.0 * v[:, 0]))
        total -= float((weight * (y[:, -1] * chance.log() + (1.0 - y[:, -1]) * (1.0 - chance).log())).sum())
    assert float(losses.background_entropy(V, Y, w, 5.0)) == pytest.approx(total / BATCH, rel=1e-5)


def test_entropy_of_the_background_is_zero_where_it_is_told_for_sure():
    _, Y, w, _, _ = with_background(2)
    V = torch.zeros(BATCH, FRAMES, BINS, DIM)
    V[..., 0] = 2.0 * Y[..., -1] - 1.0
    assert float(losses.background_entropy(V, Y, w, 40.0)) == pytest.approx(0.0, abs=1e-6)
    assert float(losses.background_entropy(-V, Y, w, 40.0)) == pytest.approx(40.0, rel=1e-4)


def test_swapping_sources_changes_no_loss_with_a_background():
    V, Y, w, target, mixture = with_background(3)
    behind = losses.background_logit(V, 5.0).sigmoid()
    order = [2, 0, 1, 3]  # the background stays last
    assert torch.equal(losses.background_entropy(V, Y[..., order], w, 5.0), losses.background_entropy(V, Y, w, 5.0))
    for steps in (0, 3):
        plain, swapped = (
            float(losses.attractor_mask(V, Y[..., o], w, target[..., o], mixture, 5.0, steps, behind))
            for o in ([0, 1, 2, 3], order)
        )
        assert swapped == pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize("steps", [0, 3])
def test_masks_of_perfect_embeddings_are_right_with_a_background(steps):
    V, Y, w, target, mixture = with_background(2)
    right = perfect_with_background(Y)
    behind = losses.background_logit(right, 80.0).sigmoid()
    assert float(losses.attractor_mask(right, Y, w, target, mixture, 60.0, steps, behind)) == pytest.approx(0, abs=1e-5)
    behind = losses.background_logit(V, 5.0).sigmoid()
    assert float(losses.attractor_mask(V, Y, w, target, mixture, 5.0, steps, behind)) > 0.3


def test_the_background_is_no_cluster_and_takes_its_part_of_every_mask():
    """What is the background's for sure counts for no centroid: embeddings there do not matter to the voices."""
    V, Y, w, target, mixture = with_background(2)
    behind = Y[..., -1]
    other = torch.where(behind.unsqueeze(-1) > 0, -V.flip(-1), V)
    plain, changed = (float(losses.attractor_mask(v, Y, w, target, mixture, 5.0, 3, behind)) for v in (V, other))
    assert changed == pytest.approx(plain, rel=1e-5)
    # All is background: the voices have nothing, whatever the centroids.
    everything = torch.ones_like(behind)
    wanted = (mixture - target[..., -1]).sum((1, 2)) + target[..., :-1].sum((1, 2, 3))
    found = float(losses.attractor_mask(V, Y, w, target, mixture, 5.0, 0, everything))
    assert found == pytest.approx(float((wanted / mixture.sum((1, 2))).mean()), rel=1e-5)


def test_without_a_background_in_it_a_chance_of_zero_is_no_background_at_all():
    V, Y, w = a_case(2)
    mixture = torch.rand(BATCH, FRAMES, BINS, generator=torch.Generator().manual_seed(1))
    target = Y * mixture.unsqueeze(-1)
    padded = (torch.nn.functional.pad(x, (0, 1)) for x in (Y, target))
    none, y_and_none = torch.zeros_like(mixture), tuple(padded)
    found = losses.attractor_mask(V, y_and_none[0], w, y_and_none[1], mixture, 5.0, 3, none)
    assert float(found) == pytest.approx(float(losses.attractor_mask(V, Y, w, target, mixture, 5.0, 3)), rel=1e-5)


def test_voices_that_are_all_absent_give_a_finite_loss_and_gradient():
    V, Y, w, _, mixture = with_background(2)
    only = torch.zeros_like(Y)
    only[..., -1] = 1.0
    V.requires_grad_()
    behind = losses.background_logit(V, 5.0).sigmoid()
    loss = losses.attractor_mask(V, only, w, only * mixture.unsqueeze(-1), mixture, 5.0, 3, behind)
    (loss + losses.background_entropy(V, only, w, 5.0)).backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(V.grad).all()


def test_following_the_gradient_tells_the_background():
    V, Y, w, target, mixture = with_background(2)
    x = V.clone().requires_grad_()
    optimiser = torch.optim.Adam([x], 0.05)
    values = []
    for _ in range(60):
        v = normalize(x, dim=-1)
        behind = losses.background_logit(v, 5.0).sigmoid()
        mask = losses.attractor_mask(v, Y, w, target, mixture, 5.0, 3, behind)
        loss = mask + losses.background_entropy(v, Y, w, 5.0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        values.append(loss.item())
    assert values[-1] < 0.4 * values[0]
    told = losses.background_logit(normalize(x, dim=-1), 5.0) > 0
    heard = w > 0
    assert (told[heard] == (Y[..., -1] > 0)[heard]).float().mean() > 0.95
