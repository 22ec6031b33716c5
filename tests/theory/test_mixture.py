from __future__ import annotations

import numpy as np
import pytest
import scipy.integrate
from hypothesis import given
from hypothesis import strategies as st
from tolerances import entropy_band

from rdtools.coding import count_integers, mean_column_entropy, pooled_entropy
from rdtools.linalg import log2_am_over_gm
from rdtools.theory.mixture import mixture_loss_bits

#: Stated error of the integral.
INTEGRAL = 1e-8
stds = st.lists(st.floats(1e-4, 1e4), min_size=1, max_size=12).map(np.array)


def test_equal_columns_lose_nothing():
    assert mixture_loss_bits(np.full(7, 0.3)) == pytest.approx(0, abs=INTEGRAL)
    assert mixture_loss_bits(np.array([5.0])) == pytest.approx(0, abs=INTEGRAL)


@given(stds)
def test_between_zero_and_the_gap_and_the_entropy_of_the_label(s):
    """0 ≤ I ≤ ½ log2(AM/GM), because a normal has most entropy; I ≤ log2 n, because it is the information about which column."""
    loss = mixture_loss_bits(s)
    assert 0 <= loss <= 0.5 * log2_am_over_gm(s**2) + INTEGRAL
    assert loss <= np.log2(len(s)) + INTEGRAL


@given(stds, st.floats(1e-3, 1e3))
def test_scale_order_and_repetition_do_not_matter(s, scale):
    loss = mixture_loss_bits(s)
    assert mixture_loss_bits(np.tile(scale * s[::-1], 3)) == pytest.approx(loss, abs=2 * INTEGRAL)


def test_columns_far_apart_are_told_apart():
    """Two scales ten decades apart: the code itself says which, so that sharing costs one bit."""
    assert mixture_loss_bits(np.array([1.0, 1e-10])) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("s", [[1.0, 0.2, 0.05, 3.0], [1.0, 1.1], [2.0, 0.001]])
def test_by_adaptive_quadrature(s):
    s = np.array(s)

    def term(x):
        f = float(np.mean(np.exp(-0.5 * (x / s) ** 2) / (s * np.sqrt(2 * np.pi))))
        return -f * np.log2(f) if f > 0 else 0.0

    edges = [0.0, *np.sort(s), *(8 * np.sort(s)), 40 * s.max()]
    entropy = 2 * sum(
        scipy.integrate.quad(term, a, b, limit=500, epsabs=1e-11)[0] for a, b in zip(sorted(edges), sorted(edges)[1:], strict=False)
    )
    expected = entropy - np.mean(0.5 * np.log2(2 * np.pi * np.e * s**2))
    assert mixture_loss_bits(s) == pytest.approx(expected, abs=INTEGRAL + 1e-9 * len(edges))


def test_pooled_minus_column_entropy_of_fine_codes():
    """Second route: quantize columns of those deviations finely and take the entropies."""
    rng = np.random.default_rng(0)
    s = np.exp(0.5 * rng.standard_normal(24))
    integers = np.rint(rng.standard_normal((40_000, 24)) * s / (0.2 * s.min())).astype(np.int32)
    counts = count_integers(integers)
    # a step of a fifth of the narrowest deviation smooths it by 0.2²/12 of its variance: ½ log2(e)·0.0033 at most
    measured = pooled_entropy(counts) - mean_column_entropy(counts)
    assert measured == pytest.approx(mixture_loss_bits(s), abs=2 * entropy_band(integers.size) + 0.5 * np.log2(np.e) * 0.2**2 / 12)


@pytest.mark.parametrize("bad", [[], [0.0, 1.0], [np.nan], [np.inf]])
def test_bad_deviations_are_refused(bad):
    with pytest.raises(ValueError, match="mixture"):
        mixture_loss_bits(np.array(bad))
