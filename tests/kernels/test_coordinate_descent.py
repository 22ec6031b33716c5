from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rdtools.kernels import _threads, coordinate_descent_numba
from rdtools.kernels.coordinate_descent_reference import tie
from tolerances import rounding

from rdtools import ops
from rdtools.errors import BackendUnavailable, ShapeMismatch, UnsupportedDtype, UsageError
from rdtools.linalg import cholesky
from rdtools.moments.synthetic import ar1_moment, haar_moment, power_law
from rdtools.ops.coordinate_descent import coordinate_descent
from rdtools.quantizers.rounding.block_ldlq import refine_blocks
from rdtools.testing import layers

SHAPES = [(1, 1), (1, 63), (63, 1), (5, 64), (7, 65), (100, 63), (3, 137), (137, 100), (2, 1003)]


def _case(m, n, dtype, offset=0.0):
    """Weights, moment, integers to start from, steps and an order; numbers that are exact in the dtype."""
    rng = np.random.default_rng(m * n)
    H = haar_moment(power_law(n, 1.0), rng).astype(dtype).astype(np.float64)
    W = rng.standard_normal((m, n)).astype(dtype)
    steps = (0.4 * np.exp(0.5 * rng.standard_normal(n))).astype(dtype).astype(np.float64)
    integers = np.clip(np.rint(W / steps - offset + rng.standard_normal((m, n))), -6, 5).astype(np.int32)
    return W, H, integers, steps, rng.permutation(n)


def _poison(monkeypatch):
    """Fresh arrays hold NaN, or the least integer, so that an element a kernel forgets to write is seen."""
    for dtype in (np.float64, np.float32):  # the compiler looks np.empty up as well
        one = np.ones((1, 1), dtype=dtype)
        coordinate_descent(one, one, np.zeros((1, 1), dtype=np.int32), np.ones(1), passes=1)
    real = np.empty

    def empty(*args, **kwargs):
        array = real(*args, **kwargs)
        array.fill(np.iinfo(array.dtype).min if array.dtype.kind == "i" else np.nan)
        return array

    monkeypatch.setattr(np, "empty", empty)


def _doubt(W, H, steps, order, offset, before, after, integer_range):
    """How far what was rounded lies outside the cell of each new code of one pass, in integers; in extended precision.

    A column was decided with the new integers of those before it in the order and the old integers of those after.
    """
    W, H, steps = (x.astype(np.longdouble) for x in (W, H, steps))
    mixed, doubt = before.astype(np.longdouble), np.zeros(W.shape)
    for i in order:
        x = mixed[:, i] + (W - steps * (mixed + offset)) @ H[:, i] / (H[i, i] * steps[i])
        mixed[:, i] = after[:, i]
        low = np.where(after[:, i] == integer_range[0], 0, after[:, i] - 0.5 - x)
        high = np.where(after[:, i] == integer_range[1], 0, x - after[:, i] - 0.5)
        doubt[:, i] = np.maximum(0, np.maximum(low, high))
    return doubt


@pytest.mark.parametrize(("m", "n"), SHAPES)
@pytest.mark.parametrize("offset", [0.0, 0.5])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_every_decision_of_a_pass_is_right(m, n, offset, dtype, monkeypatch):
    """Or a tie to rounding, in both versions; in float64 no such tie is met, and all passes give the same integers."""
    W, H, integers, steps, order = _case(m, n, dtype, offset)
    settings = {"order": order, "offset": offset, "integer_min": -6, "integer_max": 5}
    _poison(monkeypatch)
    # n products of an error, at most six steps and what is outside the grid, with an entry of H, over the width of a step
    error = 6 * steps.max() + np.abs(W).max()
    slack = 2 * n * np.finfo(dtype).eps * (error * np.abs(H).max() / (np.diagonal(H) * steps).min() + 6)
    slack += float(tie(np.dtype(dtype))) - 0.5  # within which an integer stays
    results = {}
    for backend in ("reference", "numba"):
        after, used = coordinate_descent(W, H, integers, steps, passes=1, backend=backend, **settings)
        assert (after.dtype, used) == (np.int32, 1)
        assert -6 <= after.min() <= after.max() <= 5
        assert _doubt(W, H, steps, order, offset, integers, after, (-6, 5)).max() <= slack
        results[backend] = coordinate_descent(W, H, integers, steps, passes=50, backend=backend, **settings)
    if dtype == np.float64:
        assert (results["numba"][0] == results["reference"][0]).all()
        assert results["numba"][1] == results["reference"][1]


def _exact_case(m, n, dtype):
    """Dyadic numbers of few bits, H's diagonal a power of two: no sum or quotient is ever rounded, so its order cannot matter."""
    rng = np.random.default_rng(m * n)
    H = rng.integers(-2, 3, (n, n)) / 8
    H = np.tril(H, -1) + np.tril(H, -1).T + 4 * np.eye(n)
    W = rng.integers(-64, 64, (m, n)) / 16
    integers = rng.integers(-8, 8, (m, n)).astype(np.int32)
    return W.astype(dtype), H, integers, np.full(n, 0.5), rng.permutation(n)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("panel", "strip", "rows", "threads"), [(512, 64, 512, 1), (48, 16, 5, 3), (7, 64, 64, 2), (1, 1, 1, 1)])
def test_neither_blocks_nor_threads_change_a_code(dtype, panel, strip, rows, threads, monkeypatch):
    W, H, integers, steps, order = _exact_case(70, 137, dtype)
    settings = {"passes": 4, "order": order, "integer_min": -8, "integer_max": 7}
    expected, used = coordinate_descent(W, H, integers, steps, backend="reference", **settings)
    for name, value in (("PANEL", panel), ("STRIP", strip), ("ROWS", rows), ("thread_count", lambda: threads)):
        monkeypatch.setattr(coordinate_descent_numba, name, value)
    found = coordinate_descent(W, H, integers, steps, backend="numba", **settings)
    assert (found[0] == expected).all()
    assert found[1] == used


def test_more_columns_than_a_panel():
    for n in (coordinate_descent_numba.PANEL + 1, 2 * coordinate_descent_numba.PANEL):
        W, H, integers, steps, order = _exact_case(3, n, np.float64)
        slow, fast = (coordinate_descent(W, H, integers, steps, passes=3, order=order, backend=b)[0] for b in ("reference", "numba"))
        assert (slow == fast).all()


@given(layers(max_condition=1e4), st.floats(0.05, 2.0), st.sampled_from([0.0, 0.5]), st.integers(0, 2**32 - 1))
def test_the_loss_of_no_row_ever_rises(layer, step, offset, seed):
    """Pass by pass, with clamping, unequal steps and any order."""
    W, H = layer.weight, layer.hessian.matrix
    rng = np.random.default_rng(seed)
    steps = step * np.abs(W).max() * np.exp(rng.standard_normal(len(H)))
    integers = rng.integers(-4, 4, W.shape).astype(np.int32)
    order = rng.permutation(len(H))

    def losses(integers):
        return ops.quadratic_form(W - steps * (integers + offset), H)

    before = losses(integers)
    slack = rounding(100 * len(H), condition=1e4) * before.max()
    for _ in range(4):
        integers, _ = coordinate_descent(W, H, integers, steps, passes=1, order=order, offset=offset, integer_min=-4, integer_max=3)
        after = losses(integers)
        assert (after <= before + slack).all()
        before = after


@given(layers(max_condition=1e4), st.floats(0.1, 2.0))
def test_where_it_ends_no_code_alone_can_do_better(layer, step):
    """At a fixed point each code is a best one in range: moving one by ±1 does not lower the loss."""
    W, H = layer.weight, layer.hessian.matrix
    n = len(H)
    steps = np.full(n, step * np.abs(W).max())
    integers, used = coordinate_descent(W, H, np.zeros(W.shape, dtype=np.int32), steps, passes=1000, integer_min=-3, integer_max=3)
    assert used < 1000
    E = W - steps * integers
    slack = rounding(100 * n, condition=1e4) * (ops.quadratic_form(E, H).max() + steps.max() ** 2 * np.abs(H).max())
    slack += 2 * (float(tie(W.dtype)) - 0.5) * steps.max() ** 2 * np.diagonal(H).max()  # what a move at the edge of a tie would gain
    for move in (-1, 1):
        change = (steps**2 * np.diagonal(H)) - 2 * move * (E @ H) * steps
        allowed = np.abs(integers + move) <= 3
        assert (change[allowed] >= -slack).all()


def test_a_diagonal_moment_is_rounding_to_nearest():
    """Whatever the start, in one pass; the second finds nothing to do, and from there one is enough."""
    rng = np.random.default_rng(0)
    W, H, steps = rng.standard_normal((20, 30)), np.diag(rng.uniform(0.1, 2, 30)), rng.uniform(0.2, 1, 30)
    nearest = np.clip(np.rint(W / steps - 0.5), -2, 1)
    settings = {"passes": 10, "offset": 0.5, "integer_min": -2, "integer_max": 1}
    for backend in ("numba", "reference"):
        integers, used = coordinate_descent(W, H, np.zeros((20, 30), dtype=np.int32), steps, backend=backend, **settings)
        assert (integers == nearest).all()
        assert used == 2
        again, used = coordinate_descent(W, H, integers, steps, backend=backend, **settings)
        assert (again == integers).all()
        assert used == 1


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_at_a_tie_a_code_stays(dtype, backend):
    """Weights half a step off, to 1e-10: both integers are as good, and neither is left for the other."""
    off = 0.5 + np.array([-1e-10, 0, 1e-10])
    for start in (0, 1):
        integers = np.full((1, 3), start, dtype=np.int32)
        found, used = coordinate_descent(off[None].astype(dtype), np.eye(3), integers, np.ones(3), passes=9, backend=backend)
        assert (found == start).all()
        assert used == 1


def test_passes_follow_each_other():
    """Three passes are one after another, and the count is that of the slowest row."""
    W, H, integers, steps, order = _case(50, 60, np.float64)
    settings = {"order": order, "integer_min": -6, "integer_max": 5}
    one = integers
    for _ in range(3):
        one, _ = coordinate_descent(W, H, one, steps, passes=1, **settings)
    assert (coordinate_descent(W, H, integers, steps, passes=3, **settings)[0] == one).all()
    counts = [coordinate_descent(W[k : k + 1], H, integers[k : k + 1], steps, passes=99, **settings)[1] for k in range(50)]
    assert len(set(counts)) > 1
    assert coordinate_descent(W, H, integers, steps, passes=99, **settings)[1] == max(counts)
    assert (coordinate_descent(W, H, integers, steps, passes=0, **settings)[0] == integers).all()


def test_it_is_the_refinement_of_blocks_of_one_column():
    """`refine_blocks` with a scalar grid makes the same moves from the last column to the first."""
    W, H, integers, steps, _ = _case(40, 70, np.float64)

    def nearest(targets, first_column):
        return steps[first_column] * np.clip(np.rint(targets / steps[first_column]), -6, 5)

    values = refine_blocks(W, H, integers * steps, 1, nearest, 3)
    found, _ = coordinate_descent(W, H, integers, steps, passes=3, integer_min=-6, integer_max=5)
    assert (np.rint(values / steps) == found).all()


def test_it_gains_what_quip_gains_by_it():
    """LDLQ at 2 bits on ±2.4 rms, Wishart H of 4n samples: .174 and .173 after 5 and 10 passes, .188 before (n = 1024, 1 % of damping).

    Here n = 256 and m n = 2¹⁷ weights; draws of this size differ by less than 1 %.
    """
    n, m = 256, 512
    rng = np.random.default_rng(0)
    X = rng.standard_normal((4 * n, n))
    plain = X.T @ X / (4 * n)
    H = plain + 0.01 * np.trace(plain) / n * np.eye(n)
    W, steps = rng.standard_normal((m, n)), np.full(n, 1.6)
    grid = {"offset": 0.5, "integer_min": -2, "integer_max": 1}
    integers, _ = ops.sic_sweep(W, cholesky(H).lower, steps, **grid)
    energy = ops.quadratic_form(W, plain).sum()
    for passes, expected in ((0, 0.188), (5, 0.174), (10, 0.1727)):
        found, _ = coordinate_descent(W, H, integers, steps, passes=passes, **grid)
        assert ops.quadratic_form(W - steps * (found + 0.5), plain).sum() / energy == pytest.approx(expected, rel=0.02)


def test_clamping_only_after_a_pass_can_raise_the_loss():
    """From where nothing moves any more: one pass without clamping, clamped at its end, on an AR(1) moment and weights beyond the grid."""
    n = 40
    H, W = ar1_moment(n, 0.9), 2 * np.random.default_rng(3).standard_normal((30, n))
    integers, used = coordinate_descent(W, H, np.zeros((30, n), dtype=np.int32), np.ones(n), passes=1000, integer_min=-1, integer_max=1)
    assert used < 1000
    late = integers.astype(np.float64)
    for i in range(n - 1, -1, -1):
        late[:, i] = np.rint(late[:, i] + (W - late) @ H[:, i] / H[i, i])
    assert ops.quadratic_form(W - np.clip(late, -1, 1), H).sum() > 1.05 * ops.quadratic_form(W - integers, H).sum()


def test_memory():
    """Beside W, H and the integers: the result, H in order, and the errors in flight."""
    m = n = 1024
    W, H, integers = np.ones((m, n)), np.eye(n) + 0.5, np.zeros((m, n), dtype=np.int32)
    coordinate_descent(W, H, integers, np.ones(n), passes=2)
    tracemalloc.start()
    coordinate_descent(W, H, integers, np.ones(n), passes=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    rows = min(coordinate_descent_numba.ROWS, m)
    # weights, errors and integers of the rows, twice where rows drop out; a panel of G and a product
    in_flight = _threads.thread_count() * rows * (2 * 2.5 * n + 2 * coordinate_descent_numba.PANEL) * 8
    assert peak <= integers.nbytes + H.nbytes + in_flight + 2**20


@pytest.mark.parametrize(("m", "n"), [(0, 5), (5, 0), (0, 0)])
def test_nothing_to_decide(m, n):
    for backend in ("numba", "reference"):
        integers, _ = coordinate_descent(
            np.ones((m, n)), np.eye(n), np.zeros((m, n), dtype=np.int32), np.ones(n), passes=3, backend=backend
        )
        assert integers.shape == (m, n)


def test_inputs_of_any_layout_stay_as_they_are():
    W, H, integers, steps, order = _case(40, 70, np.float64)
    settings = {"passes": 3, "order": order, "integer_min": -6, "integer_max": 5}
    expected = coordinate_descent(W, H, integers, steps, **settings)[0]
    wide = np.repeat(W, 2, axis=1)[:, ::2]
    for array in (wide, H, integers, steps, order):
        array.flags.writeable = False
    assert (coordinate_descent(wide, np.asfortranarray(H), np.asfortranarray(integers), steps, **settings)[0] == expected).all()


def test_wrong_input_is_refused():
    W, H, integers, steps = np.ones((2, 3)), np.eye(3), np.zeros((2, 3), dtype=np.int32), np.ones(3)
    with pytest.raises(BackendUnavailable, match="available here are"):
        coordinate_descent(W, H, integers, steps, passes=1, backend="cuda")
    with pytest.raises(ShapeMismatch, match=r"moment \(2, 2\)"):
        coordinate_descent(W, np.eye(2), integers, steps, passes=1)
    with pytest.raises(UnsupportedDtype, match="integers of int64"):
        coordinate_descent(W, H, integers.astype(np.int64), steps, passes=1)
    with pytest.raises(UnsupportedDtype, match="weight of float16"):
        coordinate_descent(W.astype(np.float16), H, integers, steps, passes=1)
    with pytest.raises(UsageError, match="no permutation"):
        coordinate_descent(W, H, integers, steps, passes=1, order=np.array([0, 1, 1]))
    with pytest.raises(UsageError, match="-1 passes"):
        coordinate_descent(W, H, integers, steps, passes=-1)
    with pytest.raises(UsageError, match="not positive"):
        coordinate_descent(W, np.diag([1.0, 0.0, 1.0]), integers, steps, passes=1)
    with pytest.raises(UsageError, match="integers from 0 to 0"):
        coordinate_descent(W, H, integers, steps, passes=1, integer_min=1, integer_max=2)
