from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerances import rounding

from rdtools import ops
from rdtools.errors import BackendUnavailable, ShapeMismatch
from rdtools.hessians.synthetic import haar_moment, power_law
from rdtools.linalg import cholesky
from rdtools.testing import layers

SHAPES = [(1, 1), (1, 63), (63, 1), (5, 64), (7, 65), (100, 63), (3, 137), (137, 100), (2, 1003)]


def _case(m, n, seed=0):
    rng = np.random.default_rng(seed)
    H = haar_moment(power_law(n, 1.0), rng)
    return rng.standard_normal((m, n)), cholesky(H).lower, rng


def _poison(monkeypatch):
    """Fresh arrays hold NaN, or the least integer, so that an element a kernel forgets to write is seen."""
    real = np.empty

    def empty(*args, **kwargs):
        array = real(*args, **kwargs)
        array.fill(np.iinfo(array.dtype).min if array.dtype.kind == "i" else np.nan)
        return array

    monkeypatch.setattr(np, "empty", empty)


@pytest.mark.parametrize(("m", "n"), SHAPES)
@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_numba_gives_the_codes_of_the_reference(m, n, offset, monkeypatch):
    """Codes are equal except at ties, where the value that is rounded is at a boundary to rounding."""
    W, L, rng = _case(m, n)
    steps, gains = np.exp(rng.standard_normal(n)) * 0.3, rng.uniform(0.5, 1.0, n)
    _poison(monkeypatch)
    kwargs = {"offset": offset, "code_min": -40, "code_max": 39}
    slow, slow_residual = ops.sic_sweep(W, L, steps, gains, backend="reference", **kwargs)
    fast, fast_residual = ops.sic_sweep(W, L, steps, gains, backend="numba", **kwargs)
    scale = np.abs(W @ L).max() + np.abs(steps).max() * np.abs(L).max() * 40
    budget = rounding(n) * scale
    for k in np.flatnonzero((slow != fast).any(axis=1)):
        i = int(np.flatnonzero(slow[k] != fast[k])[-1])  # the first column decided differently
        pivot = steps[i] * L[i, i]
        assert abs(abs(slow_residual[k, i] / pivot) - 0.5) < budget / pivot, f"row {k}, column {i} is no tie"
    same = (slow == fast).all(axis=1)
    np.testing.assert_allclose(fast_residual[same], slow_residual[same], rtol=0, atol=budget)


def test_non_contiguous_input_gives_the_same(rng):
    W, L, _ = _case(40, 70)
    steps = np.full(70, 0.2)
    expected = ops.sic_sweep(W, L, steps)[0]
    wide = np.repeat(np.repeat(W, 2, axis=0), 3, axis=1)[::2, ::3]
    assert not wide.flags.c_contiguous
    assert (ops.sic_sweep(wide, np.asfortranarray(L), steps)[0] == expected).all()


@given(layers(max_condition=1e4), st.floats(0.01, 3.0))
def test_residual_lies_in_the_box(layer, step):
    """Lemma 3.2 of WaterSIC: the residual is in the box of half-width α_i ℓ_ii / 2, for any weights."""
    L = cholesky(layer.hessian.matrix).lower
    steps = step / np.diagonal(L) * np.diagonal(L).mean() * np.abs(layer.weight).max()
    _, residual = ops.sic_sweep(layer.weight, L, steps)
    half = 0.5 * steps * np.diagonal(L)
    slack = rounding(10 * layer.weight.shape[1]) * (np.abs(layer.weight).max() * np.abs(L).max() + half.max())
    assert (np.abs(residual) <= half + slack).all()


@given(layers(max_condition=1e4))
def test_residual_is_the_error_through_the_factor(layer):
    L = cholesky(layer.hessian.matrix).lower
    n = layer.weight.shape[1]
    steps = np.full(n, 0.3 * np.abs(layer.weight).max())
    codes, residual = ops.sic_sweep(layer.weight, L, steps)
    scale = np.abs(layer.weight).max() * np.abs(L).max()
    np.testing.assert_allclose(residual, (layer.weight - codes * steps) @ L, rtol=0, atol=rounding(20 * n) * scale)


@given(layers(max_condition=1e4))
def test_points_of_its_own_grid_are_fixed(layer):
    """Weights on the grid are found again whatever the Hessian: every error is zero, so none is fed back."""
    L = cholesky(layer.hessian.matrix).lower
    m, n = layer.weight.shape
    rng = np.random.default_rng(m * n)
    codes, steps = rng.integers(-50, 50, (m, n)), np.exp(rng.standard_normal(n))
    assert (ops.sic_sweep(codes * steps, L, steps)[0] == codes).all()


def test_inputs_are_not_changed():
    W, L, _ = _case(8, 20)
    before = W.copy(), L.copy()
    ops.sic_sweep(W, L, np.full(20, 0.1))
    assert (before[0] == W).all()
    assert (before[1] == L).all()


def test_gptq_on_reversed_columns_is_the_same_sweep(rng):
    """The textbook recursion on the inverse Hessian, first column to last, decides the same integers (2507.18553, Theorem 4)."""
    n, m, step = 24, 16, 0.25
    H = haar_moment(power_law(n, 1.0), rng)
    W = rng.standard_normal((m, n))
    codes, _ = ops.sic_sweep(W, cholesky(H).lower, np.full(n, step))
    reversed_H, V = H[::-1, ::-1], W[:, ::-1].copy()
    U = np.linalg.cholesky(np.linalg.inv(reversed_H)).T
    textbook = np.empty((m, n))
    for i in range(n):
        textbook[:, i] = np.rint(V[:, i] / step)
        error = (V[:, i] - step * textbook[:, i]) / U[i, i]
        V[:, i:] -= np.outer(error, U[i, i:])
    assert (codes == textbook[:, ::-1]).all()


def test_unknown_backend_and_wrong_shapes_are_refused():
    with pytest.raises(BackendUnavailable, match="available here are"):
        ops.sic_sweep(np.ones((1, 1)), np.ones((1, 1)), np.ones(1), backend="cuda")
    with pytest.raises(ShapeMismatch):
        ops.sic_sweep(np.ones((2, 3)), np.eye(2), np.ones(3))


def test_without_a_place_for_a_cache_it_compiles_all_the_same():
    code = (
        "import numba.core.caching as caching, numpy as np\n"
        "caching.CacheImpl._locator_classes = []\n"
        "from rdtools import ops\n"
        "print(ops.sic_sweep(np.array([[0.6]]), np.ones((1, 1)), np.ones(1), backend='numba')[0].tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[[1]]"
