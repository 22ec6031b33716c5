from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tolerances import rounding

from rdtools.testing import generators, second_moments
from rdtools.theory.ldlq import root_trace_bound
from rdtools.transforms import haar_matrix
from rdtools.transforms.orders import ORDERS, act_order, min_pivot, natural, reversed_natural

orders = pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())


def _d(H, p):
    return np.diagonal(np.linalg.cholesky(H[np.ix_(p, p)])) ** 2


def _conditional_variance(H, i, given_columns):
    """Var(x_i | x_given), by a solve."""
    if len(given_columns) == 0:
        return float(H[i, i])
    cross = H[given_columns, i]
    return float(H[i, i] - cross @ np.linalg.solve(H[np.ix_(given_columns, given_columns)], cross))


@st.composite
def factor_models(draw, *, min_size=2, max_size=24):
    """Few factors and noise, channels of unequal gain."""
    n = draw(st.integers(min_size, max_size))
    generator = draw(generators())
    F = generator.standard_normal((n, max(1, n // 8)))
    scales = np.exp(draw(st.floats(0, 1)) * generator.standard_normal(n))
    return (F @ F.T + 0.1 * np.eye(n)) * np.outer(scales, scales)


@orders
@given(H=second_moments(max_size=16))
@example(H=np.zeros((0, 0)))
@example(H=np.zeros((3, 3)))
@example(H=np.ones((4, 4)))
@example(H=np.array([[2.0]]))
def test_an_order_is_a_permutation_and_leaves_its_input_alone(order, H):
    before = H.copy()
    p = order(H)
    assert p.dtype == np.intp
    assert sorted(p) == list(range(len(H)))
    assert (before == H).all()
    assert (p == order(H)).all()


@orders
@given(H=second_moments(max_size=12, max_condition=1e6))
def test_product_is_the_determinant_and_the_sum_within_its_bounds(order, H):
    """Π ℓ_ii² = det H; n det^{1/n} ≤ Σ ℓ_ii² ≤ tr(S) max S_ii in every order."""
    d = _d(H, order(H))
    values, vectors = np.linalg.eigh(H)
    budget = rounding(len(H) ** 2 + 20, condition=1e6)
    assert np.log(d).sum() == pytest.approx(float(np.log(values).sum()), abs=budget)
    assert len(H) * np.exp(np.log(values).mean()) <= d.sum() * (1 + budget)
    assert d.sum() <= root_trace_bound(np.diagonal((vectors * np.sqrt(values)) @ vectors.T)) * (1 + budget)


@orders
@given(H=second_moments(max_size=12), power=st.integers(-100, 100))
def test_orders_do_not_depend_on_scale(order, H, power):
    assert (order(H) == order(4.0**power * H)).all()


def test_natural_and_reversed_by_hand():
    """H = [[4,2,1],[2,3,1],[1,1,2]]: D sums to 7.625 from the last column on, 7.1 from the first."""
    H = np.array([[4.0, 2, 1], [2, 3, 1], [1, 1, 2]])
    assert natural(H).tolist() == [0, 1, 2]
    assert reversed_natural(H).tolist() == [2, 1, 0]
    assert _d(H, natural(H)).sum() == pytest.approx(7.625, rel=rounding(20))
    assert _d(H, reversed_natural(H)).sum() == pytest.approx(7.1, rel=rounding(20))
    # the largest diagonal entry is the last of the order, so the first decided
    assert act_order(H).tolist() == [2, 1, 0]
    # 2; then 3 − 1/2 beside 4 − 1/2
    assert min_pivot(H).tolist() == [2, 1, 0]
    # here all three greedy choices are the best there is
    assert min(_d(H, list(p)).sum() for p in itertools.permutations(range(3))) == pytest.approx(7.1, rel=rounding(20))


@given(second_moments(max_size=16))
def test_act_order_decides_the_largest_first(H):
    diagonal = np.diagonal(H)[act_order(H)]
    assert (np.diff(diagonal) >= 0).all()


def test_ties():
    """Equal diagonals: as they are, so that a white H is left alone."""
    for order in (act_order, min_pivot):
        assert order(3.0 * np.eye(5)).tolist() == [0, 1, 2, 3, 4]
        assert order(np.diag([2.0, 1.0, 2.0, 1.0])).tolist() == [1, 3, 0, 2]


@given(second_moments(max_size=12, max_condition=1e4) | factor_models(max_size=12))
def test_min_pivot_by_naive_recomputation(H):
    """At every step the variance of the column chosen, given those placed, is the smallest, by a solve for every candidate."""
    n = len(H)
    condition = np.linalg.cond(H)
    p = min_pivot(H)
    slack = rounding(n**2 + 10, condition=condition) * float(np.diagonal(H).max())
    d = _d(H, p)
    for k in range(n):
        variances = [_conditional_variance(H, i, p[:k]) for i in p[k:]]
        assert variances[0] <= min(variances) + slack
        assert d[k] == pytest.approx(variances[0], abs=slack)


@given(st.integers(1, 16), st.data(), generators())
def test_min_pivot_of_a_singular_moment_is_greedy_too(n, data, generator):
    """Columns that those placed explain come next, at no cost; variances by least squares on the samples, whatever the rank."""
    r = data.draw(st.integers(1, n))
    X = generator.standard_normal((r, n))
    X[:, generator.integers(n)] = X[:, 0]
    H = X.T @ X
    p = min_pivot(H)
    assert sorted(p) == list(range(n))
    for k in range(n):
        Q = np.linalg.svd(X[:, p[:k]], full_matrices=False)
        basis = Q[0][:, Q[1] > 1e-9 * max(Q[1].max(initial=0), 1e-300)]
        left = X - basis @ (basis.T @ X)
        variances = (left[:, p[k:]] ** 2).sum(axis=0)
        # condition of the samples placed, squared, times eps; below it columns are equally explained
        kept = Q[1][Q[1] > 1e-9 * max(Q[1].max(initial=0), 1e-300)]
        condition = (kept.max() / kept.min()) ** 2 if len(kept) else 1.0
        assert variances[0] <= variances.min() + rounding(n**2 + 10, condition=condition) * np.diagonal(H).max()


def test_min_pivot_takes_no_noise_for_a_pivot():
    """Columns 0 and 1 equal but for rounding, in a moment summed in single precision: they differ by 3e-8 in what they share with 2.

    Divided by the 2e-16 left of column 1, that would be four times the variance of column 2, which is 1.75 against 1.1 of column 3.
    """
    tiny, noise = 2.0**-52, 3e-8
    H = np.array([[1.0, 1.0, 0.5, 0.0], [1.0, 1.0 + tiny, 0.5 + noise, 0.0], [0.5, 0.5 + noise, 2.0, 0.0], [0.0, 0.0, 0.0, 1.1]])
    assert min_pivot(H).tolist() == [0, 1, 3, 2]


def test_min_pivot_of_columns_over_many_decades():
    """Gains of 1e-6 to 1e6 do not hide what is left of a small column."""
    scales = np.geomspace(1e-6, 1e6, 7)
    H = (0.5 * np.ones((7, 7)) + 0.5 * np.eye(7)) * np.outer(scales, scales)
    assert min_pivot(H[::-1, ::-1]).tolist() == [6, 5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_order_of_the_orders(seed):
    """Printed, Σ ℓ_ii²/tr H: natural .17, act-order .12, min-pivot .12, ascending .60; after a Haar rotation .081, .071, .068.

    A factor model with lognormal scales; the printed one is not said in full, so what is claimed is which is below which.
    """
    n = 256
    rng = np.random.default_rng(seed)
    F = rng.standard_normal((n, n // 8))
    scales = np.exp(rng.standard_normal(n))
    H = (F @ F.T / (n // 8) + 0.1 * np.eye(n)) * np.outer(scales, scales)
    H += 0.01 * np.trace(H) / n * np.eye(n)
    floor = n * np.exp(np.linalg.slogdet(H)[1] / n)
    trace = {name: _d(H, order(H)).sum() for name, order in ORDERS.items()}
    ascending = _d(H, act_order(H)[::-1]).sum()
    assert floor < trace["min-pivot"] <= 1.01 * trace["act-order"] < 0.9 * trace["natural"] < 0.9 * ascending < np.trace(H)
    assert trace["reversed"] < ascending
    Q = haar_matrix(n, int(rng.integers(2**63)))
    rotated = Q.T @ H @ Q
    after = {name: _d(rotated, order(rotated)).sum() for name, order in ORDERS.items()}
    assert floor < after["min-pivot"] < after["act-order"] < after["natural"]
    # rotation helps more than any order does
    assert after["natural"] < trace["act-order"]
