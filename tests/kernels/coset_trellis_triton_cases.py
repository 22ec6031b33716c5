"""Triton's walks of cosets against the CPU's kernel, under its interpreter or on a GPU; `test_coset_trellis` runs this in a process.

Every tensor lies in a larger one: around inputs there is NaN, around and in fresh ones what no kernel writes. Under the interpreter
programs run in reverse order, and what lanes load and store between two barriers is looked at.
"""

from __future__ import annotations

import importlib
import math
import os

import numpy as np
import pytest
import torch

from rdtools.linalg import cholesky
from rdtools.moments.synthetic import haar_moment, power_law
from rdtools.ops import coset_trellis_sweep

ON_GPU = torch.cuda.is_available()
DEVICE = "cuda" if ON_GPU else "cpu"
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
GUARD = 64

#: m, n, segment, states: one row, segments that do not divide the rows, fewer rows than states, walks of several marks, several strips.
SHAPES = [(1, 1, 1, 4), (7, 3, 3, 8), (3, 2, 64, 256), (26, 1, 26, 1024)]
SHAPES += [(137, 100, 40, 256), (1003, 9, 2048, 64), (3, 137, 2, 16)] if ON_GPU else []


@pytest.fixture
def guarded(monkeypatch):
    """Fresh tensors between sentinels and full of them; those found changed afterwards are an error."""
    real, made = torch.empty, []

    def empty(shape, **kwargs):
        size = math.prod(shape)
        whole = real(size + 2 * GUARD, **kwargs)
        whole.fill_(float("nan") if whole.dtype.is_floating_point else torch.iinfo(whole.dtype).max)
        made.append((whole, whole.clone(), size))
        return whole[GUARD : GUARD + size].view(shape)

    monkeypatch.setattr(torch, "empty", empty)
    yield
    for whole, before, size in made:
        for part in (slice(0, GUARD), slice(GUARD + size, None)):
            assert torch.equal(whole[part].nan_to_num(7.0), before[part].nan_to_num(7.0))


@pytest.fixture
def checked(monkeypatch):
    """Programs in reverse order; RAW, WAR and WAW between barriers, but for a tile that is stored to the places it was loaded from."""
    if not INTERPRETED:
        return
    builder = importlib.import_module("triton.runtime.interpreter").InterpreterBuilder
    loaded, stored = {}, set()
    load, store, place = builder.create_masked_load, builder.create_masked_store, builder.set_grid_idx

    def addresses(ptrs, mask):
        data, here = np.broadcast_arrays(np.atleast_1d(ptrs.data), np.atleast_1d(mask.data))
        return tuple(data[here.astype(bool)].tolist())

    def barrier(*_):
        loaded.clear()
        stored.clear()

    def checked_load(self, ptrs, mask, *rest):
        tile = addresses(ptrs, mask)
        assert stored.isdisjoint(tile), "a load of what another lane has stored"
        loaded.update(dict.fromkeys(tile, tile))
        return load(self, ptrs, mask, *rest)

    def checked_store(self, ptrs, value, mask, *rest):
        tile = addresses(ptrs, mask)
        assert len(set(tile)) == len(tile), "two lanes store to one place"
        assert stored.isdisjoint(tile), "two stores to one place"
        assert all(loaded.get(one, tile) == tile for one in tile), "a store to what another lane loads"
        stored.update(tile)
        return store(self, ptrs, value, mask, *rest)

    def reverse(self, x, y, z):
        barrier()
        return place(self, self.grid_dim[0] - 1 - x, y, z)

    for name, function in (
        ("create_masked_load", checked_load),
        ("create_masked_store", checked_store),
        ("create_barrier", barrier),
        ("set_grid_idx", reverse),
    ):
        monkeypatch.setattr(builder, name, function)


def _on_device(*arrays):
    """Copies with NaN around them."""
    tensors = []
    for x in arrays:
        whole = torch.full((x.size + 2 * GUARD,), math.nan, dtype=torch.from_numpy(x).dtype, device=DEVICE)
        whole[GUARD : GUARD + x.size] = torch.from_numpy(np.array(x)).to(DEVICE).ravel()
        tensors.append(whole[GUARD : GUARD + x.size].view(x.shape))
    return tensors


def _inputs(m, n, dtype):
    rng = np.random.default_rng(m * n)
    L = cholesky(haar_moment(power_law(n, 1.0), rng)).lower
    return rng.standard_normal((m, n)).astype(dtype), L.astype(dtype).astype(np.float64), 0.4 * np.exp(0.3 * rng.standard_normal(n))


@pytest.mark.parametrize(("m", "n", "segment", "states"), SHAPES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_walks_are_those_of_the_cpu(m, n, segment, states, dtype, guarded, checked):
    """Of one strip no sum is in another order, so that integers and residuals are equal; of several, and by a GPU's products, walks are
    equally near to rounding: their squared errors agree.
    """
    W, L, steps = _inputs(m, n, dtype)
    expected, left = coset_trellis_sweep(W, L, steps, states, segment=segment, backend="numba")
    integers, residual = coset_trellis_sweep(*_on_device(W, L, steps), states, segment=segment, backend="triton")
    integers, residual = integers.cpu().numpy(), residual.cpu().numpy()
    if n <= 64:
        np.testing.assert_array_equal(integers, expected)
        np.testing.assert_allclose(residual, left, rtol=0, atol=8 * n * np.finfo(dtype).eps * np.abs(left).max())
    assert (residual.astype(np.float64) ** 2).sum() == pytest.approx((left.astype(np.float64) ** 2).sum(), rel=2e-2)


def test_strips_panels_and_tiles_do_not_change_a_walk(guarded, checked, monkeypatch):
    """Dyadic numbers of few bits: no sum is rounded, so its order cannot matter, and many walks are equally near."""
    module = importlib.import_module("rdtools.kernels.coset_trellis_triton")
    rng = np.random.default_rng(0)
    W, L = rng.integers(-64, 64, (5, 5)) / 16, np.tril(rng.integers(-4, 5, (5, 5)) / 8, -1) + np.eye(5)
    expected, left = coset_trellis_sweep(W, L, np.full(5, 0.5), 8, segment=4, backend="numba")
    for name, value in (("STRIP", 2), ("ROWS", 2), ("COLUMNS", 1)):
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(importlib.import_module("rdtools.kernels.sic_sweep_triton"), "PANEL", 3)
    integers, residual = coset_trellis_sweep(*_on_device(W, L, np.full(5, 0.5)), 8, segment=4, backend="triton")
    np.testing.assert_array_equal(integers.cpu().numpy(), expected)
    np.testing.assert_array_equal(residual.cpu().numpy(), left)


def test_a_walk_is_as_near_as_the_references():
    """Dyadic targets, whose costs no sum rounds."""
    one, steps = np.ones((1, 1)), np.full(1, 2.0)
    x = np.random.default_rng(0).integers(-80, 80, (40, 1)) / 16
    nearest = coset_trellis_sweep(x, one, steps, 16, segment=40, backend="reference")[1]
    residual = coset_trellis_sweep(*_on_device(x, one, steps), 16, segment=40, backend="triton")[1]
    assert float((residual**2).sum()) == (nearest**2).sum()


@pytest.mark.skipif(not INTERPRETED, reason="looks at what the interpreter loads and stores")
def test_without_its_barriers_the_kernel_would_be_wrong(checked, monkeypatch):
    """So that the check sees what it should."""
    builder = importlib.import_module("triton.runtime.interpreter").InterpreterBuilder
    monkeypatch.setattr(builder, "create_barrier", lambda *_: None)
    with pytest.raises(Exception, match=r"a load of what another lane has stored|a store to what"):
        coset_trellis_sweep(*_on_device(*_inputs(2, 1, np.float64)), 4, segment=2, backend="triton")


def test_nothing_and_any_layout_are_taken_and_left():
    assert coset_trellis_sweep(*_on_device(np.zeros((0, 2)), np.eye(2), np.ones(2)), 8, segment=4, backend="triton")[0].shape == (0, 2)
    W, L, steps = _inputs(3, 2, np.float64)
    expected = coset_trellis_sweep(W, L, steps, 4, segment=2, backend="numba")[0]
    turned, factor, steps = _on_device(np.ascontiguousarray(W.T), L, steps)
    before = turned.clone()
    integers, nothing = coset_trellis_sweep(turned.T, factor, steps, 4, segment=2, residual=False, overwrite=True, backend="triton")
    assert nothing is None
    assert (integers.cpu().numpy() == expected).all()
    assert (turned == before).all()
