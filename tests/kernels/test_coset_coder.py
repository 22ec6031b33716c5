"""The range coder of integers whose parity a trellis knows: both kernels make the same words, and read them."""

from __future__ import annotations

import numpy as np
import pytest

from rdtools.coding.entropy.coset import coset_tables, parity_table
from rdtools.normal import normal_cdf
from rdtools.ops import coset_decode, coset_encode, coset_transitions, coset_trellis_sweep
from rdtools.records import CosetSymbols, GaussianModel, UniformGrid


def block(m, n, step, seed=0, states=8, segment=16):
    """Walks of normal numbers in columns and rows of unequal Gaussians, and the arguments of the coder."""
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(0, 20, m).astype(np.uint8), rng.integers(0, 30, n).astype(np.uint8)
    grid = UniformGrid(step, columns)
    W = rng.standard_normal((m, n)) * 2.0 ** (rows[:, None] / 8)
    integers, _ = coset_trellis_sweep(W, np.eye(n), grid.column_steps(n), states, segment=segment)
    symbols = CosetSymbols(integers, grid, GaussianModel(1.0, 0.1, rows), states, segment)
    return integers, (*coset_tables(symbols), coset_transitions(states), segment)


@pytest.mark.parametrize(("m", "n", "step"), [(1, 1, 1.0), (63, 5, 0.5), (40, 7, 2.0**-14), (137, 3, 8.0), (0, 2, 1.0)])
def test_both_backends_make_the_same_words_and_read_them(m, n, step):
    integers, model = block(m, n, step)
    if integers.size > 9:
        integers[0, 0], integers[0, 1] = 2**31 - 4, -(2**31) + 4  # outside any table, of the right parity and coset 0: the walk starts anew
        integers[:16, :2] = np.where(np.arange(16)[:, None] == 0, integers[:1, :2], 0)
    slow, slow_escaped, fault = coset_encode(integers, *model, backend="reference")
    fast, fast_escaped, same_fault = coset_encode(integers, *model, backend="numba")
    assert fault == same_fault == ""
    assert (slow == fast).all()
    assert (slow_escaped == fast_escaped).all()
    for backend in ("reference", "numba"):
        decoded, fault = coset_decode(fast, fast_escaped.astype(np.int64), *model, backend=backend)
        assert fault == ""
        assert (decoded == integers).all()


def test_a_carry_runs_through_words_of_ones():
    """Symbols at the top of the interval bring its lower end to words of 2³² − 1, and the next one carries into all of them."""
    cumulative = np.array([0, 2**24 - 2, 2**24 - 1, 2**24] * 2, dtype=np.uint32)
    tables = (cumulative, np.array([0, 4, 8]), np.array([1]), np.array([0]))
    transitions, gaussian = np.zeros((4, 2), dtype=np.int32), np.zeros(1, dtype=np.int64)
    rng = np.random.default_rng(0)
    for _ in range(20):
        # −2 has all but two parts of the interval, 0 one just below the end, anything else the escape symbol, the last
        integers = np.where(rng.random((300, 1)) < 0.9, 4, rng.choice([-2, 0], (300, 1))).astype(np.int32)
        model = (np.zeros(300, dtype=np.int64), np.zeros(1, dtype=np.int64), gaussian, tables, transitions, 1)
        slow, escaped, _ = coset_encode(integers, *model, backend="reference")
        fast, _, _ = coset_encode(integers, *model, backend="numba")
        assert (slow == fast).all()
        assert (coset_decode(fast, escaped.astype(np.int64), *model)[0] == integers).all()


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_what_no_encoder_writes_is_told_from_what_it_writes(backend):
    integers, model = block(63, 5, 0.5)
    wrong = integers.copy()
    wrong[3, 2] += 1
    assert "parity" in coset_encode(wrong, *model, backend=backend)[2]
    words, escaped, _ = coset_encode(integers, *model, backend=backend)
    none = np.zeros(0, dtype=np.int64)
    assert len(escaped) == 0
    for changed in (words[:-1], np.append(words, np.uint32(0)), np.full(len(words), 2**32 - 1, dtype=np.uint32), words[:0]):
        assert coset_decode(changed, none, *model, backend=backend)[1] != ""
    assert "escaped" in coset_decode(words, np.zeros(1, dtype=np.int64), *model, backend=backend)[1]
    integers[0, 0] = 2**31 - 4
    integers[1:16, 0] = 0
    words, escaped, _ = coset_encode(integers, *model, backend=backend)
    assert escaped.tolist() == [2**31 - 4]
    assert "parity" in coset_decode(words, np.array([5]), *model, backend=backend)[1]
    assert "escaped" in coset_decode(words, none, *model, backend=backend)[1]


@pytest.mark.parametrize("std", [0.0, 0.02, 0.7, 40.0, 513.0, 1e5])
@pytest.mark.parametrize("parity", [0, 1])
def test_tables_are_those_of_the_law_given_the_parity(std, parity):
    """Each symbol has a frequency; without low bits it is P(q | parity) of the portable distribution function to one part and 2⁻²⁴ each."""
    cumulative, half, shift = parity_table(std, parity)
    frequencies = np.diff(cumulative.astype(np.int64))
    assert (cumulative[0], cumulative[-1], len(frequencies)) == (0, 2**24, 2 * half + 1)
    assert frequencies.min() >= 1
    assert half <= 6 * 512 + 3
    width = 2.0**shift
    lower = np.arange(-half + 1, half - 1) * width + 0.5 * (parity - 1)
    expected = 2.0**24 * (normal_cdf((lower + width) / max(std, 1e-30)) - normal_cdf(lower / max(std, 1e-30)))
    np.testing.assert_allclose(frequencies[1:-2], expected, atol=2 + 1e-3 * expected.max())
