"""Steps are as large as the schedule and the history of gradient norms allow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from unmingle.training.divergence import BAD_STEPS, Divergence
from unmingle.training.optimisation import GradientClipper, learning_rate, standardise


def test_the_learning_rate_warms_up_stays_and_decays_to_a_small_part():
    assert learning_rate(1.0, 0, 0.0) == pytest.approx(0.01)
    assert learning_rate(1.0, 49, 0.1) == pytest.approx(0.5)
    assert learning_rate(1.0, 500, 0.3) == learning_rate(1.0, 5000, 0.6) == 1.0
    assert learning_rate(1.0, 5000, 0.8) == pytest.approx((1.0 + 0.03) / 2)
    assert learning_rate(1.0, 5000, 1.0) == pytest.approx(0.03)
    assert learning_rate(1.0, 5000, 1.1) == pytest.approx(0.03)


def a_parameter(norm):
    parameter = nn.Parameter(torch.zeros(4))
    parameter.grad = torch.full((4,), norm / 2.0)
    return parameter


def test_gradients_are_clipped_at_the_percentile_of_the_norms_so_far():
    clipper = GradientClipper(percentile=10)
    norms = np.linspace(1.0, 11.0, 101)
    for norm in norms:
        parameter = a_parameter(norm)
        assert clipper.clip([parameter]) == pytest.approx(norm)
    assert float(parameter.grad.norm()) == pytest.approx(2.0, rel=1e-3)
    quiet = a_parameter(0.5)
    clipper.clip([quiet])
    assert float(quiet.grad.norm()) == pytest.approx(0.5, rel=1e-3)


def test_only_recent_norms_count():
    clipper = GradientClipper(percentile=50, remember=10)
    for norm in [100.0] * 20 + [1.0] * 10:
        clipper.clip([a_parameter(norm)])
    assert list(clipper.norms) == pytest.approx([1.0] * 10)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_is_reported_and_not_remembered(broken):
    clipper = GradientClipper(percentile=10)
    assert not np.isfinite(clipper.clip([a_parameter(broken)]))
    assert not clipper.norms


def test_a_band_in_which_nothing_happens_is_not_blown_up():
    features = torch.randn(4, 10, 3, generator=torch.Generator().manual_seed(0))
    features[..., 1] = -6.9
    mean, deviation = standardise(features)
    assert mean.shape == deviation.shape == (3,)
    assert float(mean[1]) == pytest.approx(-6.9)
    assert float(deviation.min()) == pytest.approx(0.1)


def test_the_warm_up_can_be_longer_or_a_share_of_the_run():
    assert learning_rate(1.0, 499, 0.1, warm_up=1000) == pytest.approx(0.5)
    assert learning_rate(1.0, 0, 0.0, warm_up=0) == 1.0
    assert learning_rate(1.0, 10_000, 0.05, warm_up=0.1) == pytest.approx(0.5)
    assert 0.0 < learning_rate(1.0, 0, 0.0, warm_up=0.1) < 0.05


def test_only_steps_in_a_row_without_a_loss_or_a_gradient_make_a_run_go_back():
    divergence = Divergence()
    nan = float("nan")
    assert not any(divergence.note(nan, 1.0) for _ in range(BAD_STEPS - 1))
    assert not divergence.note(1.0, 1.0)
    assert [divergence.note(1.0, nan) for _ in range(BAD_STEPS)] == [False] * (BAD_STEPS - 1) + [True]
