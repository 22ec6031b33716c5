"""Triton's kernels against the reference, under its interpreter or on a GPU; `test_triton` runs this in a process of its own."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch

from rdtools import ops
from rdtools.linalg import cholesky
from rdtools.moments.synthetic import haar_moment, power_law
from rdtools.transforms.hadamard import _core

ON_GPU = torch.cuda.is_available()
DEVICE = "cuda" if ON_GPU else "cpu"

#: Beyond one program's rows and one strip's columns; the interpreter takes a millisecond for each column of each program.
SHAPES = [(1, 1), (1, 15), (63, 1), (3, 19), (70, 9)] + ([(100, 63), (3, 137), (137, 100)] if ON_GPU else [])


def _kernels(name):
    return importlib.import_module(f"rdtools.kernels.{name}_triton")


def _fewer_programs(monkeypatch):
    """The interpreter takes as long for a program of many rows as for one of few."""
    if not ON_GPU:
        monkeypatch.setattr(_kernels("sic_sweep"), "ROWS", 64)


def _shorter_strips(monkeypatch):
    """A quarter of the columns is then more than one strip."""
    if not ON_GPU:
        monkeypatch.setattr(_kernels("sic_sweep"), "STRIP", 16)


@pytest.fixture
def poisoned(monkeypatch):
    """Fresh tensors hold NaN, or the least integer, so that an element a kernel forgets to write is seen."""
    real = torch.empty

    def empty(*args, **kwargs):
        tensor = real(*args, **kwargs)
        return tensor.fill_(float("nan") if tensor.dtype.is_floating_point else torch.iinfo(tensor.dtype).min)

    monkeypatch.setattr(torch, "empty", empty)


def _on_device(*arrays):
    return tuple(torch.from_numpy(np.array(x)).to(DEVICE) for x in arrays)


def _inputs(m, n, dtype):
    """Numbers that are exact in the dtype, so that all versions round the same ones."""
    rng = np.random.default_rng(m * n)
    L = cholesky(haar_moment(power_law(n, 1.0), rng)).lower
    arrays = rng.standard_normal((m, n)), L, 0.3 * np.exp(rng.standard_normal(n)), rng.uniform(0.5, 1.0, n)
    W, L, steps, gains = (x.astype(dtype).astype(np.float64) for x in arrays)
    return W.astype(dtype), L, steps, gains


def _residual(W, L, steps, gains, integers, offset):
    """``(W − Ŵ) L`` of the integers in extended precision."""
    wide = (x.astype(np.longdouble) for x in (W, L, steps, gains))
    W, L, steps, gains = wide
    return (W - gains * steps * (integers + np.longdouble(offset))) @ L


def _doubt(W, L, steps, gains, integers, offset, u, low, high):
    """How far what was rounded lies outside the cell of its code, given the integers of later columns, in units of the residual."""
    widths = steps * np.diagonal(L)
    x = _residual(W, L, steps, gains, integers, offset) / widths + gains * (integers + offset) - offset
    below, above = (integers - 0.5, integers + 0.5) if u is None else (integers - u, integers + 1 - u)
    outside = np.maximum(np.where(integers == low, 0, below - x), np.where(integers == high, 0, x - above))
    return float((np.maximum(outside, 0) * widths).max(initial=0))


def _uniform(seed, m, n):
    philox = importlib.import_module("rdtools.kernels.philox_reference")
    return None if seed is None else np.stack([philox.uniform(seed, np.arange(m), i) for i in range(n)], axis=1)


def _budget(W, L, steps, gains, slow, slow_residual, offset):
    """Twice the error of the naive version in the same dtype, and a floor of a few roundings."""
    error = np.abs(slow_residual - _residual(W, L, steps, gains, slow, offset)).max(initial=0)
    scale = (np.abs(W) @ np.abs(L)).max() + (np.abs(steps * gains * (slow + offset)) @ np.abs(L)).max()
    return float(2 * error + 8 * np.finfo(W.dtype).eps * scale)


@pytest.mark.parametrize(("m", "n"), SHAPES)
@pytest.mark.parametrize(("offset", "seed"), [(0.0, None), (0.5, 2**64 - 3)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_sweep_gives_the_codes_of_the_reference(m, n, offset, seed, dtype, poisoned, monkeypatch):
    """Integers differ only at ties to rounding, every decision is right to rounding, and so is the residual."""
    _fewer_programs(monkeypatch)
    _shorter_strips(monkeypatch)
    W, L, steps, gains = _inputs(m, n, dtype)
    options = {"offset": offset, "seed": seed, "integer_min": -6, "integer_max": 5}
    slow, slow_residual = ops.sic_sweep(W, L, steps, gains, **options, backend="reference")
    integers, residual = ops.sic_sweep(*_on_device(W, L, steps, gains), **options, backend="triton")
    assert (integers.dtype, str(residual.dtype), integers.device.type) == (torch.int32, f"torch.{np.dtype(dtype)}", DEVICE)
    integers, residual = integers.cpu().numpy(), residual.cpu().numpy()
    budget = _budget(W, L, steps, gains, slow, slow_residual, offset)
    u = _uniform(seed, m, n)
    assert _doubt(W, L, steps, gains, integers, offset, u, -6, 5) <= budget
    assert np.abs(residual - _residual(W, L, steps, gains, integers, offset)).max() <= budget
    for k in np.flatnonzero((slow != integers).any(axis=1)):
        row = slice(k, k + 1)
        i = int(np.flatnonzero(slow[k] != integers[k])[-1])  # the first column decided differently
        assert abs(int(slow[k, i]) - int(integers[k, i])) == 1
        own = None if u is None else u[row]
        assert _doubt(W[row], L, steps, gains, slow[row], offset, own, -6, 5) <= budget
    without, nothing = ops.sic_sweep(*_on_device(W, L, steps, gains), **options, residual=False, backend="triton")
    assert nothing is None
    assert (without.cpu().numpy() == integers).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("seed", [None, 2**63 + 1])
@pytest.mark.parametrize(("panel", "strip", "rows"), [(512, 64, 16), (16, 8, 4), (7, 8, 64), (1, 1, 16)])
def test_no_block_changes_a_code(dtype, seed, panel, strip, rows, monkeypatch):
    """Dyadic numbers of few bits: no sum is rounded, so its order cannot matter."""
    rng = np.random.default_rng(0)
    m, n = 9, 21
    W = (rng.integers(-64, 64, (m, n)) / 16).astype(dtype)
    L = np.tril(rng.integers(-4, 5, (n, n)) / 8, -1) + np.eye(n)
    for name, value in (("PANEL", panel), ("STRIP", strip), ("ROWS", rows)):
        monkeypatch.setattr(_kernels("sic_sweep"), name, value)
    steps = np.full(n, 0.5)
    expected, expected_residual = ops.sic_sweep(W, L, steps, integer_min=-40, integer_max=39, seed=seed, backend="reference")
    integers, residual = ops.sic_sweep(*_on_device(W, L, steps), integer_min=-40, integer_max=39, seed=seed, backend="triton")
    assert (integers.cpu().numpy() == expected).all()
    assert (residual.cpu().numpy() == expected_residual).all()


def test_ties_go_to_the_even_code_and_clamped_codes_stay_in_int32():
    x = np.array([[0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 1e12, -1e12, -1e-20]])
    steps = np.ones(9)
    for dtype in (np.float64, np.float32):
        expected = ops.sic_sweep(x.astype(dtype), np.eye(9), steps, backend="reference")[0]
        integers = ops.sic_sweep(*_on_device(x.astype(dtype), np.eye(9), steps), backend="triton")[0]
        assert (integers.cpu().numpy() == expected).all()


def test_sweep_of_any_layout_leaves_its_input():
    W, L, steps, _ = _inputs(2, 67, np.float64)
    expected = torch.from_numpy(ops.sic_sweep(W, L, steps, backend="reference")[0]).to(DEVICE)
    weight, factor, steps = _on_device(W.T, L.T, steps)
    before = weight.clone()
    assert (ops.sic_sweep(weight.T, factor.T, steps, backend="triton")[0] == expected).all()
    assert (weight == before).all()


@pytest.mark.parametrize(("m", "n"), [(1, 1), (63, 5), (20, 70 if ON_GPU else 19)])
@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_sample_gains_are_those_of_the_reference(m, n, seed, dtype, poisoned, monkeypatch):
    """Given the gains that came out, integers and residual are right for them; the gains are the fit to the integers."""
    _fewer_programs(monkeypatch)
    _shorter_strips(monkeypatch)
    W, L, steps, _ = _inputs(m, n, dtype)
    options = {"seed": seed, "integer_min": -3, "integer_max": 3}
    slow, slow_gains, slow_residual = ops.sic_sweep_sample_gains(W, L, steps, **options, backend="reference")
    integers, gains, residual = (x.cpu().numpy() for x in ops.sic_sweep_sample_gains(*_on_device(W, L, steps), **options, backend="triton"))
    used, slow_used = (g.astype(dtype).astype(np.float64) for g in (gains, slow_gains))
    budget = _budget(W, L, steps, slow_used, slow, slow_residual, 0.0)
    assert _doubt(W, L, steps, used, integers, 0.0, _uniform(seed, m, n), -3, 3) <= budget
    exact = _residual(W, L, steps, used, integers, 0.0)
    assert np.abs(residual - exact).max() <= budget
    assert (np.abs((integers * exact).sum(axis=0)) <= 2 * budget * np.abs(integers).sum(axis=0)).all()
    assert (gains[(integers == 0).all(axis=0)] == 1).all()


@pytest.mark.parametrize(("m", "n"), [(1, 1), (63, 5), (20, 33 if ON_GPU else 19)])
def test_normal_gains_are_those_of_the_mean_squares(m, n, poisoned, monkeypatch):
    _fewer_programs(monkeypatch)
    _shorter_strips(monkeypatch)
    W, L, steps, _ = _inputs(m, n, np.float64)
    integers, gains, _ = (x.cpu().numpy() for x in ops.sic_sweep_sample_gains(*_on_device(W, L, steps), normal=True, backend="triton"))
    slow, slow_gains, _ = ops.sic_sweep_sample_gains(W, L, steps, normal=True, backend="reference")
    np.testing.assert_array_equal(integers, slow)
    np.testing.assert_allclose(gains, slow_gains, rtol=1e-12)


@pytest.mark.parametrize(("m", "n"), [(0, 5), (5, 0)])
def test_nothing_to_decide(m, n):
    integers, residual = ops.sic_sweep(*_on_device(np.ones((m, n)), np.eye(n), np.ones(n)), backend="triton")
    assert integers.shape == residual.shape == (m, n)
    integers, gains, _ = ops.sic_sweep_sample_gains(*_on_device(np.ones((m, n)), np.eye(n), np.ones(n)), backend="triton")
    assert integers.shape == (m, n)
    assert (gains == 1).all()


def _core_of(n):
    return _core({1: 1, 3: 12, 43: 172}[n // (n & -n)])


@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 2), (63, 4), (100, 8), (137, 64), (3, 128), (2, 2048), (7, 12), (100, 48), (33, 344)])
@pytest.mark.parametrize("longest", [None, 4])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_hadamard_is_the_reference(m, n, longest, dtype, monkeypatch):
    """The same additions in the same order behind the core, whose product is within twice the error of the textbook."""
    if longest:
        monkeypatch.setattr(_kernels("hadamard"), "LONGEST", longest)
    x = np.random.default_rng(n).standard_normal((m, n)).astype(dtype)
    core = _core_of(n)
    expected = x.copy()
    ops.hadamard_inplace(expected, core, backend="reference")
    y, dense = _on_device(x, core)
    ops.hadamard_inplace(y, dense, backend="triton")
    if len(core) == 1:
        assert (y.cpu().numpy() == expected).all()
        return
    H = np.kron(_sylvester(n // len(core)), core).astype(np.longdouble)
    exact = x.astype(np.longdouble) @ H / np.sqrt(np.longdouble(n))
    naive = np.zeros_like(x)  # the textbook's product, one addition after another in the same dtype
    for column, row in zip(x.T, H.astype(dtype), strict=True):
        naive += column[:, None] * row
    naive /= np.sqrt(dtype(n))
    budget = 2 * np.abs(naive - exact).max() + np.finfo(dtype).eps * np.abs(exact).max()
    assert np.abs(y.cpu().numpy() - exact).max() <= budget


def _sylvester(order):
    """Sylvester's matrix, by the reference."""
    S = np.eye(order) * np.sqrt(order)
    ops.hadamard_inplace(S, np.ones((1, 1)), backend="reference")
    return np.rint(S)


def test_hadamard_of_any_layout_in_place():
    x = np.random.default_rng(0).standard_normal((6, 5, 24))
    expected = x.copy()
    core = _core_of(24)
    ops.hadamard_inplace(expected, core, backend="reference")
    wide, dense = _on_device(np.repeat(x, 2, axis=1), core)
    ops.hadamard_inplace(wide[:, ::2], dense, backend="triton")
    np.testing.assert_allclose(wide[:, ::2].cpu().numpy(), expected, rtol=0, atol=24 * 2.0**-52 * np.abs(x).max() * 24)
    assert (wide[:, 1::2].cpu().numpy() == x).all()
