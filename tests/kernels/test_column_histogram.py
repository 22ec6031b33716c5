from __future__ import annotations

import numpy as np
import pytest
from rdtools.kernels import column_histogram_numba

from rdtools import ops
from rdtools.errors import BackendUnavailable, ShapeMismatch, UnsupportedDtype, UsageError

SHAPES = [(0, 5), (5, 0), (1, 1), (63, 1), (1, 63), (100, 137), (1003, 100)]


@pytest.mark.parametrize(("m", "n"), SHAPES)
@pytest.mark.parametrize(("low", "width"), [(-40, 80), (-2, 5), (3, 1), (0, 0), (-(2**31), 9), (2**31 - 4, 8), (-300, 2000)])
def test_numba_counts_as_the_reference(m, n, low, width):
    integers = np.random.default_rng(m + n).integers(-40, 40, (m, n)).astype(np.int32)
    integers.ravel()[: m * n : 17] = 2**31 - 1
    integers.ravel()[1 : m * n : 19] = -(2**31)
    expected = ops.column_histogram(integers, low=low, width=width, backend="reference")
    counts = ops.column_histogram(integers, low=low, width=width, backend="numba")
    assert counts.dtype == np.int64
    assert (counts == expected).all()
    inside = (integers >= low) & (integers.astype(np.int64) < low + width)
    assert counts.sum() == inside.sum()


@pytest.mark.parametrize(("table", "threads"), [(1, 1), (100, 3), (2**13, 2)])
def test_neither_strips_nor_threads_change_a_count(table, threads, monkeypatch):
    integers = np.random.default_rng(0).integers(-5, 5, (77, 203)).astype(np.int32)
    expected = ops.column_histogram(integers, low=-5, width=10, backend="reference")
    for name, value in (("TABLE", table), ("THREADS_FROM", 0), ("thread_count", lambda: threads)):
        monkeypatch.setattr(column_histogram_numba, name, value)
    assert (ops.column_histogram(integers, low=-5, width=10, backend="numba") == expected).all()


def test_any_layout_and_no_change_of_the_input():
    integers = np.random.default_rng(0).integers(-5, 5, (20, 30)).astype(np.int32)
    expected = ops.column_histogram(integers, low=-5, width=10, backend="reference")
    integers.flags.writeable = False
    for same in (integers, np.asfortranarray(integers), np.repeat(integers, 2, axis=1)[:, ::2]):
        assert (ops.column_histogram(same, low=-5, width=10) == expected).all()


def test_wrong_input_is_refused():
    integers = np.zeros((2, 2), dtype=np.int32)
    with pytest.raises(ShapeMismatch):
        ops.column_histogram(integers[0], low=0, width=1)
    with pytest.raises(UnsupportedDtype, match="int64"):
        ops.column_histogram(integers.astype(np.int64), low=0, width=1)
    with pytest.raises(UsageError, match="-1 integers"):
        ops.column_histogram(integers, low=0, width=-1)
    with pytest.raises(BackendUnavailable):
        ops.column_histogram(integers, low=0, width=1, backend="cuda")
