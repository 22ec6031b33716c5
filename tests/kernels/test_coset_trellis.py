"""The trellis of cosets: its codes, and successive cancellation down its walks."""

from __future__ import annotations

import heapq
import itertools
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from rdtools.kernels import coset_trellis_numba, coset_trellis_reference
from rdtools.kernels.coset_trellis_reference import CODES, nearest_path
from tolerances import rounding

from rdtools import ops
from rdtools.errors import ShapeMismatch, UnsupportedDtype, UsageError
from rdtools.linalg import cholesky
from rdtools.moments.synthetic import haar_moment, power_law
from rdtools.ops import COSET_STATES, coset_transitions, coset_trellis_sweep

integers = pytest.mark.parametrize("states", COSET_STATES)


def remainder(a: int, b: int) -> int:
    """Of a polynomial over GF(2), its bits the coefficients."""
    while a.bit_length() >= b.bit_length():
        a ^= b << (a.bit_length() - b.bit_length())
    return a


@integers
def test_the_polynomials_are_coprime_and_of_ungerboecks_form(states):
    """h⁰ has both end taps, so that the state knows the parity and every state has two ways in; h¹ has neither."""
    h0, h1 = CODES[states]
    assert h0.bit_length() - 1 == states.bit_length() - 1
    assert h0 & 1
    assert h1 & 1 == 0
    assert h1.bit_length() <= h0.bit_length() - 1
    a, b = h0, h1
    while b:
        a, b = b, remainder(a, b)
    assert a == 1


@integers
def test_every_state_is_reached_and_has_two_ways_in(states):
    after = coset_transitions(states)
    assert sorted(after.ravel().tolist()) == sorted([*range(states)] * 2)
    seen, front = {0}, {0}
    while front:
        front = {int(t) for s in front for t in after[s]} - seen
        seen |= front
    assert len(seen) == states


@pytest.mark.parametrize(("states", "distance"), [*zip(COSET_STATES, (9, 10, 11, 13, 14, 16, 17, 18, 19), strict=True)])
def test_squared_distance_between_walks_that_part_and_meet_again(states, distance):
    """Nearest points of cosets that differ by 1 or 3 are 1 apart, by 2 they are 2 apart; the code is linear, so one walk may be zero."""
    after = coset_transitions(states)
    heap, best = [(4, int(after[0, 1]))], {}
    while heap:
        d, s = heapq.heappop(heap)
        if s == 0:
            break
        if best.setdefault(s, d) < d:
            continue
        for z1 in (0, 1):
            heapq.heappush(heap, (d + (1 if s & 1 else 4 * z1), int(after[s, z1])))
    assert d == distance


@integers
def test_both_forms_of_the_code_have_the_same_walks(states):
    """Inputs into the register of the fast kernel give cosets that the decoder's machine follows from state 0, and all of them."""
    labels, after = coset_trellis_reference.butterfly_labels(states), coset_transitions(states)
    rng = np.random.default_rng(states)
    register = state = 0
    for u in rng.integers(0, 2, 400).tolist():
        half = states // 2
        coset = int(labels[register % half]) ^ (2 * (u ^ (register >= half)))
        assert coset % 2 == state % 2
        register, state = (2 * register + u) % states, int(after[state, coset >> 1])


def brute_force(x, states):
    """Least squared error of any walk from state 0 to x."""
    after, least = coset_transitions(states), np.inf
    for branches in itertools.product((0, 1), repeat=len(x)):
        state, total = 0, 0.0
        for value, z1 in zip(x.tolist(), branches, strict=True):
            coset = state % 2 + 2 * z1
            total += (value - (coset + 4 * round((value - coset) / 4))) ** 2
            state = int(after[state, z1])
        least = min(least, total)
    return least


def follows(integers, states, segment):
    """True if every integer is as odd as the state that those before it lead to."""
    after = coset_transitions(states)
    for first in range(0, len(integers), segment):
        state = np.zeros(integers.shape[1], dtype=np.int64)
        for row in integers[first : first + segment]:
            if (row % 2 != state % 2).any():
                return False
            state = after[state, (row % 4) // 2]
    return True


@pytest.mark.parametrize("states", [4, 8, 64])
@pytest.mark.parametrize("rows", [1, 2, 9])
def test_the_reference_finds_the_nearest_walk(states, rows):
    x = 3 * np.random.default_rng(rows).standard_normal(rows)
    path = nearest_path(x, coset_transitions(states), 2**31 - 1)
    assert follows(path[:, None], states, rows)
    assert ((x - path) ** 2).sum() == pytest.approx(brute_force(x, states), rel=rounding(rows))


def case(m, n, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    L = cholesky(haar_moment(power_law(n, 1.0), rng)).lower
    return rng.standard_normal((m, n)).astype(dtype), L.astype(dtype).astype(np.float64), 0.4 * np.exp(0.3 * rng.standard_normal(n))


def check(W, L, steps, states, segment, integers, residual):
    """Every walk follows the machine and is as near to what it was given as the nearest one, up to rounding of float32 costs."""
    assert integers.dtype == np.int32
    assert follows(integers, states, segment)
    error = W.astype(np.float64) - 0.5 * steps * integers
    eps = np.finfo(W.dtype).eps
    np.testing.assert_allclose(residual, error @ L, atol=64 * len(L) * eps * np.abs(W).max(initial=1) * np.abs(L).max())
    widths = 0.5 * steps * np.diagonal(L)
    x = (error @ L) / widths + integers
    for i, first in itertools.product(range(len(L)), range(0, len(W), segment)):
        rows = slice(first, first + segment)
        best = nearest_path(x[rows, i], coset_transitions(states), 2**31 - 1)
        least = ((x[rows, i] - best) ** 2).sum()
        # the targets themselves are known up to the rounding of the sweep, and costs up to that of float32 over 32 rows
        doubt = 2 * len(best) * (64 * len(L) * eps * np.abs(x).max() + 64 * np.finfo(np.float32).eps)
        assert ((x[rows, i] - integers[rows, i]) ** 2).sum() <= least + doubt


@pytest.mark.parametrize(("m", "n", "segment"), [(1, 1, 1), (1, 65, 8), (63, 3, 63), (100, 66, 37), (137, 5, 1000)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_numba_finds_walks_as_near_as_the_reference(m, n, segment, dtype, monkeypatch):
    W, L, steps = case(m, n, dtype)
    coset_trellis_sweep(W[:1, :1], L[:1, :1], steps[:1], 8, segment=1)  # compiled before fresh arrays are poisoned
    real = np.empty

    def empty(*args, **kwargs):
        array = real(*args, **kwargs)
        array.fill(np.iinfo(array.dtype).min if array.dtype.kind in "iu" else np.nan)
        return array

    monkeypatch.setattr(np, "empty", empty)
    fast = coset_trellis_sweep(W, L, steps, 8, segment=segment, backend="numba")
    check(W, L, steps, 8, segment, *fast)
    without, nothing = coset_trellis_sweep(W, L, steps, 8, segment=segment, residual=False, backend="numba")
    assert nothing is None
    assert (without == fast[0]).all()


def test_the_reference_sweep_passes_the_same_check():
    W, L, steps = case(40, 5)
    check(W, L, steps, 8, 16, *coset_trellis_sweep(W, L, steps, 8, segment=16, backend="reference"))


@integers
def test_every_code_of_the_fast_kernel_is_that_of_the_reference(states):
    """Dyadic targets, whose costs no sum rounds: of equal cost, whichever of equal walks it is."""
    x = np.random.default_rng(states).integers(-80, 80, (70, 1)) / 16
    costs = [
        (coset_trellis_sweep(x, np.ones((1, 1)), np.full(1, 2.0), states, segment=70, backend=backend)[1] ** 2).sum()
        for backend in ("numba", "reference")
    ]
    assert costs[0] == costs[1]


@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_the_largest_integers_keep_their_parity(backend):
    """Targets beyond 32 bits, one billion spacings off, are cut to the largest integers of their coset."""
    x = np.array([[1e12], [-1e12], [0.3], [7e8]])
    integers, _ = coset_trellis_sweep(x, np.ones((1, 1)), np.full(1, 2.0), 8, segment=4, backend=backend)
    assert follows(integers, 8, 4)
    assert (np.abs(integers[:2, 0].astype(np.int64)) >= 2**31 - 16).all()
    assert abs(int(integers[3, 0]) - 700_000_000) <= 2


def test_threads_and_layouts_do_not_change_the_integers(monkeypatch):
    W, L, steps = case(60, 70)
    expected, _ = coset_trellis_sweep(W, L, steps, 8, segment=16)
    monkeypatch.setattr(coset_trellis_numba, "thread_count", lambda: 3)
    monkeypatch.setattr(coset_trellis_numba, "ROWS", 16)
    for weight in (W, np.asfortranarray(W)):
        assert (coset_trellis_sweep(weight, L, steps, 8, segment=16)[0] == expected).all()


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_nothing_to_quantize_gives_nothing(shape):
    for backend in ("numba", "reference"):
        integers, _ = coset_trellis_sweep(np.zeros(shape), np.eye(shape[1]), np.ones(shape[1]), 8, segment=4, backend=backend)
        assert integers.shape == shape


def test_what_cannot_be_meant_is_refused():
    one = np.ones((1, 1))
    with pytest.raises(UsageError, match="7 states, expected one of 4, 8, 16"):
        coset_trellis_sweep(one, one, np.ones(1), 7, segment=1)
    with pytest.raises(UsageError, match="segments of 0 rows"):
        coset_trellis_sweep(one, one, np.ones(1), 8, segment=0)
    with pytest.raises(ShapeMismatch):
        coset_trellis_sweep(one, np.ones((2, 2)), np.ones(1), 8, segment=1)
    with pytest.raises(UnsupportedDtype):
        coset_trellis_sweep(one.astype(np.float16), one, np.ones(1), 8, segment=1)


def test_distortion_at_high_rate_is_that_of_a_scalar_over_the_granular_gain():
    """``α²/12`` less 1.07 to 1.09 dB with 8 states: 2¹⁵ rows far finer than the input, ± 4 standard errors of 0.011 dB."""
    x = np.random.default_rng(1).standard_normal((2**15, 1))
    _, residual = ops.coset_trellis_sweep(x, np.ones((1, 1)), np.full(1, 0.05), 8, segment=2**15)
    gain = -10 * np.log10(12 * (residual**2).mean() / 0.05**2)
    assert gain == pytest.approx(1.08, abs=0.055)


def test_the_codes_listed_are_those_of_the_reference():
    assert tuple(coset_trellis_reference.CODES) == COSET_STATES


@pytest.mark.parametrize(("m", "n", "segment", "states"), [(1, 1, 1, 4), (9, 3, 4, 8), (3, 130, 5, 64), (35, 2, 35, 16)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_torch_takes_the_walks_of_the_cpu(m, n, segment, states, dtype):
    """Drawn targets have no two walks equally near to rounding; several panels, segments that do not divide the rows, renewed costs."""
    W, L, steps = case(m, n, dtype)
    expected, left = coset_trellis_sweep(W, L, steps, states, segment=segment)
    there = [torch.from_numpy(np.array(x)) for x in (W, L, steps)]
    integers, residual = coset_trellis_sweep(*there, states, segment=segment, backend="torch")
    assert integers.dtype == torch.int32
    np.testing.assert_array_equal(integers.numpy(), expected)
    np.testing.assert_allclose(residual.numpy(), left, rtol=0, atol=8 * n * np.finfo(dtype).eps * np.abs(left).max())
    assert (there[0].numpy() == W).all()
    empty = coset_trellis_sweep(there[0][:0], *there[1:], states, segment=segment, residual=False, backend="torch")
    assert (empty[0].shape, empty[1]) == ((0, n), None)


def _run_triton_cases(*selection, **environment):
    """In a process of its own: whether kernels are interpreted is decided when Triton is first imported."""
    cases = Path(__file__).parent / "coset_trellis_triton_cases.py"
    command = [sys.executable, "-P", "-m", "pytest", "-n", "0", "-q", *selection, str(cases)]
    done = subprocess.run(command, cwd=cases.parents[2], env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
def test_triton_under_the_interpreter():
    _run_triton_cases(TRITON_INTERPRET="1", CUDA_VISIBLE_DEVICES="")


@pytest.mark.gpu
@pytest.mark.skipif(find_spec("triton") is None or not torch.cuda.is_available(), reason="torch finds no GPU with its driver")
def test_triton_on_a_gpu():
    _run_triton_cases(TRITON_INTERPRET="0")
