from __future__ import annotations

import numpy as np
import pytest
from rdtools.kernels import nearest_centroid_numba

from rdtools import ops
from rdtools.errors import BackendUnavailable, ShapeMismatch, UnsupportedDtype, UsageError

SHAPES = [(0, 3, 4), (1, 1, 1), (63, 100, 4), (137, 63, 8), (100, 257, 5), (300, 16, 16), (20, 2**16, 6)]


def _case(k, count, d, dtype, weights):
    rng = np.random.default_rng(k + count + d)
    x, C = (rng.standard_normal((size, d)).astype(dtype) for size in (k, count))
    w = {"none": None, "shared": rng.uniform(0.1, 9.0, d), "own": rng.uniform(0.0, 9.0, (k, d))}[weights]
    return x, C, None if w is None else w.astype(dtype)


def _exact(x, C, w, index):
    """Distances to the centroids of these indices in extended precision."""
    squares = (x.astype(np.longdouble) - C[index]) ** 2
    return (squares if w is None else squares * w).sum(axis=1)


@pytest.mark.parametrize(("k", "count", "d"), SHAPES)
@pytest.mark.parametrize("weights", ["none", "shared", "own"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_assignment_is_that_of_the_reference(k, count, d, weights, dtype, monkeypatch):
    """Distances within twice the error of the naive version; where another centroid is taken, it is as near to rounding."""
    x, C, w = _case(k, count, d, dtype, weights)
    slow, slow_distance = ops.nearest_centroid(x, C, w, backend="reference")
    ops.nearest_centroid(x, C, w)
    real = np.empty

    def poisoned(*args, **kwargs):
        array = real(*args, **kwargs)
        array.fill(np.nan if array.dtype.kind == "f" else -1)
        return array

    monkeypatch.setattr(np, "empty", poisoned)
    index, distance = ops.nearest_centroid(x, C, w, backend="numba")
    assert (index.dtype, distance.dtype) == (np.int32, dtype)
    exact, slow_exact = _exact(x, C, w, index), _exact(x, C, w, slow)
    naive = np.abs(slow_distance - slow_exact).max(initial=0)
    budget = 2 * naive + 4 * np.finfo(dtype).eps * slow_exact.max(initial=0)
    assert np.abs(distance - exact).max(initial=0) <= budget
    assert (exact - slow_exact).max(initial=0) <= 2 * budget
    assert (index != slow).mean() < 0.01 if k else True


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_the_first_of_equals_wins(backend):
    C = np.array([[5.0, 5.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    index, distance = ops.nearest_centroid(np.zeros((3, 2)), C, backend=backend)
    assert index.tolist() == [1, 1, 1]
    assert (distance == 1).all()


@pytest.mark.parametrize(("lanes", "block", "threads"), [(128, 2**10, 1), (128, 128, 3)])
def test_neither_blocks_threads_nor_layout_change_an_index(lanes, block, threads, monkeypatch):
    rng = np.random.default_rng(0)
    x, C, w = (rng.integers(-9, 9, (size, 5)).astype(float) for size in (700, 90, 700))  # integers: no sum is rounded
    w = np.abs(w)
    expected, distances = ops.nearest_centroid(x, C, w, backend="reference")
    for name, value in (("BLOCK", block), ("THREADS_FROM", 0), ("thread_count", lambda: threads)):
        monkeypatch.setattr(nearest_centroid_numba, name, value)
    for array in (x, C, w):
        array.flags.writeable = False
    for same in (x, np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2]):
        index, distance = ops.nearest_centroid(same, np.asfortranarray(C), np.asfortranarray(w), backend="numba")
        assert (index == expected).all()
        assert (distance == distances).all()


@pytest.mark.parametrize(("k", "count", "d"), SHAPES[:-1])
@pytest.mark.parametrize("weights", ["none", "shared", "own"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_update_is_that_of_the_reference(k, count, d, weights, dtype):
    """Both add in float64, at most k terms; a coordinate without weight keeps what it was."""
    x, C, w = _case(k, count, d, dtype, weights)
    index = np.random.default_rng(0).integers(0, max(count // 2, 1), k).astype(np.int32)
    if weights == "own":
        w[:, 0] = 0
    expected = ops.centroid_update(x, index, C, w, backend="reference")
    new = ops.centroid_update(x, index, C, w, backend="numba")
    assert new.dtype == dtype
    np.testing.assert_allclose(new, expected, rtol=0, atol=np.finfo(dtype).eps * np.abs(x).max(initial=1) * 4 + 4 * max(k, 1) * 2.0**-52)
    empty = np.setdiff1d(np.arange(count), index)
    assert (new[empty] == C[empty]).all()
    if weights == "own":
        assert (new[:, 0] == C[:, 0]).all()


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_k_means_never_gets_worse(backend):
    """Each half of a step minimises the weighted error given the other half."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((500, 4)), rng.uniform(0.1, 5.0, (500, 4))
    C = x[:16].copy()
    errors = []
    for _ in range(6):
        index, distance = ops.nearest_centroid(x, C, w, backend=backend)
        errors.append(distance.sum())
        C = ops.centroid_update(x, index, C, w, backend=backend)
        errors.append(float(_exact(x, C, w, index).sum()))
    assert (np.diff(errors) <= 500 * 2.0**-50 * errors[0]).all()
    assert errors[-1] < 0.8 * errors[0]


def test_wrong_input_is_refused():
    x, C, index = np.zeros((3, 4)), np.zeros((2, 4)), np.zeros(3, dtype=np.int32)
    for vectors, centroids, weights in ((x, np.zeros((0, 4)), None), (x, np.zeros((2, 3)), None), (x, C, np.ones(3)), (x[0], C, None)):
        with pytest.raises(ShapeMismatch):
            ops.nearest_centroid(vectors, centroids, weights)
    with pytest.raises(UnsupportedDtype, match="weights of int64"):
        ops.nearest_centroid(x, C, np.ones(4, dtype=np.int64))
    with pytest.raises(ShapeMismatch, match=r"index \(2,\); expected \(k, d\), \(k,\)"):
        ops.centroid_update(x, index[:2], C)
    with pytest.raises(UsageError, match="from 0 to 2"):
        ops.centroid_update(x, index + np.arange(3, dtype=np.int32), C)
    with pytest.raises(UnsupportedDtype, match="index of int64"):
        ops.centroid_update(x, index.astype(np.int64), C)
    with pytest.raises(BackendUnavailable):
        ops.nearest_centroid(x, C, backend="cuda")
