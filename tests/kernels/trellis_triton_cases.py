"""Triton's trellis search against the reference, under its interpreter or on a GPU; `test_trellis` runs this in a process of its own."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch

from rdtools.errors import UsageError
from rdtools.ops.trellis import trellis_quantize, trellis_values

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

#: L, k, V
TRELLISES = [(1, 1, 1), (5, 2, 1), (6, 3, 2), (4, 4, 1)]


@pytest.fixture
def poisoned(monkeypatch):
    """Fresh tensors hold NaN, or numbers that are no state, so that an element the kernel forgets to write is seen."""
    real = torch.empty

    def empty(*args, **kwargs):
        tensor = real(*args, **kwargs)
        return tensor.fill_(float("nan") if tensor.dtype.is_floating_point else torch.iinfo(tensor.dtype).max)

    monkeypatch.setattr(torch, "empty", empty)


def _on_device(*arrays):
    return tuple(torch.from_numpy(np.array(x)).to(DEVICE) for x in arrays)


def _search(x, values, k, **options):
    states, reconstruction = trellis_quantize(*_on_device(x, values), k, backend="triton", **options)
    assert (states.dtype, states.device.type, reconstruction.dtype) == (torch.int32, DEVICE, torch.float64)
    states, reconstruction = states.cpu().numpy(), reconstruction.cpu().numpy()
    assert (reconstruction == values[states].reshape(x.shape)).all()
    return states


@pytest.mark.parametrize(("state_bits", "k", "V"), TRELLISES)
@pytest.mark.parametrize(("tail_biting", "dtype"), [(True, np.float32), (False, np.float64)])
def test_of_equal_paths_it_takes_that_of_the_reference(state_bits, k, V, tail_biting, dtype, poisoned):
    """Multiples of ½ that are small: no cost is rounded, and many are equal."""
    rng = np.random.default_rng(3)
    values = rng.integers(-3, 4, (2**state_bits, V)) / 2
    x = (rng.integers(-6, 7, (3, 12)) / 2).astype(dtype)
    expected = trellis_quantize(x, values, k, tail_biting=tail_biting, backend="reference")[0]
    assert (_search(x, values, k, tail_biting=tail_biting) == expected).all()


@pytest.mark.parametrize(("tile", "scratch"), [(16, 2**30), (64, 1)])
def test_neither_tiles_nor_batches_change_a_state(tile, scratch, poisoned, monkeypatch):
    """Costs in float64 of a normal source, in which no two paths are equal to rounding: the states are those of the reference."""
    module = importlib.import_module("rdtools.kernels.trellis_triton")
    monkeypatch.setattr(module, "TILE", tile)
    monkeypatch.setattr(module, "SCRATCH", scratch)
    rng = np.random.default_rng(0)
    x, values = rng.standard_normal((3, 10)), rng.standard_normal((2**6, 2)).astype(np.float32).astype(np.float64)
    assert (_search(x, values, 2) == trellis_quantize(x, values, 2, backend="reference")[0]).all()


def test_any_layout_is_taken_and_left():
    x, values = np.random.default_rng(1).standard_normal((2, 16)), trellis_values("3inst", 6)
    expected = trellis_quantize(x, values, 1, backend="reference")[0]
    turned, table = _on_device(x.T, values)
    before = turned.clone()
    assert (trellis_quantize(turned.T, table, 1, backend="triton")[0].cpu().numpy() == expected).all()
    assert (turned == before).all()
    assert trellis_quantize(turned.T[:0], table, 1, backend="triton")[0].shape == (0, 16)
    with pytest.raises(UsageError, match="data in NumPy and"):
        trellis_quantize(turned.T, values, 1)
