from __future__ import annotations

import numpy as np
import pytest
from rdtools.kernels import e8p_numba, e8p_reference

from rdtools import ops
from rdtools.errors import BackendUnavailable, ShapeMismatch, UnsupportedDtype


def _squares(x, words):
    return ((x.astype(np.longdouble) - words) ** 2).sum(axis=1)


def test_the_codebook_is_that_of_the_paper():
    """2^16 different words of mean zero, norm² ½ to 16½, on Ê8 + ¼: D̂8 − ¼ and D̂8 + ¼, halves with an even sum."""
    W = e8p_reference.e8p_codewords()
    assert W.shape == (2**16, 8)
    assert len(np.unique(W, axis=0)) == 2**16
    assert (W.sum(axis=0) == 0).all()
    norms = (W * W).sum(axis=1)
    assert (norms.min(), norms.max()) == (0.5, 16.5)
    assert round(norms.mean(), 2) == 9.57
    shift = np.where(((W - 0.25) % 1 == 0.5).all(axis=1), 0.25, -0.25)
    lattice = W - shift[:, None]
    assert (lattice % 1 == 0.5).all()
    assert (lattice.sum(axis=1) % 2 == 0).all()
    S = e8p_reference.entries()
    assert dict(zip(*np.unique((S * S).sum(axis=1), return_counts=True), strict=True)) == {2: 1, 4: 8, 6: 28, 8: 64, 10: 126, 12: 29}
    assert len(np.unique(S, axis=0)) == 256
    assert (S.sum(axis=1) % 2 == 1).sum() == 149


@pytest.mark.parametrize("scale", [0.1, 0.6, 1.03, 1.6, 5.0])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_structure_finds_what_looking_at_all_words_finds(scale, dtype, monkeypatch):
    """The same word, or one as near to rounding of the sums of both in float64."""
    x = (np.random.default_rng(0).standard_normal((1200, 8)) * scale).astype(dtype)
    ops.e8p_nearest(x[:1])
    real = np.empty
    slow_codes, slow = ops.e8p_nearest(x, backend="reference")

    def poisoned(*args, **kwargs):
        array = real(*args, **kwargs)
        array.fill(np.nan if array.dtype.kind == "f" else 65535)
        return array

    monkeypatch.setattr(np, "empty", poisoned)
    codes, words = ops.e8p_nearest(x, backend="numba")
    assert (codes.dtype, words.dtype) == (np.uint16, dtype)
    assert (ops.e8p_words(codes) == words).all()
    other = codes != slow_codes
    floor = 64 * 2.0**-52 * (np.abs(x).max() + 3) ** 2
    assert (np.abs(_squares(x[other], words[other]) - _squares(x[other], slow[other])) <= floor).all()
    assert other.mean() < 0.001


def test_the_padding_is_found_and_every_word_is_its_own():
    """Vectors near each word give it back, the 29 entries of norm² 12 with all their signs among them."""
    W = e8p_reference.e8p_codewords()
    codes, words = ops.e8p_nearest(W)
    assert (codes == np.arange(2**16)).all()
    assert (words == W).all()
    rng = np.random.default_rng(0)
    near = W + rng.uniform(-0.12, 0.12, W.shape)  # less than half of the least distance 1/√2 between words, 8 · 0.12² < 1/8
    assert (ops.e8p_nearest(near)[0] == np.arange(2**16)).all()


def test_the_paddings_signs_are_flipped_where_it_costs_least():
    """Between the words of an entry of norm² 12: brute force on vectors that are all near such entries."""
    rng = np.random.default_rng(1)
    S = e8p_reference.entries()[-29:]
    x = np.repeat(S, 100, axis=0) * rng.choice([-1.0, 1.0], (2900, 8)) * 1.1 + rng.standard_normal((2900, 8)) * 0.4
    slow_codes, slow = ops.e8p_nearest(x, backend="reference")
    codes, words = ops.e8p_nearest(x, backend="numba")
    assert (slow_codes >> 8 >= 227).mean() > 0.2
    assert (np.abs(_squares(x, words) - _squares(x, slow)) <= 64 * 2.0**-52 * (np.abs(x).max() + 3) ** 2).all()
    assert (codes != slow_codes).mean() < 0.001


@pytest.mark.parametrize("k", [0, 1, 63, 137])
@pytest.mark.parametrize(("block", "threads"), [(2**13, 1), (10, 3)])
def test_neither_blocks_threads_nor_layout_change_a_code(k, block, threads, monkeypatch):
    x = np.random.default_rng(k).standard_normal((k, 8))
    expected = ops.e8p_nearest(x, backend="reference")[0]
    monkeypatch.setattr(e8p_numba, "BLOCK", block)
    monkeypatch.setattr(e8p_numba, "thread_count", lambda: threads)
    x.flags.writeable = False
    for same in (x, np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2]):
        assert (ops.e8p_nearest(same, backend="numba")[0] == expected).all()


def test_wrong_input_is_refused():
    with pytest.raises(ShapeMismatch):
        ops.e8p_nearest(np.zeros((2, 7)))
    with pytest.raises(UnsupportedDtype, match="float16"):
        ops.e8p_nearest(np.zeros((2, 8), dtype=np.float16))
    with pytest.raises(BackendUnavailable):
        ops.e8p_nearest(np.zeros((2, 8)), backend="cuda")
