from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rdtools.kernels import gaussian_numba, gaussian_reference
from scipy import stats
from tolerances import EPS, STANDARD_ERRORS

from rdtools.errors import BackendUnavailable, UsageError
from rdtools.ops.gaussian import portable_normal

SEEDS = st.integers(0, 2**64 - 1)
STREAMS = st.integers(0, 2**32 - 1)
N = 1_000_000


@pytest.fixture(scope="module")
def sample():
    return portable_normal(20, 0, N)


@pytest.mark.parametrize("backend", ["numba", "reference"])
@pytest.mark.parametrize(
    ("seed", "words"),
    [
        (0, ["0x1.df6ee648b451ep-1", "0x1.09cd4bc352044p-2", "-0x1.b2dc6189cd492p-4", "-0x1.6cea0c349066fp-2"]),
        (1, ["0x1.2c2afef5767dbp-1", "0x1.4159856d3febap-2", "0x1.b0dc06bb20cb5p-1", "0x1.693b938b1efb8p-2"]),
        (2**64 - 1, ["-0x1.4d6e4619a8daep-5", "-0x1.b4111bbf91a61p+0", "-0x1.76b4999f14accp+0", "0x1.c6a60afe7c4b1p-1"]),
    ],
)
def test_numbers_are_the_same_for_ever(seed, words, backend):
    """A stored rotation is made of them: changing a bit is a breaking change of the container."""
    assert [float(z).hex() for z in portable_normal(seed, 0, 4, backend=backend)] == words


@given(SEEDS, STREAMS, st.one_of(st.integers(0, 2**64 - 300), st.integers(2**33 - 200, 2**33)), st.integers(0, 257))
def test_numba_draws_the_same_bits(seed, stream, first, count):
    slow = gaussian_reference.portable_normal(seed, stream, first, count)
    fast = gaussian_numba.portable_normal(seed, stream, first, count)
    assert slow.shape == fast.shape == (count,)
    assert (slow.view(np.uint64) == fast.view(np.uint64)).all()


@given(SEEDS, STREAMS, st.integers(0, 2**63), st.integers(0, 60), st.integers(0, 60))
def test_a_number_does_not_depend_on_how_a_range_is_cut(seed, stream, first, left, right):
    whole = portable_normal(seed, first, left + right, stream=stream)
    parts = portable_normal(seed, first, left, stream=stream), portable_normal(seed, first + left, right, stream=stream)
    assert (whole == np.concatenate(parts)).all()


def test_logarithm_is_good_to_a_few_units_in_the_last_place():
    """Against the library's, from the least s that two uniform numbers can have to the largest below one; 3 eps each."""
    rng = np.random.default_rng(0)
    ends = np.array(
        [2.0**-105, 0.5, np.nextafter(0.5, 0), gaussian_reference.SQRT_HALF, np.nextafter(gaussian_reference.SQRT_HALF, 0), 1 - EPS / 2]
    )
    s = np.concatenate([2.0 ** -rng.uniform(0, 105, 20_000), 1 - 2.0 ** -rng.uniform(1, 53, 20_000), rng.random(20_000), ends])
    s = s[s < 1]
    assert s.max() == 1 - EPS / 2
    exact = -np.log(s)
    assert (np.abs(gaussian_reference.minus_log(s) - exact) <= 6 * EPS * exact).all()


def test_uniform_numbers_fill_the_open_interval():
    """Odd multiples of 2^-53: the ends are missed by one such step, zero too, and u and −u come from complementary words."""
    all_ones = np.array([0, 0xFFFFFFFF, 0, 0xFFFFFFFF], dtype=np.uint64)
    high = np.array([0, 0xFFFFFFFF, 0x80000000, 0x7FFFFFFF], dtype=np.uint64)
    u = gaussian_reference.symmetric_uniform(all_ones, high)
    assert u.tolist() == [-1 + 2.0**-53, 1 - 2.0**-53, 2.0**-53, -(2.0**-53)]


def test_moments(sample):
    """E z^k = 0, 1, 0, 3, 0, 15, each within four standard errors."""
    for k, expected in ((1, 0), (2, 1), (3, 0), (4, 3), (5, 0), (6, 15)):
        variance = math.prod(range(1, 2 * k, 2)) - expected**2
        assert abs((sample**k).mean() - expected) <= STANDARD_ERRORS * math.sqrt(variance / N)


@pytest.mark.parametrize("part", ["all", "first of a pair", "second of a pair", "radius", "angle"])
def test_distribution(sample, part):
    """Kolmogorov–Smirnov at level 1e-4 each; radius and angle of a pair: exponential and uniform."""
    u, v = sample[::2], sample[1::2]
    values, law = {
        "all": (sample, "norm"),
        "first of a pair": (u, "norm"),
        "second of a pair": (v, "norm"),
        "radius": ((u * u + v * v) / 2, "expon"),
        "angle": (np.arctan2(v, u) / (2 * np.pi) + 0.5, "uniform"),
    }[part]
    assert stats.kstest(values, law).pvalue > 1e-4


def test_tails(sample):
    """Counts beyond 2, 3 and 4 standard deviations on either side, within four standard errors of a binomial."""
    for k in (2, 3, 4):
        share = stats.norm.sf(k)
        for count in (sample > k).sum(), (sample < -k).sum():
            assert abs(count - N * share) <= STANDARD_ERRORS * math.sqrt(N * share)
    assert np.abs(sample).max() < 12.1


def test_neighbours_streams_and_seeds_are_independent(sample):
    """No correlation of numbers or of their squares at lags 1 to 4, with the next stream, with a seed that differs in one bit."""
    others = [sample[lag:] for lag in (1, 2, 3, 4)]
    others += [portable_normal(20, 0, N, stream=1), portable_normal(21, 0, N), portable_normal(20 + 2**32, 0, N)]
    for other in others:
        x, y = sample[: len(other)], other
        assert abs(np.corrcoef(x, y)[0, 1]) < STANDARD_ERRORS / len(y) ** 0.5
        assert abs(np.corrcoef(x * x, y * y)[0, 1]) < STANDARD_ERRORS / len(y) ** 0.5


@pytest.mark.parametrize(
    ("arguments", "stream", "name"),
    [
        ((-1, 0, 1), 0, "seed"),
        ((2**64, 0, 1), 0, "seed"),
        ((0, -1, 1), 0, "first"),
        ((0, 2**64 - 1, 2), 0, "count"),
        ((0, 0, 1), 2**32, "stream"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, stream, name):
    with pytest.raises(UsageError, match=f"portable_normal: {name} .*expected an integer from 0"):
        portable_normal(*arguments, stream=stream)


def test_unknown_backend():
    with pytest.raises(BackendUnavailable):
        portable_normal(0, 0, 1, backend="triton")
