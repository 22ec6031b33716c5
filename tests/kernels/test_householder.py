from __future__ import annotations

import numpy as np
import pytest
import torch
from rdtools.kernels import householder_numba
from tolerances import rounding

from rdtools import ops
from rdtools.errors import BackendUnavailable, ShapeMismatch, UnsupportedDtype

#: (rows, columns, reflections)
SHAPES = [(1, 1, 1), (1, 2, 1), (3, 5, 0), (0, 8, 2), (63, 100, 7), (137, 64, 64), (5, 1003, 3), (130, 37, 36)]


def _reflections(n, count, generator, starts=None):
    starts = generator.integers(0, n + 1, count) if starts is None else starts
    vectors = generator.standard_normal((count, n))
    vectors[np.arange(n) < starts[:, None]] = 0.0
    norms = (vectors**2).sum(axis=1)
    return vectors, np.divide(2.0, norms, out=np.zeros(count), where=norms > 0), starts


@pytest.mark.parametrize(("m", "n", "count"), SHAPES)
def test_numba_gives_the_bits_of_the_reference(m, n, count, rng):
    """Starts in any order; a contracted or reordered sum would differ somewhere in these many."""
    x, reflections = rng.standard_normal((m, n)), _reflections(n, count, rng)
    slow, fast = x.copy(), x.copy()
    ops.householder_product(slow, *reflections, backend="reference")
    ops.householder_product(fast, *reflections, backend="numba")
    assert (slow.view(np.uint64) == fast.view(np.uint64)).all()


@pytest.mark.parametrize("order", ["rising", "falling"])
@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_product_is_that_of_the_matrices_written_out(order, backend, rng):
    m, n = 20, 30
    starts = np.arange(n - 1) if order == "rising" else np.arange(n - 1)[::-1].copy()
    vectors, scales, _ = _reflections(n, n - 1, rng, starts)
    x = rng.standard_normal((m, n))
    expected = x.copy()
    for u, scale in zip(vectors, scales, strict=True):
        H = np.eye(n) - scale * np.outer(u, u)
        np.testing.assert_allclose(H @ H, np.eye(n), rtol=0, atol=rounding(n))
        expected = expected @ H
    ops.householder_product(x, vectors, scales, starts, backend=backend)
    np.testing.assert_allclose(x, expected, rtol=0, atol=rounding(n * n) * np.abs(expected).max())


@pytest.mark.parametrize(("lanes", "block", "threads"), [(64, 2**17, 1), (1, 1, 3), (17, 2**17, 2), (64, 37 * 9, 1)])
def test_neither_blocks_nor_threads_change_a_bit(lanes, block, threads, rng, monkeypatch):
    x, reflections = rng.standard_normal((77, 37)), _reflections(37, 20, rng)
    expected = x.copy()
    ops.householder_product(expected, *reflections, backend="reference")
    settings = {"LANES": lanes, "BLOCK": block, "THREADS_FROM": 0, "thread_count": lambda: threads}
    for name, value in settings.items():
        monkeypatch.setattr(householder_numba, name, value)
    ops.householder_product(x, *reflections, backend="numba")
    assert (x == expected).all()


@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_what_stands_before_a_start_is_not_read(backend, rng):
    vectors, scales, starts = _reflections(12, 6, rng)
    x = rng.standard_normal((4, 12))
    expected = x.copy()
    ops.householder_product(expected, vectors, scales, starts, backend=backend)
    vectors[np.arange(12) < starts[:, None]] = np.nan
    ops.householder_product(x, vectors, scales, starts, backend=backend)
    assert (x == expected).all()


@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_any_layout_is_transformed_in_place(backend, rng):
    x, (vectors, scales, starts) = rng.standard_normal((9, 12)), _reflections(12, 6, rng)
    expected = x.copy()
    ops.householder_product(expected, vectors, scales, starts, backend=backend)
    wide, tall, tensor = np.repeat(x, 2, axis=1), np.asfortranarray(x), torch.from_numpy(x.copy())
    ops.householder_product(wide[:, ::2], np.asfortranarray(vectors), scales, starts, backend=backend)
    ops.householder_product(tall, np.repeat(vectors, 2, axis=0)[::2], scales, starts, backend=backend)
    ops.householder_product(tensor, *(torch.from_numpy(part) for part in (vectors, scales, starts)), backend=backend)
    assert (wide[:, ::2] == expected).all()
    assert (wide[:, 1::2] == x).all()
    assert (tall == expected).all()
    assert (tensor.numpy() == expected).all()


def test_wrong_arguments():
    x, vectors, scales, starts = np.zeros((2, 3)), np.zeros((4, 3)), np.zeros(4), np.zeros(4, dtype=np.int64)
    for wrong in (x[0], x[:, :2]):
        with pytest.raises(ShapeMismatch, match=r"expected \(m, n\), \(k, n\), \(k\), \(k\)"):
            ops.householder_product(wrong, vectors, scales, starts)
    with pytest.raises(ShapeMismatch):
        ops.householder_product(x, vectors, scales[:3], starts)
    for start in (-1, 4):
        with pytest.raises(ShapeMismatch, match="columns from 0 to 3"):
            ops.householder_product(x, vectors, scales, starts + start)
    with pytest.raises(UnsupportedDtype, match="float32"):
        ops.householder_product(x.astype(np.float32), vectors, scales, starts)
    with pytest.raises(BackendUnavailable):
        ops.householder_product(x, vectors, scales, starts, backend="cuda")
