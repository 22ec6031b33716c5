from __future__ import annotations

import hashlib

import numpy as np
import pytest
import scipy.linalg
from rdtools.kernels import hadamard_numba

from rdtools import ops
from rdtools.errors import BackendUnavailable, ShapeMismatch, UnsupportedDtype
from rdtools.transforms.hadamard import _core

SHAPES = [(1, 1), (1, 2), (63, 4), (100, 8), (137, 64), (3, 128), (5, 1024), (2, 2048), (1003, 16), (7, 12), (100, 48), (1, 172), (33, 344)]


#: Rows of thirds of integers times the core of order 172.
GOLDEN = "f839e2749e07f32cad4f436e92f3d3ad8c5b15d9e93ea5c0a7c010b0c7180ca2"


def _core_of(n):
    odd = n // (n & -n)
    return _core({1: 1, 3: 12, 43: 172}[odd])


def _exact(x, core):
    """In extended precision, with the matrix written out."""
    H = np.kron(scipy.linalg.hadamard(x.shape[-1] // len(core)), core)
    return x.astype(np.longdouble) @ H.astype(np.longdouble) / np.sqrt(np.longdouble(x.shape[-1]))


@pytest.mark.parametrize(("m", "n"), SHAPES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("transpose", [False, True])
def test_numba_is_as_exact_as_the_reference(m, n, dtype, transpose, monkeypatch):
    """Error at most twice that of the naive version in the same dtype, and a rounding."""
    x = np.random.default_rng(n).standard_normal((m, n)).astype(dtype)
    core = _core_of(n).T if transpose else _core_of(n)
    real = np.empty
    ops.hadamard_inplace(x.copy(), core)  # compiled before fresh arrays are poisoned: the compiler looks np.empty up as well
    monkeypatch.setattr(np, "empty", lambda *args, **kwargs: np.full_like(real(*args, **kwargs), np.nan))
    expected = _exact(x, core)
    slow, fast = x.copy(), x.copy()
    ops.hadamard_inplace(slow, core, backend="reference")
    ops.hadamard_inplace(fast, core, backend="numba")
    budget = 2 * np.abs(slow - expected).max() + np.finfo(dtype).eps * np.abs(expected).max()
    assert np.abs(fast - expected).max() <= budget
    assert (fast == slow).all()  # the same additions in the same order


@pytest.mark.parametrize(("block", "threads"), [(1, 1), (64, 3), (2**15, 2)])
@pytest.mark.parametrize("n", [16, 48, 172])
def test_neither_blocks_nor_threads_change_a_bit(n, block, threads, monkeypatch):
    x = np.random.default_rng(0).standard_normal((77, n))
    expected = x.copy()
    ops.hadamard_inplace(expected, _core_of(n), backend="reference")
    for name, value in (("BLOCK", block), ("THREADS_FROM", 0), ("thread_count", lambda: threads)):
        monkeypatch.setattr(hadamard_numba, name, value)
    ops.hadamard_inplace(x, _core_of(n), backend="numba")
    assert (x == expected).all()


def test_rows_beside_a_row_do_not_change_a_bit():
    """BLAS chose another kernel for a single row."""
    x = np.random.default_rng(1).standard_normal((50, 344))
    together = x.copy()
    ops.hadamard_inplace(together, _core(172), backend="numba")
    for row, expected in zip(x, together, strict=True):
        ops.hadamard_inplace(row[None], _core(172), backend="numba")
        assert (row == expected).all()


@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_the_product_with_a_core_is_the_same_bits_everywhere(backend):
    """A decoder's sums have a fixed order: a change of these bits is a new version of the container."""
    x = np.random.default_rng(2).integers(-(2**40), 2**40, (3, 172)) / 3.0
    ops.hadamard_inplace(x, _core(172).T, backend=backend)
    assert hashlib.sha256(x.astype("<f8").tobytes()).hexdigest() == GOLDEN


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_zeros_and_orders_that_are_not_multiples_of_four(dtype):
    x = np.array([[1.0, -1.0], [0.0, -0.0], [-0.0, 2.0]], dtype=dtype)
    core = np.array([[1, 1], [1, -1]])
    slow = x.copy()
    ops.hadamard_inplace(slow, core, backend="reference")
    ops.hadamard_inplace(x, core, backend="numba")
    assert x.tobytes() == slow.tobytes()


def test_any_layout_is_transformed_in_place(rng):
    x = rng.standard_normal((6, 5, 24))
    expected = x.copy()
    ops.hadamard_inplace(expected, _core(12))
    wide = np.repeat(x, 2, axis=1)
    ops.hadamard_inplace(wide[:, ::2], _core(12))
    assert (wide[:, ::2] == expected).all()
    assert (wide[:, 1::2] == x).all()
    flipped = np.asfortranarray(x)
    ops.hadamard_inplace(flipped, _core(12))
    assert (flipped == expected).all()


def test_no_rows_and_wrong_shapes():
    ops.hadamard_inplace(np.zeros((0, 8)), _core(1))
    with pytest.raises(ShapeMismatch, match="power of two times c"):
        ops.hadamard_inplace(np.zeros((2, 36)), _core(12))
    with pytest.raises(ShapeMismatch):
        ops.hadamard_inplace(np.zeros(()), _core(1))
    with pytest.raises(UnsupportedDtype, match="int64"):
        ops.hadamard_inplace(np.zeros((2, 4), dtype=np.int64), _core(1))
    with pytest.raises(BackendUnavailable):
        ops.hadamard_inplace(np.zeros((2, 4)), _core(1), backend="cuda")
