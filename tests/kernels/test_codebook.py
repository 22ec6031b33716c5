"""Sums of codewords: error, gradient and search against the reference, and the search against all combinations."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from rdtools.kernels import codebook_numba

from rdtools import ops
from rdtools.errors import BackendUnavailable, ShapeMismatch, UnsupportedDtype, UsageError
from rdtools.records.additive_codes import code_slots

#: Rows, groups, group size, words, critical groups, extended codebooks.
SHAPES = [(1, 1, 1, 1, 0, 0), (5, 4, 8, 16, 2, 2), (63, 3, 8, 100, 1, 1), (3, 100, 2, 7, 37, 3), (0, 2, 8, 4, 1, 1)]


def _case(shape, dtype, seed=0):
    m, groups, g, words, critical, extended = shape
    rng = np.random.default_rng(seed)
    n = groups * g
    A = rng.standard_normal((n, 2 * n))
    slots = code_slots(groups, critical, 1, extended)
    books = 1 + extended
    sizes = np.array([words] + [max(words - 3, 1)] * extended)
    codes = rng.integers(0, sizes[slots[:, 1]], (m, len(slots))).astype(np.uint16)
    case = {
        "scales": rng.uniform(0.5, 2.0, m).astype(dtype),
        "codebooks": rng.standard_normal((books, words, g)).astype(dtype),
        "codes": codes,
        "slots": slots,
    }
    return rng.standard_normal((m, n)).astype(dtype), (A @ A.T / n).astype(dtype), case, sizes, rng.permutation(len(slots))


def _losses(W, H, case, codes):
    """Of each row, in extended precision."""
    E = ops.codebook_error(W, **{**case, "codes": codes}, backend="reference").astype(np.longdouble)
    return ((E @ H.astype(np.longdouble)) * E).sum(axis=1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_error_and_gradient_are_those_of_the_reference(shape, dtype, monkeypatch):
    """Each adds the same few numbers: words of a place, or in float64 the products of a word."""
    W, H, case, _, _ = _case(shape, dtype)
    slow = ops.codebook_error(W, **case, backend="reference")
    ops.codebook_error(W, **case)
    real = np.empty
    monkeypatch.setattr(np, "empty", lambda *args, **kwargs: np.full_like(real(*args, **kwargs), 77))
    fast = ops.codebook_error(W, **case, backend="numba")
    assert fast.dtype == dtype
    np.testing.assert_allclose(fast, slow, rtol=0, atol=16 * np.finfo(dtype).eps * np.abs(W).max(initial=1) * 8)
    slow_gradients = ops.codebook_gradient(slow @ H, **case, backend="reference")
    for a, b in zip(ops.codebook_gradient(slow @ H, **case, backend="numba"), slow_gradients, strict=True):
        assert a.dtype == np.float64
        np.testing.assert_allclose(a, b, rtol=0, atol=1e3 * np.finfo(np.float64).eps * np.abs(b).max(initial=1))


def test_the_gradient_is_the_derivative_of_the_loss():
    """Central differences of a quadratic are exact but for rounding."""
    W, H, case, _, _ = _case((5, 4, 8, 6, 2, 2), np.float64)
    by_books, by_scales = ops.codebook_gradient(ops.codebook_error(W, **case) @ H, **case)

    def difference(name, place, step=1e-3):
        losses = []
        for sign in (1, -1):
            moved = {**case, name: case[name].copy()}
            moved[name][place] += sign * step
            E = ops.codebook_error(W, **moved)
            losses.append(np.vdot(E, E @ H))
        return (losses[0] - losses[1]) / (2 * step)

    for place in ((0, 2, 3), (1, 0, 7), (2, 1, 0)):
        assert by_books[place] == pytest.approx(difference("codebooks", place), rel=1e-8, abs=1e-8)
    assert by_scales[3] == pytest.approx(difference("scales", 3), rel=1e-8)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("beam", [1, 3])
def test_the_search_is_that_of_the_reference(shape, dtype, beam):
    """Where another code is taken, the row ends as well off to rounding."""
    W, H, case, sizes, visits = _case(shape, dtype)
    E = ops.codebook_error(W, **case)
    slow, fast = (
        ops.codebook_search(E, H, **case, visits=visits, sizes=sizes, beam=beam, backend=backend) for backend in ("reference", "numba")
    )
    assert fast.dtype == np.uint16
    assert (fast < sizes[case["slots"][:, 1]]).all()
    different = (slow != fast).any(axis=1)
    assert different.mean() < 0.1 if len(W) else True
    before, a, b = (_losses(W, H, case, codes) for codes in (case["codes"], slow, fast))
    budget = 1e3 * np.finfo(dtype).eps * before
    assert (np.abs(a - b) <= budget).all() if dtype == np.float64 else (np.abs(a - b)[different] <= 0.05 * before[different]).all()
    assert (b <= before + budget).all()


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_a_beam_of_all_combinations_finds_the_least_loss(backend):
    W, H, case, _, _ = _case((4, 2, 2, 3, 1, 1), np.float64, seed=1)
    sizes = np.array([3, 3])
    found = ops.codebook_search(ops.codebook_error(W, **case), H, **case, sizes=sizes, beam=27, backend=backend)
    every = np.array([_losses(W, H, case, np.tile(np.array(c, dtype=np.uint16), (4, 1))) for c in itertools.product(range(3), repeat=3)])
    np.testing.assert_allclose(_losses(W, H, case, found).astype(float), every.min(axis=0).astype(float), rtol=1e-12)


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_the_first_of_equal_words_is_taken_and_one_as_good_stays(backend):
    C = np.array([[[5.0], [1.0], [1.0], [-1.0]]])
    codes, slots = np.array([[2], [0]], dtype=np.uint16), np.zeros((1, 2), dtype=np.int64)
    W = np.array([[1.0], [0.0]])
    E = ops.codebook_error(W, np.ones(2), C, codes, slots)
    assert ops.codebook_search(E, np.eye(1), np.ones(2), C, codes, slots, backend=backend).tolist() == [[2], [1]]


def test_neither_blocks_threads_nor_layout_change_a_code(monkeypatch):
    W, H, case, sizes, visits = _case((70, 3, 8, 20, 1, 1), np.float64)
    E = ops.codebook_error(W, **case)
    expected = ops.codebook_search(E, H, **case, visits=visits, sizes=sizes)
    monkeypatch.setattr(codebook_numba, "ROWS", 16)
    monkeypatch.setattr(codebook_numba, "thread_count", lambda: 3)
    case["codebooks"].flags.writeable = False
    other = {**case, "codes": np.asfortranarray(case["codes"])}
    assert (ops.codebook_search(np.asfortranarray(E), np.asfortranarray(H), **other, visits=visits, sizes=sizes) == expected).all()


def test_wrong_input_is_refused():
    W, H, case, sizes, _ = _case((5, 4, 8, 16, 2, 2), np.float64)

    def search(**changes):
        return ops.codebook_search(**({"error": W, "moment": H, **case, "sizes": sizes} | changes))

    for changes, error, message in (
        ({"moment": H[:-1]}, ShapeMismatch, "moment"),
        ({"scales": case["scales"][:-1]}, ShapeMismatch, "scales"),
        ({"codes": case["codes"].astype(np.int32)}, UnsupportedDtype, "codes of int32"),
        ({"codes": case["codes"] + np.uint16(16)}, UsageError, "expected 0 to 15"),
        ({"codes": np.full_like(case["codes"], 14)}, UsageError, "beyond the words of its codebook"),
        ({"slots": case["slots"] + 2}, UsageError, "expected groups 0 to 3 and codebooks 0 to 2"),
        ({"visits": np.array([0, 0])}, UsageError, "each at most once"),
        ({"visits": np.array([8])}, UsageError, "no selection of the 8 slots"),
        ({"sizes": np.array([16, 17, 1])}, UsageError, "expected at least 1, and 1 to 16 words"),
        ({"beam": 0}, UsageError, "beam 0"),
        ({"backend": "cuda"}, BackendUnavailable, "cuda"),
    ):
        with pytest.raises(error, match=message):
            search(**changes)
