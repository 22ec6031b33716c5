"""Triton's searches for words of E8P and its coordinate descent against the reference, under the interpreter or on a GPU; `test_triton`
runs this in a process of its own.
"""

from __future__ import annotations

import importlib
import itertools

import numpy as np
import pytest
import torch

from rdtools import ops
from rdtools.errors import UsageError
from rdtools.ops.coordinate_descent import coordinate_descent
from rdtools.ops.e8p_residual import e8_short_nearest

ON_GPU = torch.cuda.is_available()
DEVICE = "cuda" if ON_GPU else "cpu"
GUARD = 16


@pytest.fixture
def guarded(monkeypatch):
    """Fresh tensors lie between sentinels and hold NaN, or the least integer, so that what is not written, or beside it, is seen."""
    real, made = torch.empty, []

    def empty(*shape, **kwargs):
        shape = torch.Size(shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)
        whole = real((shape.numel() + 2 * GUARD,), **kwargs)
        whole.fill_(float("nan") if whole.dtype.is_floating_point else torch.iinfo(whole.dtype).min)
        made.append(whole)
        return whole[GUARD : GUARD + shape.numel()].view(shape)

    monkeypatch.setattr(torch, "empty", empty)
    yield
    assert made
    for whole in made:
        edges = torch.cat([whole[:GUARD], whole[-GUARD:]])
        assert bool((edges.isnan() if edges.dtype.is_floating_point else edges == torch.iinfo(edges.dtype).min).all())


def _there(*arrays):
    """On the device, in the middle of NaN or of huge integers."""
    made = []
    for x in arrays:
        whole = np.full(x.size + 2 * GUARD, np.nan if x.dtype.kind == "f" else np.iinfo(x.dtype).max, dtype=x.dtype)
        whole[GUARD : GUARD + x.size] = x.ravel()
        made.append(torch.from_numpy(whole).to(DEVICE)[GUARD : GUARD + x.size].view(x.shape))
    return tuple(made)


def _fewer_programs(monkeypatch):
    """The interpreter takes as long for a program of many rows as for one of few."""
    if not ON_GPU:
        for family, rows in (("e8p", 64), ("e8p_residual", 64), ("coordinate_descent", 64)):
            monkeypatch.setattr(importlib.import_module(f"rdtools.kernels.{family}_triton"), "ROWS", rows)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("k", [1, 63, 100, 137])
@pytest.mark.parametrize("scale", [0.3, 1.1])
def test_the_nearest_words_are_those_of_the_reference(k, scale, dtype, guarded, monkeypatch):
    """Normal vectors have no ties; near the origin and where entries of the padding win."""
    _fewer_programs(monkeypatch)
    x = (scale * np.random.default_rng(k).standard_normal((k, 8))).astype(dtype)
    for nearest in (ops.e8p_nearest, e8_short_nearest):
        expected, words = nearest(x, backend="numba")  # which the reference is compared with for many more
        codes, found = nearest(*_there(x), backend="triton")
        assert (codes.dtype, codes.device.type) == (torch.int32, DEVICE)
        np.testing.assert_array_equal(codes.cpu().numpy(), expected)
        np.testing.assert_array_equal(found.cpu().numpy(), words)


def test_every_word_is_nearest_to_itself(monkeypatch):
    """One of each entry and shift, with signs drawn at random, the 29 of the padding among them; and all short vectors."""
    _fewer_programs(monkeypatch)
    codes = (np.arange(512) // 2 * 256 + np.random.default_rng(0).integers(0, 256, 512)).astype(np.uint16)
    found, words = ops.e8p_nearest(*_there(ops.e8p_words(codes)), backend="triton")
    np.testing.assert_array_equal(found.cpu().numpy(), codes)
    np.testing.assert_array_equal(words.cpu().numpy(), ops.e8p_words(codes))
    table = ops.registry.kernel("e8_short_words")()
    np.testing.assert_array_equal(e8_short_nearest(*_there(table), backend="triton")[0].cpu().numpy(), np.arange(256))


def test_of_words_equally_near_one_of_them_is_taken(monkeypatch):
    """Multiples of ¼: no distance is rounded."""
    _fewer_programs(monkeypatch)
    x = np.random.default_rng(1).integers(-6, 7, (40, 8)) / 4.0
    expected = ops.e8p_nearest(x, backend="reference")[1]
    codes, words = (t.cpu().numpy() for t in ops.e8p_nearest(*_there(x), backend="triton"))
    np.testing.assert_array_equal(((x - words) ** 2).sum(1), ((x - expected) ** 2).sum(1))
    np.testing.assert_array_equal(ops.e8p_words(codes), words)


def test_no_vector_and_any_layout():
    x = np.random.default_rng(2).standard_normal((5, 8))
    for nearest in (ops.e8p_nearest, e8_short_nearest):
        assert nearest(torch.zeros((0, 8), device=DEVICE), backend="triton")[1].shape == (0, 8)
        turned = torch.from_numpy(x.T.copy()).to(DEVICE).T
        np.testing.assert_array_equal(nearest(turned, backend="triton")[1].cpu().numpy(), nearest(x, backend="reference")[1])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("m", "n"), [(1, 1), (63, 5), (2, 137), (100, 3)])
def test_descent_gives_the_integers_of_the_reference(m, n, dtype, guarded, monkeypatch):
    """Weights and moments are dyadic and correlations sparse, so that no sum is rounded; several passes, strips and panels."""
    _fewer_programs(monkeypatch)
    module = importlib.import_module("rdtools.kernels.coordinate_descent_triton")
    monkeypatch.setattr(module, "PANEL", 96)
    rng = np.random.default_rng(n)
    H = np.rint(2 * rng.standard_normal((n, n))) / 4 * (rng.random((n, n)) < min(1.0, 8 / n))
    H = np.triu(H, 1) + np.triu(H, 1).T + 4 * np.eye(n)
    W, steps = (rng.integers(-32, 32, (m, n)) / 16.0).astype(dtype), np.exp2(-rng.integers(0, 2, n).astype(float))
    start = rng.integers(-3, 3, (m, n)).astype(np.int32)
    settings = {"passes": 3 if n < 100 else 1, "offset": 0.5, "order": rng.permutation(n), "integer_min": -3, "integer_max": 2}
    expected, used = coordinate_descent(W, H, start, steps, backend="reference", **settings)
    given = _there(W, H, start, steps)
    found, passes = coordinate_descent(*given, backend="triton", **settings)
    assert (found.dtype, found.device.type, passes) == (torch.int32, DEVICE, used)
    np.testing.assert_array_equal(found.cpu().numpy(), expected)
    np.testing.assert_array_equal(given[2].cpu().numpy(), start)


def test_descent_of_nothing_and_ties_stay():
    for m, n, passes in itertools.product((0, 2), (0, 2), (0, 1)):
        if m and n:
            continue
        nothing = np.zeros((m, n)), np.eye(n), np.zeros((m, n), dtype=np.int32), np.ones(n)
        assert coordinate_descent(*_there(*nothing), passes=passes, backend="triton")[1] == passes
    tie = np.array([[0.5]]), np.eye(1), np.array([[1]], dtype=np.int32), np.ones(1)
    assert coordinate_descent(*_there(*tie), passes=3, backend="triton") == (torch.tensor([[1]], dtype=torch.int32, device=DEVICE), 1)
    with pytest.raises(UsageError, match="data in NumPy and"):
        coordinate_descent(_there(tie[0])[0], *tie[1:], passes=1)
