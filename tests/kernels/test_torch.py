"""Kernels of torch's own functions, on tensors in main memory, against the references."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from rdtools.kernels import column_histogram_torch, coordinate_descent_torch, e8p_torch, trellis_torch
from tolerances import rounding

from rdtools import ops
from rdtools.linalg import cholesky
from rdtools.moments.synthetic import haar_moment, power_law
from rdtools.ops.e8p_residual import e8_short_nearest
from rdtools.ops.trellis import trellis_quantize, trellis_values
from rdtools.transforms.hadamard import _core, core_order

DTYPES = (np.float64, np.float32)


def _there(*arrays):
    return tuple(torch.from_numpy(np.array(x)) for x in arrays)


def _close(found, expected, operations):
    unit = np.finfo(expected.dtype).eps / np.finfo(np.float64).eps
    np.testing.assert_allclose(found, expected, rtol=0, atol=rounding(operations) * unit * np.abs(expected).max(initial=1.0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", [None, 2**64 - 3])
@pytest.mark.parametrize(("m", "n"), [(1, 1), (5, 7), (63, 137), (3, 0), (0, 3)])
def test_sweeps_decide_what_the_reference_decides(m, n, seed, dtype):
    """Weights, factors and steps are dyadic and feedback is sparse, so that no sum is rounded: equal integers and residuals."""
    rng = np.random.default_rng(n)
    feedback = rng.integers(-2, 3, (n, n)) / 4.0 * (rng.random((n, n)) < 0.02)
    W, L = rng.integers(-64, 64, (m, n)) / 16.0, np.tril(feedback, -1) + np.eye(n)
    steps, gains = np.exp2(rng.integers(-3, 1, n).astype(float)), np.exp2(-rng.integers(0, 2, n).astype(float))
    settings = {"offset": 0.5, "integer_min": -3, "integer_max": 2, "seed": seed}
    expected = ops.sic_sweep(W.astype(dtype), L, steps, gains, backend="reference", **settings)
    found = ops.sic_sweep(*_there(W.astype(dtype), L, steps, gains), backend="torch", **settings)
    assert found[0].dtype == torch.int32
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a.numpy(), b)
    assert ops.sic_sweep(*_there(W, L, steps), backend="torch", residual=False)[1] is None


@pytest.mark.parametrize("normal", [False, True])
def test_fitted_gains_are_those_of_the_reference(normal):
    rng = np.random.default_rng(0)
    L = cholesky(haar_moment(power_law(137, 0.5), rng)).lower
    W, steps = rng.standard_normal((63, 137)), np.full(137, 0.6)
    expected = ops.sic_sweep_sample_gains(W, L, steps, backend="reference", normal=normal)
    found = ops.sic_sweep_sample_gains(*_there(W, L, steps), backend="torch", normal=normal)
    np.testing.assert_array_equal(found[0].numpy(), expected[0])
    for a, b in zip(found[1:], expected[1:], strict=True):
        _close(a.numpy(), b, 137**2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "n"), [(1, 1), (3, 64), (5, 96), (2, 1), (0, 8)])
def test_hadamard_transforms(m, n, dtype):
    """Without a core the additions are those of the reference; with one they are in another order."""
    x, core = np.random.default_rng(n).standard_normal((m, n)).astype(dtype), _core(core_order(n))
    expected, (y, dense) = x.copy(), _there(x, core)
    ops.hadamard_inplace(expected, core, backend="reference")
    ops.hadamard_inplace(y, dense, backend="torch")
    _close(y.numpy(), expected, len(core) - 1)


@pytest.mark.parametrize("m", [1, 9])
def test_products_of_reflections(m):
    """With leading numbers that are not read, a reflection that acts on nothing, and one of scale zero."""
    rng = np.random.default_rng(m)
    x, U, starts = rng.standard_normal((m, 12)), rng.standard_normal((5, 12)), np.array([0, 3, 11, 12, 2])
    scales = np.array([2.0 / max(float(u[s:] @ u[s:]), 1.0) for u, s in zip(U, starts, strict=True)])
    scales[1] = 0.0
    expected, (y, *rest) = x.copy(), _there(x, U, scales, starts)
    ops.householder_product(expected, U, scales, starts, backend="reference")
    ops.householder_product(y, *rest, backend="torch")
    _close(y.numpy(), expected, 5 * 24)


@pytest.mark.parametrize(("low", "width"), [(-40, 80), (-2, 5), (3, 1), (0, 0), (-(2**31), 9)])
def test_histograms_in_one_strip_and_in_many(low, width, monkeypatch):
    integers = np.random.default_rng(0).integers(-40, 40, (63, 137)).astype(np.int32)
    integers[3, 5], integers[4, 6] = 2**31 - 1, -(2**31)
    expected = ops.column_histogram(integers, low=low, width=width, backend="reference")
    for entries in (2**24, 1000):
        monkeypatch.setattr(column_histogram_torch, "_ENTRIES", entries)
        np.testing.assert_array_equal(ops.column_histogram(*_there(integers), low=low, width=width, backend="torch").numpy(), expected)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_nearest_words(bits, monkeypatch):
    """Normal vectors have no ties: the codes of the reference, in more than one block."""
    monkeypatch.setattr(e8p_torch, "_BLOCK", 20)
    x = np.random.default_rng(bits).standard_normal((33, 8)).astype(np.float32)
    expected, values = ops.rvq_nearest(x, bits, backend="reference")
    found, there = ops.rvq_nearest(*_there(x), bits, backend="torch")
    np.testing.assert_array_equal(there.numpy(), values)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a.numpy(), b)
    for nearest in (ops.e8p_nearest, e8_short_nearest):
        np.testing.assert_array_equal(nearest(*_there(x), backend="torch")[1].numpy(), nearest(x, backend="reference")[1])


@pytest.mark.parametrize("tail_biting", [False, True])
@pytest.mark.parametrize(("code", "bits", "length"), [("3inst", 1, 16), ("1mad", 3, 9), ("hyb", 2, 12), ("3inst", 5, 1)])
def test_trellis_searches(code, bits, length, tail_biting, monkeypatch):
    """Normal numbers in float64 have one nearest path: the states of the reference, in one batch and in several."""
    x, values = np.random.default_rng(length).standard_normal((5, length)), trellis_values(code, 5)
    length -= length % values.shape[1]
    expected, nearest = trellis_quantize(x[:, :length], values, bits, tail_biting=tail_biting, backend="reference")
    for entries in (2**28, 200):
        monkeypatch.setattr(trellis_torch, "_ENTRIES", entries)
        states, found = trellis_quantize(*_there(x[:, :length], values), bits, tail_biting=tail_biting, backend="torch")
        np.testing.assert_array_equal(states.numpy(), expected)
        np.testing.assert_array_equal(found.numpy(), nearest)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("panel", [128, 3])
def test_coordinate_descent(dtype, panel, monkeypatch):
    """Weights and moments are dyadic, so that no sum is rounded: the same integers after as many passes."""
    monkeypatch.setattr(coordinate_descent_torch, "PANEL", panel)
    rng = np.random.default_rng(1)
    B = rng.integers(-2, 3, (20, 9)) / 2.0
    W, H, steps = (rng.integers(-32, 32, (7, 9)) / 16.0).astype(dtype), B.T @ B + np.eye(9), np.exp2(-rng.integers(0, 2, 9).astype(float))
    start, settings = np.zeros((7, 9), dtype=np.int32), {"order": rng.permutation(9), "integer_min": -3, "integer_max": 2}
    arguments = (W, H, start, steps)
    expected, used = ops.coordinate_descent(*arguments, passes=6, offset=0.5, backend="reference", **settings)
    found, passes = ops.coordinate_descent(*_there(*arguments), passes=6, offset=0.5, backend="torch", **settings)
    np.testing.assert_array_equal(found.numpy(), expected)
    assert passes == used > 1
    assert ops.coordinate_descent(*_there(*arguments), passes=0, backend="torch")[1] == 0
