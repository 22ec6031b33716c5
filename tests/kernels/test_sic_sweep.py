from __future__ import annotations

import subprocess
import sys
import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rdtools.kernels import _threads, sic_sweep_numba
from rdtools.kernels.philox_reference import uniform
from tolerances import STANDARD_ERRORS, rounding

from rdtools import ops
from rdtools.errors import BackendUnavailable, ShapeMismatch, UnsupportedDtype, UsageError
from rdtools.linalg import cholesky
from rdtools.moments.synthetic import haar_moment, power_law
from rdtools.normal import gain_of_mean_square
from rdtools.testing import layers

SHAPES = [(1, 1), (1, 63), (63, 1), (5, 64), (7, 65), (100, 63), (3, 137), (137, 100), (2, 1003)]


def _case(m, n, seed=0):
    rng = np.random.default_rng(seed)
    H = haar_moment(power_law(n, 1.0), rng)
    return rng.standard_normal((m, n)), cholesky(H).lower, rng


def _poison(monkeypatch):
    """Fresh arrays hold NaN, or the least integer, so that an element a kernel forgets to write is seen."""
    for dtype in (np.float64, np.float32):  # the compiler looks np.empty up as well
        one = np.ones((1, 1), dtype=dtype)
        ops.sic_sweep(one, one, np.ones(1))
        ops.sic_sweep_sample_gains(one, one, np.ones(1))
    real = np.empty

    def empty(*args, **kwargs):
        array = real(*args, **kwargs)
        array.fill(np.iinfo(array.dtype).min if array.dtype.kind == "i" else np.nan)
        return array

    monkeypatch.setattr(np, "empty", empty)


@dataclass(frozen=True)
class _Sweep:
    """A sweep's inputs, and what must hold of any right answer to it, computed in extended precision from the integers."""

    weight: np.ndarray
    factor: np.ndarray
    steps: np.ndarray
    gains: np.ndarray
    offset: float
    integer_min: int
    integer_max: int
    seed: int | None = None

    def run(self, backend, **kwargs):
        return ops.sic_sweep(
            self.weight,
            self.factor,
            self.steps,
            self.gains,
            offset=self.offset,
            integer_min=self.integer_min,
            integer_max=self.integer_max,
            seed=self.seed,
            backend=backend,
            **kwargs,
        )

    @property
    def widths(self):
        """α_i ℓ_ii."""
        return self.steps * np.diagonal(self.factor)

    @property
    def scale(self):
        """Largest magnitude that enters a sum."""
        largest_integer = max(abs(self.integer_min), abs(self.integer_max))
        return np.abs(self.weight @ self.factor).max() + np.abs(self.steps).max() * np.abs(self.factor).max() * largest_integer

    def exact_residual(self, integers, gains=None):
        gains = self.gains if gains is None else gains
        error = self.weight.astype(np.longdouble) - (gains * self.steps).astype(np.longdouble) * (integers + np.longdouble(self.offset))
        return error @ self.factor.astype(np.longdouble)

    def doubt(self, integers, gains=None):
        """How far the value that was rounded lies outside the cell of each code, in units of Y; 0 for the only right code.

        Given the integers of later columns every decision stands on its own, so this judges all of them, not the first that differs.
        """
        gains = self.gains if gains is None else gains
        x = self.exact_residual(integers, gains) / self.widths + gains * (integers + self.offset) - self.offset
        lower, upper = integers - 0.5, integers + 0.5
        if self.seed is not None:
            u = np.stack([uniform(self.seed, np.arange(len(integers)), i) for i in range(integers.shape[1])], axis=1)
            lower, upper = integers - u, integers + 1 - u
        low = np.where(integers == self.integer_min, 0, lower - x)
        high = np.where(integers == self.integer_max, 0, x - upper)
        return np.maximum(0, np.maximum(low, high)) * self.widths

    def budget(self, naive_integers, naive_residual, gains=None):
        """Twice the error of the naive version in the same dtype, and a floor of a few roundings."""
        naive_error = np.abs(naive_residual - self.exact_residual(naive_integers, gains)).max(initial=0)
        return float(2 * naive_error + 8 * np.finfo(self.weight.dtype).eps * self.scale)


def _sweep(m, n, dtype, offset=0.0, seed=None, integer_range=(-40, 39)):
    W, L, rng = _case(m, n)
    # everything exact in the dtype, so that both versions round the same numbers
    W, L, steps, gains = (
        x.astype(dtype).astype(np.float64) for x in (W, L, np.exp(rng.standard_normal(n)) * 0.3, rng.uniform(0.5, 1.0, n))
    )
    return _Sweep(W.astype(dtype), L, steps, gains, offset, *integer_range, seed)


@pytest.mark.parametrize(("m", "n"), SHAPES)
@pytest.mark.parametrize("offset", [0.0, 0.5])
@pytest.mark.parametrize("seed", [None, 2**64 - 3])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_numba_gives_the_codes_of_the_reference(m, n, offset, seed, dtype, monkeypatch):
    """Integers differ only where a decision is a tie to rounding, every decision is right to rounding, and so is the residual."""
    sweep = _sweep(m, n, dtype, offset, seed)
    _poison(monkeypatch)
    slow, slow_residual = sweep.run("reference")
    fast, fast_residual = sweep.run("numba")
    assert fast_residual.dtype == dtype
    budget = sweep.budget(slow, slow_residual)
    assert sweep.doubt(fast).max() <= budget
    assert np.abs(fast_residual - sweep.exact_residual(fast)).max() <= budget
    ties = slow != fast
    for k in np.flatnonzero(ties.any(axis=1)):
        i = int(np.flatnonzero(ties[k])[-1])  # the first column decided differently
        assert max(sweep.doubt(slow)[k, i], sweep.doubt(fast)[k, i]) <= budget
        assert abs(int(slow[k, i]) - int(fast[k, i])) == 1
    without, nothing = sweep.run("numba", residual=False)
    assert nothing is None
    assert (without == fast).all()


def _exact_sweep(m, n, dtype, seed=None):
    """Dyadic numbers of few bits: no sum is ever rounded, so its order cannot matter."""
    rng = np.random.default_rng(m * n)
    W = rng.integers(-64, 64, (m, n)) / 16
    L = np.tril(rng.integers(-4, 5, (n, n)) / 8, -1) + np.eye(n)
    return _Sweep(W.astype(dtype), L, np.full(n, 0.5), np.ones(n), 0.0, -40, 39, seed)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("seed", [None, 7])
@pytest.mark.parametrize(("panel", "strip", "rows", "threads"), [(512, 64, 512, 1), (48, 16, 5, 3), (7, 64, 64, 2), (1, 1, 1, 1)])
def test_neither_blocks_nor_threads_change_a_code(dtype, seed, panel, strip, rows, threads, monkeypatch):
    sweep = _exact_sweep(70, 137, dtype, seed)
    expected, expected_residual = sweep.run("reference")
    for name, value in (("PANEL", panel), ("STRIP", strip), ("ROWS", rows), ("thread_count", lambda: threads)):
        monkeypatch.setattr(sic_sweep_numba, name, value)
    integers, residual = sweep.run("numba")
    assert (integers == expected).all()
    assert (residual == expected_residual).all()


def test_more_columns_than_a_panel():
    for n in (sic_sweep_numba.PANEL + 1, 2 * sic_sweep_numba.PANEL):
        sweep = _exact_sweep(3, n, np.float64)
        assert (sweep.run("numba")[0] == sweep.run("reference")[0]).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_stochastic_rounding_is_unbiased(dtype):
    """With L = I the integers are independent with mean x and variance f(1 − f), f the fractional part."""
    m = 20_000
    x = np.array([-1.75, -0.5, 0.0, 0.1, 0.5, 3.9])
    integers, _ = ops.sic_sweep(np.tile(x, (m, 1)).astype(dtype), np.eye(6), np.ones(6), seed=11)
    f = x - np.floor(x)
    assert (np.abs(integers.mean(axis=0) - x) <= STANDARD_ERRORS * np.sqrt(f * (1 - f) / m) + 2.0**-24).all()
    assert (integers != ops.sic_sweep(np.tile(x, (m, 1)).astype(dtype), np.eye(6), np.ones(6), seed=12)[0]).any()


@pytest.mark.parametrize(("m", "n"), [*SHAPES, (300, 70)])
@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_sample_gains_are_those_of_the_reference(m, n, seed, dtype, monkeypatch):
    """Given the gains that came out, integers and residual are right for them; the gains are the fit to the integers."""
    sweep = _sweep(m, n, dtype, seed=seed, integer_range=(-3, 3))
    _poison(monkeypatch)
    results = {}
    for backend in ("reference", "numba"):
        integers, gains, residual = ops.sic_sweep_sample_gains(
            sweep.weight, sweep.factor, sweep.steps, integer_min=-3, integer_max=3, seed=seed, backend=backend
        )
        results[backend] = integers, gains, residual
    slow, slow_gains, slow_residual = results["reference"]
    budget = sweep.budget(slow, slow_residual, slow_gains.astype(dtype).astype(np.float64))
    integers, gains, residual = results["numba"]
    used = gains.astype(dtype).astype(np.float64)
    assert sweep.doubt(integers, used).max() <= budget
    exact = sweep.exact_residual(integers, used)
    assert np.abs(residual - exact).max() <= budget
    # least squares: nothing of the integers is left in the residual of their column
    assert (np.abs((integers * exact).sum(axis=0)) <= 2 * budget * np.abs(integers).sum(axis=0)).all()
    assert (gains[(integers == 0).all(axis=0)] == 1).all()
    if (integers == slow).all():
        np.testing.assert_allclose(gains, slow_gains, rtol=0, atol=2 * budget / sweep.widths.min())


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_normal_gains_are_those_of_the_mean_squares(backend, dtype):
    """As the decoder computes them from the integers; integers and residual are right for them."""
    sweep = _sweep(70, 130, dtype, seed=None, integer_range=(-(2**30), 2**30))
    widths = np.geomspace(0.05, 20, 130)  # from fine steps to columns that are nearly all zero
    integers, gains, residual = ops.sic_sweep_sample_gains(sweep.weight, sweep.factor, sweep.steps * widths, normal=True, backend=backend)
    np.testing.assert_allclose(gains, gain_of_mean_square((integers.astype(float) ** 2).mean(axis=0)), rtol=1e-12)
    scaled = integers * (sweep.steps * widths).astype(dtype) * gains.astype(dtype)
    exact = (sweep.weight.astype(float) - scaled) @ sweep.factor.astype(float)
    assert np.abs(residual - exact).max() <= (1e-9 if dtype == np.float64 else 1e-3) * np.abs(exact).max()


def test_sample_gains_do_not_raise_the_distortion(rng):
    """The last column is decided alike with and without a gain, and fitting it cannot make its residual longer."""
    W, L, _ = _case(200, 30)
    steps = np.full(30, 1.5)
    _, plain = ops.sic_sweep(W, L, steps)
    _, gains, fitted = ops.sic_sweep_sample_gains(W, L, steps)
    assert gains[-1] < 1
    assert (fitted[:, -1] ** 2).sum() <= (plain[:, -1] ** 2).sum()
    assert (fitted**2).sum() < (plain**2).sum()


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_codes_stay_in_their_range_where_float32_has_no_number_for_it(backend):
    W = np.array([[1e12, -1e12, 3.0]], dtype=np.float32)
    integers, _ = ops.sic_sweep(W, np.eye(3, dtype=np.float32), np.ones(3), backend=backend)
    assert integers.tolist() == [[2**31 - 128, -(2**31) + 128, 3]]


@pytest.mark.parametrize(("m", "n"), [(0, 5), (5, 0), (0, 0)])
def test_nothing_to_decide(m, n):
    integers, residual = ops.sic_sweep(np.ones((m, n)), np.eye(n), np.ones(n))
    assert integers.shape == residual.shape == (m, n)
    integers, gains, residual = ops.sic_sweep_sample_gains(np.ones((m, n)), np.eye(n), np.ones(n))
    assert integers.shape == residual.shape == (m, n)
    assert (gains == 1).all()


def test_memory_of_a_sweep():
    """Beside W and L: the integers, and less than one more copy of W for the cast factor and the errors in flight."""
    m = n = 1024
    W, L = np.ones((m, n), dtype=np.float32), np.eye(n)
    ops.sic_sweep(W, L, np.ones(n), residual=False)
    tracemalloc.start()
    ops.sic_sweep(W, L, np.ones(n), residual=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    threads = _threads.thread_count()
    in_flight = threads * min(sic_sweep_numba.ROWS, m // threads) * (n + sic_sweep_numba.PANEL + 2 * sic_sweep_numba.STRIP) * 4
    assert peak <= W.nbytes + 0.76 * W.nbytes + in_flight + 2**18  # the cast panels are ¾ of a square at two panels, ½ at many
    assert peak <= (1 + 2) * W.nbytes


def test_non_contiguous_input_gives_the_same(rng):
    W, L, _ = _case(40, 70)
    steps = np.full(70, 0.2)
    expected = ops.sic_sweep(W, L, steps)[0]
    wide = np.repeat(np.repeat(W, 2, axis=0), 3, axis=1)[::2, ::3]
    assert not wide.flags.c_contiguous
    assert (ops.sic_sweep(wide, np.asfortranarray(L), steps)[0] == expected).all()
    for array in (W, L, steps):
        array.flags.writeable = False
    assert (ops.sic_sweep(W, L, steps)[0] == expected).all()


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
    integers, residual = ops.sic_sweep(layer.weight, L, steps)
    scale = np.abs(layer.weight).max() * np.abs(L).max()
    np.testing.assert_allclose(residual, (layer.weight - integers * steps) @ L, rtol=0, atol=rounding(20 * n) * scale)


@given(layers(max_condition=1e4))
def test_points_of_its_own_grid_are_fixed(layer):
    """Weights on the grid are found again whatever the Hessian: every error is zero, so none is fed back."""
    L = cholesky(layer.hessian.matrix).lower
    m, n = layer.weight.shape
    rng = np.random.default_rng(m * n)
    integers, steps = rng.integers(-50, 50, (m, n)), np.exp(rng.standard_normal(n))
    assert (ops.sic_sweep(integers * steps, L, steps)[0] == integers).all()


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
    integers, _ = ops.sic_sweep(W, cholesky(H).lower, np.full(n, step))
    reversed_H, V = H[::-1, ::-1], W[:, ::-1].copy()
    U = np.linalg.cholesky(np.linalg.inv(reversed_H)).T
    textbook = np.empty((m, n))
    for i in range(n):
        textbook[:, i] = np.rint(V[:, i] / step)
        error = (V[:, i] - step * textbook[:, i]) / U[i, i]
        V[:, i:] -= np.outer(error, U[i, i:])
    assert (integers == textbook[:, ::-1]).all()


def test_unknown_backend_and_wrong_shapes_are_refused():
    with pytest.raises(BackendUnavailable, match="available here are"):
        ops.sic_sweep(np.ones((1, 1)), np.ones((1, 1)), np.ones(1), backend="cuda")
    with pytest.raises(ShapeMismatch):
        ops.sic_sweep(np.ones((2, 3)), np.eye(2), np.ones(3))
    with pytest.raises(ShapeMismatch, match=r"steps \(2,\)"):
        ops.sic_sweep_sample_gains(np.ones((2, 3)), np.eye(3), np.ones(2))
    with pytest.raises(UnsupportedDtype, match="float16"):
        ops.sic_sweep(np.ones((1, 1), dtype=np.float16), np.ones((1, 1)), np.ones(1))
    with pytest.raises(UsageError, match="64 bits"):
        ops.sic_sweep(np.ones((1, 1)), np.ones((1, 1)), np.ones(1), seed=-1)


def test_without_a_place_for_a_cache_it_compiles_all_the_same():
    code = (
        "import numba.core.caching as caching, numpy as np\n"
        "caching.CacheImpl._locator_classes = []\n"
        "from rdtools import ops\n"
        "print(ops.sic_sweep(np.array([[0.6]]), np.ones((1, 1)), np.ones(1), backend='numba')[0].tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[[1]]"
