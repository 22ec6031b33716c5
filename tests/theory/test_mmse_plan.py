from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import STANDARD_ERRORS

from rdtools import ops
from rdtools.coding import count_integers, mean_column_entropy
from rdtools.linalg import symmetric_eigenvalues
from rdtools.moments.synthetic import channel_scaled, haar_moment, power_law, two_level
from rdtools.testing import second_moments
from rdtools.theory import mmse_plan
from rdtools.theory.mmse_plan import DEFAULT_RELATIVE_RIDGE, plan_mmse_sic
from rdtools.theory.mmse_sic import retarget, water_level_ridge, watersic_at_rate
from rdtools.theory.waterfilling import rate_distortion
from rdtools.transforms.orders import ORDERS
from rdtools.units import SCALAR_LOSS_BITS


def low_rank(rng, n=96, rank=10):
    """Few strong directions over a floor, and channels of unequal gain: where cancellation without a ridge feeds most back."""
    X = rng.standard_normal((n, rank))
    return channel_scaled(X @ X.T / rank + 1e-3 * np.eye(n), np.exp(0.5 * rng.standard_normal(n)))


MOMENTS = {
    "haar i^-1.5": lambda rng: haar_moment(power_law(96, 1.5), rng),
    "two levels, 1e-4": lambda rng: haar_moment(two_level(96, 1e-4), rng),
    "low rank, scaled": low_rank,
}


def gap(point, values):
    return point.rate_bits - float(rate_distortion(point.distortion, values).rate_bits)


@settings(max_examples=25)
@given(second_moments(min_size=1, max_size=10, max_condition=1e6), st.floats(0.2, 4.0))
def test_never_predicted_to_be_worse_than_watersic(H, rate):
    """At the same rate, against WaterSIC in natural order with and without the gain that needs no side information."""
    plan = plan_mmse_sic(H, 1.5, rate)
    L = np.linalg.cholesky(H)
    assert plan.point.rate_bits == pytest.approx(rate, abs=1e-7)
    for lmmse in (True, False):
        _, plain = watersic_at_rate(L, 1.5, rate, lmmse=lmmse)
        # both rates are met to 1e-7 bit, and D falls by at most 2 ln 2 of itself a bit; candidates 0.02 bit behind are not followed up
        assert plan.point.distortion <= plain.distortion * (1 + 1e-6)
    assert plan.gap_bits == pytest.approx(gap(plan.point, 1.5 * np.maximum(np.linalg.eigvalsh(H), 0)), abs=1e-9)


@pytest.mark.parametrize("rate", [1.0, 1.5, 2.0, 3.0, 4.0])
@pytest.mark.parametrize("name", MOMENTS)
def test_within_a_third_of_a_bit_of_the_limit(name, rate):
    """The scalar loss and a few hundredths, at every rate, where WaterSIC is up to a bit away."""
    H = MOMENTS[name](np.random.default_rng(3))
    plan = plan_mmse_sic(H, 1.0, rate)
    assert 0 < plan.gap_bits < 0.32
    assert plan.ridge == plan.relative_ridge * water_level_ridge(symmetric_eigenvalues(H), 1.0, rate)
    assert 1.0 <= plan.relative_ridge <= 1.6 * DEFAULT_RELATIVE_RIDGE
    np.testing.assert_array_equal(plan.gains, np.ones(len(H)))


def test_watersic_is_far_away_where_the_plan_is_near():
    """The claim of the module: half the directions at 1e-4, 2 bits: WaterSIC above 0.7 bit from R(D), the plan below 0.28."""
    H = MOMENTS["two levels, 1e-4"](np.random.default_rng(3))
    values = np.linalg.eigvalsh(H)
    points = [watersic_at_rate(np.linalg.cholesky(H), 1.0, 2.0, lmmse=lmmse)[1] for lmmse in (True, False)]
    assert min(gap(point, values) for point in points) > 0.7
    assert plan_mmse_sic(H, 1.0, 2.0).gap_bits < 0.28


@pytest.mark.parametrize("rate", [1.0, 2.0])
@pytest.mark.parametrize("name", MOMENTS)
def test_plan_keeps_its_promise(name, rate):
    """Its order, ridge and steps, run on 8192 rows of iid normal weights: the predicted gap within 0.01 bit."""
    rng = np.random.default_rng(5)
    H = MOMENTS[name](rng)
    plan = plan_mmse_sic(H, 1.0, rate)
    A = H[np.ix_(plan.order, plan.order)] + plan.ridge * np.eye(len(H))
    L = np.linalg.cholesky(A)
    np.testing.assert_allclose(plan.steps, plan.scale / np.diagonal(L), rtol=1e-9)
    W = rng.standard_normal((8192, len(H)))
    integers, _ = ops.sic_sweep(retarget(W[:, plan.order], L, plan.ridge), L, plan.steps, plan.gains)
    E = W.copy()
    E[:, plan.order] -= integers * (plan.steps * plan.gains)
    rows = ((E @ H) * E).mean(axis=1)
    measured = mean_column_entropy(count_integers(integers)) - float(rate_distortion(rows.mean(), np.linalg.eigvalsh(H)).rate_bits)
    # a relative error of D is 0.72 of it in bits
    assert STANDARD_ERRORS * 0.72 * rows.std() / math.sqrt(len(rows)) / rows.mean() < 0.01
    assert measured == pytest.approx(plan.gap_bits, abs=0.01)


def test_orders_are_the_callers():
    """The best of those given; with strongly unequal channels the weakest decided first."""
    H = MOMENTS["low rank, scaled"](np.random.default_rng(3))
    by_name = {name: order(H) for name, order in ORDERS.items()}
    alone = {name: plan_mmse_sic(H, 1.0, 1.0, orders={name: order}) for name, order in by_name.items()}
    default = plan_mmse_sic(H, 1.0, 1.0)
    assert default.order_name == "reversed-act-order"
    assert default.order.tolist() == by_name["act-order"][::-1].tolist()
    assert default.gap_bits < min(alone[name].gap_bits for name in ("natural", "reversed", "act-order", "min-pivot"))
    together = plan_mmse_sic(H, 1.0, 1.0, orders=by_name, eigenvalues=np.linalg.eigvalsh(H))
    assert together.order_name == min(alone, key=lambda name: alone[name].gap_bits)
    assert together.gap_bits == pytest.approx(alone[together.order_name].gap_bits, abs=1e-9)


def test_scale_equivariant():
    """H → cH, W → dW: the same order and relative ridge, and steps times d."""
    H = MOMENTS["low rank, scaled"](np.random.default_rng(3))
    one, other = plan_mmse_sic(H, 1.0, 1.5), plan_mmse_sic(9.0 * H, 4.0, 1.5)
    assert one.order_name == other.order_name
    # a ridge at the vertex of a parabola of gaps that agree to rounding and to the tolerance of a rate
    assert other.relative_ridge == pytest.approx(one.relative_ridge, rel=1e-6)
    np.testing.assert_allclose(other.steps, 2.0 * one.steps, rtol=1e-6)
    assert other.ridge == pytest.approx(9.0 * one.ridge, rel=1e-6)


def test_singular_moment_needs_no_damping():
    """Half the directions empty: WaterSIC has no factor, the ridge has."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((24, 48))
    plan = plan_mmse_sic(X.T @ X / 24, 1.0, 1.5)
    assert plan.ridge > 0
    assert plan.gap_bits < 0.28


def test_wide_layers_take_the_default(monkeypatch):
    monkeypatch.setattr(mmse_plan, "SEARCH_COLUMNS", 95)
    H = MOMENTS["haar i^-1.5"](np.random.default_rng(3))
    plan = plan_mmse_sic(H, 1.0, 2.0, orders={"reversed": np.arange(96)[::-1], "natural": np.arange(96)})
    assert (plan.order_name, plan.relative_ridge) == ("reversed", DEFAULT_RELATIVE_RIDGE)
    assert plan.point.rate_bits == pytest.approx(2.0, abs=1e-7)
    monkeypatch.undo()
    # what the search is worth here
    assert 0 <= plan.gap_bits - plan_mmse_sic(H, 1.0, 2.0).gap_bits < 0.005


@pytest.mark.parametrize(("variance", "rate", "orders"), [(0.0, 1.0, None), (1.0, 0.0, None), (1.0, 1.0, {})])
def test_bad_arguments_are_refused(variance, rate, orders):
    with pytest.raises(ValueError, match="mmse-sic"):
        plan_mmse_sic(np.eye(2), variance, rate, orders=orders)


@pytest.mark.parametrize("rate", [1e-6, 1e-3, 24.0, 28.0, 40.0])
def test_gaps_at_very_low_and_very_high_rates(rate):
    """H = diag: ½ log2(2πe/12) at high rate, where D was rounded to 0 from 28 bits on; below 1e-3 bit the scale was not found."""
    plan = plan_mmse_sic(np.array([[1.0, 0.5, 0.1], [0.5, 2.0, 0.3], [0.1, 0.3, 5.0]]), 1.0, rate)
    assert plan.point.rate_bits == pytest.approx(rate, rel=1e-4, abs=1e-7 * min(rate, 1))
    if rate > 1:
        assert plan.gap_bits == pytest.approx(SCALAR_LOSS_BITS, abs=1e-6)
    else:
        assert 0 <= plan.gap_bits < rate


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_plans_do_not_depend_on_the_scale_of_the_moment(scale):
    H = np.array([[1.0, 0.9], [0.9, 1.0]])
    plain, scaled = plan_mmse_sic(H, 1.0, 1.5), plan_mmse_sic(scale * H, 1.0, 1.5)
    assert scaled.gap_bits == pytest.approx(plain.gap_bits, abs=1e-6)
    assert scaled.ridge / scale == pytest.approx(plain.ridge, rel=1e-6)
