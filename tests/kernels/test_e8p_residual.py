from __future__ import annotations

import math
from functools import lru_cache
from itertools import product

import numpy as np
import pytest
from rdtools.kernels import e8p_residual_numba, e8p_residual_reference
from scipy.stats import chi2
from tolerances import EPS, STANDARD_ERRORS

from rdtools.errors import BackendUnavailable, ShapeMismatch, UnsupportedDtype, UsageError
from rdtools.ops.e8p_residual import RESIDUAL_SCALES, e8_short_nearest, rvq_decode, rvq_nearest
from rdtools.quantizers.methods.quip_sharp import INPUT_ERRORS, INPUT_SCALES


def _squares(x, words):
    return ((x.astype(np.longdouble) - words) ** 2).sum(axis=1)


def test_the_words_are_the_short_vectors_of_e8():
    """All 241 of norm² at most 2, found among the integers and halves with an even sum, and ±2 e_i but for −2 e_8."""
    W = e8p_residual_reference.e8_short_words()
    assert W.shape == (256, 8)
    integers = (x for x in product((-1.0, 0.0, 1.0), repeat=8) if sum(x) % 2 == 0 and sum(v * v for v in x) <= 2)
    halves = (x for x in product((-0.5, 0.5), repeat=8) if sum(x) % 2 == 0)
    short = {*integers, *halves}
    assert len(short) == 241
    words = {tuple(w) for w in W.tolist()}
    assert len(words) == 256
    assert short < words
    twos = {tuple(s * 2.0 * (np.arange(8) == i)) for i in range(8) for s in (1, -1)} - {(0.0,) * 7 + (-2.0,)}
    assert words - short == twos


def test_the_codes_say_what_the_words_are():
    W = e8p_residual_reference.e8_short_words()
    assert (W[127] == 0).all()
    assert W[[0, 3, 4 * 27 + 1]].tolist() == [[1, 1, 0, 0, 0, 0, 0, 0], [-1, -1, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1, -1]]
    assert W[[112, 113, 126]].tolist() == [[2, 0, 0, 0, 0, 0, 0, 0], [-2, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 2]]
    assert W[[128, 129, 255]].tolist() == [[0.5] * 8, [-0.5] + [0.5] * 6 + [-0.5], [-0.5] * 7 + [-0.5]]


@pytest.mark.parametrize("scale", [0.1, 0.4, 0.8, 1.5, 5.0])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_structure_finds_what_looking_at_all_words_finds(scale, dtype, monkeypatch):
    """The same word, or one as near to rounding of the sums of both in float64."""
    x = (np.random.default_rng(0).standard_normal((5000, 8)) * scale).astype(dtype)
    e8_short_nearest(x[:1])
    real = np.empty
    slow_codes, slow = e8_short_nearest(x, backend="reference")

    def poisoned(*args, **kwargs):
        array = real(*args, **kwargs)
        array.fill(np.nan if array.dtype.kind == "f" else 255)
        return array

    monkeypatch.setattr(np, "empty", poisoned)
    codes, words = e8_short_nearest(x, backend="numba")
    assert (codes.dtype, words.dtype) == (np.uint8, dtype)
    assert (e8p_residual_reference.e8_short_words()[codes] == words).all()
    other = codes != slow_codes
    floor = 64 * EPS * (np.abs(x).max() + 2) ** 2
    assert (np.abs(_squares(x[other], words[other]) - _squares(x[other], slow[other])) <= floor).all()
    assert other.mean() < 0.001


def test_every_word_is_its_own_and_the_one_left_out_has_a_neighbour():
    """Within half of the least distance √2 a word is found again; near −2 e_8 one of those around it, ±e_i − e_8 and more."""
    W = e8p_residual_reference.e8_short_words()
    near = W + np.random.default_rng(0).uniform(-0.24, 0.24, W.shape)  # 8 · 0.24² < ½
    for backend in ("numba", "reference"):
        assert (e8_short_nearest(near, backend=backend)[0] == np.arange(256)).all()
    x = np.random.default_rng(1).standard_normal((2000, 8)) * 0.4 - 2.5 * (np.arange(8) == 7)
    slow, fast = (e8_short_nearest(x, backend=backend)[1] for backend in ("reference", "numba"))
    assert (np.abs(_squares(x, slow) - _squares(x, fast)) <= 64 * EPS * (np.abs(x).max() + 2) ** 2).all()
    assert len(np.unique(slow, axis=0)) > 14


@pytest.mark.parametrize("k", [0, 1, 63, 137])
@pytest.mark.parametrize(("block", "threads"), [(2**14, 1), (10, 3)])
def test_neither_blocks_threads_nor_layout_change_a_code(k, block, threads, monkeypatch):
    x = np.random.default_rng(k).standard_normal((k, 8))
    expected = e8_short_nearest(x, backend="reference")[0]
    monkeypatch.setattr(e8p_residual_numba, "BLOCK", block)
    monkeypatch.setattr(e8p_residual_numba, "thread_count", lambda: threads)
    x.flags.writeable = False
    for same in (x, np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2]):
        assert (e8_short_nearest(same, backend="numba")[0] == expected).all()


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_values_are_those_of_the_codes(bits, dtype):
    """Also in float32, to its rounding; the second stage never loses more than its longest word beyond the first."""
    x = np.random.default_rng(2).standard_normal((500, 8)).astype(dtype)
    codes, values = rvq_nearest(x, bits)
    assert [code.dtype for code in codes] == {2: [np.uint16], 3: [np.uint16, np.uint8], 4: [np.uint16, np.uint16]}[bits]
    assert values.dtype == dtype
    assert (rvq_decode(codes, bits).astype(dtype) == values).all()
    assert (rvq_decode(codes, bits, RESIDUAL_SCALES.get(bits)).astype(dtype) == values).all()
    slow, _ = rvq_nearest(x, bits, backend="reference")
    assert all((a == b).mean() > 0.99 for a, b in zip(codes, slow, strict=True))
    if bits > 2:
        first, _ = rvq_nearest(x, 2)
        assert (codes[0] == first[0]).all()
        assert ((values - x) ** 2).sum() < ((rvq_decode(first, 2) - x) ** 2).sum()


@lru_cache(maxsize=1)
def _normal():
    """Standard normal vectors, one in each of 100 000 shells of equal probability: most of the error's variance is that of the norm."""
    rng, k = np.random.default_rng(3), 100_000
    directions = rng.standard_normal((k, 8))
    norms = np.sqrt(chi2.ppf((np.arange(k) + rng.random(k)) / k, 8))
    return directions * (norms / np.linalg.norm(directions, axis=1))[:, None]


def _losses(bits, scale, residual_scale=None):
    """(x − x̂)²/8 of each vector."""
    x = _normal()
    return ((x - rvq_nearest(x * scale, bits, residual_scale)[1] / scale) ** 2).mean(axis=1)


def _standard_error(losses):
    """Of the mean over shells; neighbours in norm differ by what is random within a shell."""
    return math.sqrt(((losses[::2] - losses[1::2]) ** 2).mean() / 2 / len(losses))


#: Squared error of normal weights, by an independent implementation on 400 000 vectors.
MEASURED = [
    (2, 0.8, None, 0.11634),
    (2, 0.9, None, 0.09892),
    (2, 0.95, None, 0.09422),
    (2, 1.0, None, 0.09177),
    (2, 1.03, None, 0.09128),
    (2, 1.06, None, 0.09144),
    (2, 1.1, None, 0.09261),
    (2, 1.2, None, 0.09962),
    (3, 0.98, 2.04, 0.02945),
    (3, 0.98, 2.2, 0.02974),
    (3, 0.9, 2.04, 0.03087),
    (3, 1.03, 2.04, 0.02984),
    (4, 1.03, 3.45, 0.00958),
    (4, 0.95, 3.7, 0.00853),
    (4, 0.9, 3.8, 0.00837),
    (4, 0.85, 3.8, 0.00855),
    (4, 0.8, 4.2, 0.00906),
]


@pytest.mark.parametrize(("bits", "scale", "residual_scale", "expected"), MEASURED)
def test_the_squared_error_on_normal_weights(bits, scale, residual_scale, expected):
    """Both numbers are means over draws, theirs over 400 000 vectors without shells."""
    losses = _losses(bits, scale, residual_scale)
    theirs = losses.std() / math.sqrt(400_000)
    tolerance = STANDARD_ERRORS * math.hypot(theirs, _standard_error(losses)) + 5e-6  # the last digit given
    assert abs(losses.mean() - expected) <= tolerance
    assert tolerance < (0.009 if bits < 4 else 0.016) * expected


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_the_scales_kept_are_the_best(bits):
    """On one draw, 3 % of either scale to either side is not better by more than the draw can make it."""
    scale, residual_scale = INPUT_SCALES[bits], RESIDUAL_SCALES.get(bits)
    best = _losses(bits, scale, residual_scale)
    around = [(scale * f, residual_scale) for f in (0.97, 1.03)]
    if residual_scale is not None:
        around += [(scale, residual_scale * f) for f in (0.97, 1.03)]
    for other in around:
        difference = _losses(bits, *other) - best
        assert difference.mean() > -STANDARD_ERRORS * _standard_error(difference)
    digit = 1e-5 if bits == 4 else 1e-4
    assert abs(best.mean() - INPUT_ERRORS[bits]) <= STANDARD_ERRORS * _standard_error(best) + digit / 2


def test_wrong_input_is_refused():
    x = np.zeros((2, 8))
    with pytest.raises(ShapeMismatch):
        e8_short_nearest(np.zeros((2, 7)))
    with pytest.raises(UnsupportedDtype, match="float16"):
        e8_short_nearest(np.zeros((2, 8), dtype=np.float16))
    with pytest.raises(BackendUnavailable):
        e8_short_nearest(x, backend="cuda")
    with pytest.raises(UsageError, match="5 bits"):
        rvq_nearest(x, 5)
    with pytest.raises(UsageError, match="residual scale"):
        rvq_nearest(x, 3, -1.0)
    codes, _ = rvq_nearest(x, 3)
    with pytest.raises(ShapeMismatch, match="expected 1"):
        rvq_decode(codes, 2)
    with pytest.raises(ShapeMismatch, match="expected 2"):
        rvq_decode((codes[0], codes[1][:1]), 4)
