from __future__ import annotations

import numpy as np
import pytest
from rdtools.kernels import _threads
from rdtools.kernels import adaptive_coder_numba as fast
from rdtools.kernels import adaptive_coder_reference as reference
from rdtools.kernels import adaptive_model_numba as models
from rdtools.kernels.adaptive_moment_reference import adaptive_moment
from rdtools.kernels.coset_trellis_reference import coset_transitions

from rdtools.ops import map_on_threads

CODERS = {"reference": reference, "numba": fast}
NO_TRELLIS = np.zeros((0, 2), dtype=np.int32)


def model(rng, m, p, *, std=1.5, spread=3):
    """Exponents of rows and columns, and plain models whose standard deviation grows by an eighth of an octave."""
    rows, columns = rng.integers(0, spread, m), rng.integers(0, spread, p)
    law = np.arange(2 * spread - 1)
    stds = std * 2.0 ** ((law - spread + 1) / 8)
    place = np.roll(law, -(spread - 1))  # differences from −spread + 1 wrap to the end, as NumPy counts
    laws = (place.astype(np.int64), stds, np.sqrt(stds**2 + 1 / 12))
    return rows.astype(np.int64), columns.astype(np.int64), laws


def correlated(rng, m, p, std):
    """Rows of one strong direction, one of them far out."""
    values = rng.standard_normal((m, p)) + 2.0 * rng.standard_normal((m, 1)) * np.sin(np.arange(p))
    values[m // 2] *= 50.0
    return np.rint(std * values).astype(np.int32)


def walks(integers, states, segment):
    """Every integer given the parity of its state."""
    transitions, out = coset_transitions(states), integers.copy()
    for i in range(out.shape[1]):
        state = 0
        for r in range(len(out)):
            state = 0 if r % segment == 0 else state
            out[r, i] += (out[r, i] ^ state) & 1
            state = transitions[state, (out[r, i] >> 1) & 1]
    return out, transitions


@pytest.mark.parametrize("states", [0, 8])
def test_models_that_go_on_from_another_matrix_are_those_of_the_reference_and_shorter(states, rng):
    """Two matrices of one strong direction; the second moment of the first is an exact sum of integers."""
    (m, p), half = (24, 20), 0.5 if states else 1.0
    first, second = np.split(correlated(rng, 2 * m, p, 2.0), 2)
    (first, transitions), (second, _) = (walks(each, states, m) if states else (each, NO_TRELLIS) for each in (first, second))
    rows, columns, laws = model(rng, m, p, std=2.0)
    moment = adaptive_moment(first, rows, columns, laws, bool(states))
    units = np.clip(np.floor(64 * half * first / laws[2][laws[0][rows[:, None] - columns]] + 0.5), -256, 256)
    weighed = np.array([row * min(1.0, np.sqrt(2 * 64**2 * p / max(row @ row, 1e-9))) for row in units])
    np.testing.assert_allclose(moment, weighed.T @ weighed, atol=256 * m)  # each number of a heavy row is rounded to an integer
    rest = (rows, columns, laws, 3.0, transitions, m)
    words, escaped, outcome = reference.adaptive_encode(second, *rest, m, moment)
    assert outcome == 0
    assert len(words) < len(reference.adaptive_encode(second, *rest)[0])
    for kernel in CODERS.values():
        np.testing.assert_array_equal(kernel.adaptive_encode(second, *rest, m, moment)[0], words)
        np.testing.assert_array_equal(kernel.adaptive_decode(words, escaped.astype(np.int64), *rest, m, moment)[0], second)
        assert abs(32 * len(words) - kernel.adaptive_length(second, *rest, m, moment)[0]) < 66


@pytest.mark.parametrize(("m", "p", "std", "states"), [
    (1, 1, 1.0, 0), (70, 1, 0.2, 0), (1, 70, 3.0, 4), (60, 41, 1.5, 0),
    (45, 67, 1.0, 8), (40, 9, 3000.0, 0), (24, 5, 2.0**33, 4), (30, 8, 0.0, 0),
])  # fmt: skip
def test_every_word_is_that_of_the_reference_and_decodes(m, p, std, states, rng):
    integers, transitions = correlated(rng, m, p, min(std, 1e6)), NO_TRELLIS
    if states:
        integers, transitions = walks(integers, states, 16)
    rest = (*model(rng, m, p, std=std if std < 2**33 else 2.0**32), 3.0, transitions, 16)
    if std == 0:
        rest = (rest[0], rest[1], (rest[2][0], 0 * rest[2][1], np.full(5, 2.0**-20)), *rest[3:])
    words, escaped, outcome = reference.adaptive_encode(integers, *rest)
    for kernel in CODERS.values():
        got = kernel.adaptive_encode(integers, *rest)
        assert got[2] == outcome == 0
        np.testing.assert_array_equal(got[0], words)
        np.testing.assert_array_equal(got[1], escaped)
        decoded, outcome = kernel.adaptive_decode(words, escaped.astype(np.int64), *rest)
        assert outcome == 0
        np.testing.assert_array_equal(decoded, integers)
        bits, outside, outcome = kernel.adaptive_length(integers, *rest)
        np.testing.assert_array_equal(outside, escaped)
        # a range coder of 64 bits loses less than 2⁻³² of an interval a symbol, and its last word
        assert abs(32 * len(words) - bits) < 66


@pytest.mark.parametrize("p", [1, 6, 37])
def test_neither_panels_nor_threads_change_a_bit_of_the_factor(p, rng, monkeypatch):
    """Panels of one tile and of several, shares of rows that tiles do not divide, and rows of several heavy columns."""
    units = rng.integers(-256, 257, (20, p)) * np.exp2(-rng.integers(0, 6, p)).round(5)
    sums = np.zeros((p, p))
    models.add_products(sums, np.floor(units))
    np.testing.assert_array_equal(sums, np.triu(np.floor(units).T @ np.floor(units)))
    expected, d = reference.factor(sums + np.triu(sums, 1).T, 20, 3.0)
    for name, value in (("THREADS_FROM", 1), ("SHARE", 6), ("thread_count", lambda: 2)):
        monkeypatch.setattr(models, name, value)
    for panel in (4, 16, 64):
        monkeypatch.setattr(models, "PANEL", panel)
        upper, own = np.full((p, p), np.nan), np.full(p, np.nan)
        models.factor(sums, 20, 3.0, upper, own)
        np.testing.assert_array_equal(np.triu(upper, 1), np.triu(expected, 1))
        np.testing.assert_array_equal(own, d)


@pytest.mark.parametrize("count", [1, 2])
def test_results_come_in_order_whatever_threads_there_are(count, monkeypatch):
    monkeypatch.setattr(_threads, "thread_count", lambda: count)
    assert list(map_on_threads(lambda x: x * x, range(5))) == [0, 1, 4, 9, 16]
    assert list(map_on_threads(abs, [])) == []
    with pytest.raises(ZeroDivisionError):
        list(map_on_threads(lambda x: 1 // x, range(5)))
