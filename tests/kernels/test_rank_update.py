from __future__ import annotations

import numpy as np
import pytest
from rdtools.kernels import rank_update_numba

from rdtools import ops
from rdtools.errors import BackendUnavailable, ShapeMismatch, UnsupportedDtype

SHAPES = [(0, 3), (3, 0), (1, 1), (63, 1), (1, 63), (100, 137), (1003, 100), (2500, 20)]


def _exact(x):
    """Lower triangle of the sum, and of that of absolute values, in extended precision."""
    wide = x.astype(np.longdouble)
    return np.tril(wide.T @ wide), np.abs(wide).T @ np.abs(wide)


def _naive(x):
    """The sum token by token in x's dtype over blocks, and the blocks in float64."""
    total = np.zeros((x.shape[1],) * 2)
    for start in range(0, len(x), rank_update_numba.TOKENS):
        part = np.zeros_like(total, dtype=x.dtype)
        for row in x[start : start + rank_update_numba.TOKENS]:
            part += np.outer(row, row)
        total += np.tril(part)
    return total


@pytest.mark.parametrize(("k", "n"), SHAPES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("mean", [0.0, 3.0])
def test_sums_are_within_their_budget(k, n, dtype, mean, monkeypatch):
    """At most twice the largest error of adding token by token in the same dtype, and the bound of the docstring for every element."""
    x = (np.random.default_rng(k + n).standard_normal((k, n)) + mean).astype(dtype)
    ops.rank_update(np.zeros((1, 1)), np.ones((1, 1), dtype=dtype))  # compiled before fresh arrays are poisoned
    monkeypatch.setattr(np, "empty", lambda shape, dtype: np.full(shape, np.nan, dtype=dtype))
    exact, absolute = _exact(x)
    total = np.zeros((n, n))
    ops.rank_update(total, x, backend="numba")
    error = np.abs(total - exact)
    assert error.max(initial=0) <= 2 * np.abs(_naive(x) - exact).max(initial=0) + np.finfo(dtype).eps * absolute.max(initial=0)
    terms = max(k, 1) if dtype == np.float64 else min(max(k, 1), rank_update_numba.TOKENS)
    unit = float(np.finfo(dtype).eps) / 2
    assert (error <= (terms * unit + max(k, 1) * 2.0**-53) * absolute).all()
    assert (np.triu(total, 1) == 0).all()
    slow = np.zeros((n, n))
    ops.rank_update(slow, x, backend="reference")
    assert (np.abs(total - slow) <= ((terms * unit) + 2 * max(k, 1) * 2.0**-53) * absolute).all()


@pytest.mark.parametrize("backend", ["reference", "numba"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_it_adds_below_the_diagonal_and_leaves_the_rest(backend, dtype):
    """Integers: no sum is rounded."""
    rng = np.random.default_rng(0)
    x = rng.integers(-8, 9, (2 * rank_update_numba.TOKENS + 7, 33)).astype(dtype)
    before = rng.integers(-8, 9, (33, 33)).astype(float)
    total = before.copy()
    ops.rank_update(total, x, backend=backend)
    assert (np.triu(total, 1) == np.triu(before, 1)).all()
    assert (np.tril(total - before) == np.tril(x.astype(float).T @ x.astype(float))).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_any_layout_of_tokens(dtype):
    x = np.random.default_rng(0).integers(-8, 9, (40, 12)).astype(dtype)
    expected = np.zeros((12, 12))
    ops.rank_update(expected, x, backend="reference")
    for same in (np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2], np.repeat(x, 3, axis=0)[::3]):
        total = np.zeros((12, 12))
        ops.rank_update(total, same)
        assert (total == expected).all()


def test_wrong_input_is_refused():
    with pytest.raises(ShapeMismatch):
        ops.rank_update(np.zeros((3, 3)), np.zeros((5, 2)))
    with pytest.raises(ShapeMismatch, match="C-contiguous"):
        ops.rank_update(np.asfortranarray(np.zeros((3, 3))), np.zeros((5, 3)))
    with pytest.raises(UnsupportedDtype, match="float16"):
        ops.rank_update(np.zeros((3, 3)), np.zeros((5, 3), dtype=np.float16))
    with pytest.raises(UnsupportedDtype, match="total of float32"):
        ops.rank_update(np.zeros((3, 3), dtype=np.float32), np.zeros((5, 3)))
    with pytest.raises(BackendUnavailable):
        ops.rank_update(np.zeros((3, 3)), np.zeros((5, 3)), backend="cuda")
