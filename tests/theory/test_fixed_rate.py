from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from tolerances import EPS, STANDARD_ERRORS, rounding

from rdtools.theory.fixed_rate import (
    best_uniform_grid,
    lloyd_max,
    uniform_grid,
)

PHI = scipy.stats.norm

# The notes this was planned from print .9958 for the step of four levels, which is .99569, as in Max's table.
BEST = {4: (0.118846, 0.9957, 1.494), 8: (0.037440, 0.5860, 2.051), 16: (0.011543, 0.3352, 2.514)}


@pytest.mark.parametrize("levels", BEST)
def test_printed_best_uniform_grids(levels):
    grid = best_uniform_grid(levels)
    assert (round(grid.distortion, 6), round(grid.step, 4), round(grid.half_range, 3)) == BEST[levels]


@pytest.mark.parametrize(("levels", "printed"), [(2, 2.930), (4, 0.214636), (8, 0.041934), (16, 0.011733)])
def test_printed_errors_at_the_half_range_of_quip(levels, printed):
    assert round(uniform_grid(levels, 2.4).distortion, 6 if levels > 2 else 3) == printed


@pytest.mark.parametrize(("levels", "printed"), [(2, 0.363380), (4, 0.117482), (8, 0.034548), (16, 0.009501)])
def test_printed_lloyd_max(levels, printed):
    assert round(lloyd_max(levels).distortion, 6) == printed


def test_two_and_three_levels_by_hand():
    """±ρ: 1 + ρ² − 2ρ√(2/π). At best ρ = √(2/π), where the error is 1 − 2/π, and so it is for Lloyd and Max."""
    assert uniform_grid(2, 0.3).distortion == pytest.approx(1.09 - 0.6 * math.sqrt(2 / math.pi), rel=rounding(50))
    for quantizer in (best_uniform_grid(2), lloyd_max(2)):
        assert quantizer.distortion == pytest.approx(1 - 2 / math.pi, rel=rounding(50))
    assert lloyd_max(2).levels.tolist() == pytest.approx([-math.sqrt(2 / math.pi), math.sqrt(2 / math.pi)], rel=rounding(50))
    # three equally spaced levels about zero are all there is
    assert lloyd_max(3).distortion == pytest.approx(best_uniform_grid(3).distortion, rel=rounding(50))
    one = lloyd_max(1)
    assert (one.levels.tolist(), one.boundaries.tolist(), one.distortion) == ([0.0], [], 1.0)


@pytest.mark.parametrize(("levels", "half_range"), [(2, 2.4), (3, 1.0), (5, 8.0), (16, 2.4), (64, 0.2)])
def test_grid_error_by_adaptive_quadrature(levels, half_range):
    """Second route: (x − nearest level)² integrated over cells, split at ρ + step/2."""
    grid = uniform_grid(levels, half_range)
    q = np.linspace(-half_range, half_range, levels)
    outer = half_range + grid.step / 2
    edges = np.concatenate([[-outer], 0.5 * (q[1:] + q[:-1]), [outer]])
    inside = sum(
        scipy.integrate.quad(lambda x, c=c: (x - c) ** 2 * PHI.pdf(x), a, b, epsabs=1e-14)[0]
        for a, b, c in zip(edges, edges[1:], q, strict=False)
    )
    beyond = 2 * scipy.integrate.quad(lambda x: (x - half_range) ** 2 * PHI.pdf(x), outer, outer + 40, epsabs=1e-14, limit=200)[0]
    assert grid.granular == pytest.approx(inside, abs=levels * 1e-14 + 1e-12 * inside)
    assert grid.overload == pytest.approx(beyond, abs=1e-13)


def test_grid_error_of_drawn_weights(rng):
    x = rng.standard_normal(400_000)
    grid = uniform_grid(8, 1.7)
    integers = np.clip(np.rint((x + 1.7) / grid.step), 0, 7)
    errors = (x - (integers * grid.step - 1.7)) ** 2
    outside = np.abs(x) > 1.7 + grid.step / 2
    for part, expected in ((errors * ~outside, grid.granular), (errors * outside, grid.overload), (errors, grid.distortion)):
        assert part.mean() == pytest.approx(expected, abs=STANDARD_ERRORS * part.std() / math.sqrt(x.size))


@given(st.integers(2, 300), st.floats(1e-3, 1e3))
def test_grid_error_is_between_its_bounds(levels, half_range):
    """D ≥ Lloyd–Max ≥ K^−2, the rate–distortion function; granular ≤ step²/4."""
    grid = uniform_grid(levels, half_range)
    assert grid.granular >= 0
    assert grid.overload >= 0
    assert grid.granular <= grid.step**2 / 4 * (1 + rounding(100))
    best = lloyd_max(levels)
    assert grid.distortion >= best_uniform_grid(levels).distortion * (1 - rounding(100))
    assert grid.distortion >= best.distortion * (1 - rounding(100))
    assert best.distortion >= levels**-2.0


def test_grid_limits():
    assert uniform_grid(4, 1e-9).distortion == pytest.approx(1, abs=1e-8)
    assert uniform_grid(5, 1e3).distortion == pytest.approx(1, rel=rounding(100))
    assert uniform_grid(4, 1e3).distortion == pytest.approx((1e3 / 3) ** 2 + 1 - 2e3 / 3 * math.sqrt(2 / math.pi), rel=rounding(200))
    # without overload the error is that of rounding on an infinite grid, Δ²/12 up to exp(−2π²/Δ²)
    fine = uniform_grid(10_001, 12.0)
    assert fine.granular == pytest.approx(fine.step**2 / 12, rel=rounding(10_000))
    assert 0 <= fine.overload < 1e-30
    assert uniform_grid(2**16, 1e-16).distortion == pytest.approx(1, rel=rounding(100))


@pytest.mark.parametrize("levels", [2, 3, 4, 7, 64, 1000])
def test_best_half_range_by_minimization(levels):
    """Second route: bounded minimization of the error itself, whose argument is good to the root of its own rounding."""
    grid = best_uniform_grid(levels)
    found = scipy.optimize.minimize_scalar(
        lambda rho: uniform_grid(levels, rho).distortion, bounds=(0.3, 8), method="bounded", options={"xatol": 1e-10}
    )
    assert grid.distortion <= found.fun * (1 + rounding(100))
    assert grid.half_range == pytest.approx(found.x, rel=math.sqrt(rounding(levels)) * 4)


@pytest.mark.parametrize("levels", [4, 5, 32])
def test_lloyd_max_by_lloyds_iteration(levels):
    """Second route: means and middles in turn until they stand still."""
    q = PHI.ppf((np.arange(levels) + 0.5) / levels)
    for _ in range(20_000):
        edges = np.concatenate([[-np.inf], 0.5 * (q[1:] + q[:-1]), [np.inf]])
        before, q = q, -np.diff(PHI.pdf(edges)) / np.diff(PHI.cdf(edges))
        if np.abs(q - before).max() < 1e-15:
            break
    best = lloyd_max(levels)
    # a fixed-point iteration of rate 1 − O(1/K²) that moves by eps is within K² eps of its limit
    np.testing.assert_allclose(best.levels, q, rtol=0, atol=20 * levels**2 * EPS)
    # with levels that are the means of their cells E(x − x̂)² = 1 − E x̂²
    assert best.distortion == pytest.approx(1 - np.diff(PHI.cdf(edges)) @ q**2, abs=rounding(levels))


@given(st.integers(2, 600))
def test_lloyd_max_is_stationary_odd_and_ascending(levels):
    best = lloyd_max(levels)
    edges = np.concatenate([[-np.inf], best.boundaries, [np.inf]])
    upper = edges[:-1] >= 0  # where tail probabilities keep their digits
    mass = PHI.sf(edges[:-1][upper]) - PHI.sf(edges[1:][upper])
    mean = (PHI.pdf(edges[:-1][upper]) - PHI.pdf(edges[1:][upper])) / mass
    # differences of neighbouring densities lose the width of a cell in digits; cells are wider than 1/K
    np.testing.assert_allclose(best.levels[upper], mean, rtol=0, atol=1e-12 + rounding(10) * levels)
    assert (best.levels == -best.levels[::-1]).all()
    assert (np.diff(best.levels) > 0).all()


def test_losses_at_many_levels():
    """Lloyd–Max tends to Panter and Dite from below; equal steps lose ever more, for the range grows with the logarithm of K."""
    losses = [b + 0.5 * math.log2(lloyd_max(2**b).distortion) for b in range(13)]
    panter_dite = 0.5 * math.log2(math.sqrt(3) * math.pi / 2)
    assert (np.diff(losses) > 0).all()
    # relative deviation O(1/K)
    assert losses[-1] == pytest.approx(panter_dite, abs=4 / 2**12)
    assert losses[-1] < panter_dite
    uniform = [b + 0.5 * math.log2(best_uniform_grid(2**b).distortion) for b in range(1, 13)]
    assert (np.diff(uniform) > 0).all()
    assert uniform[-1] > 1.5


@pytest.mark.parametrize("call", [lambda: uniform_grid(1, 1.0), lambda: best_uniform_grid(1), lambda: lloyd_max(0), lambda: lloyd_max(2.5)])
def test_other_levels_are_refused(call):
    with pytest.raises(ValueError, match="levels, expected an integer"):
        call()


@pytest.mark.parametrize("bad", [0.0, -1.0, math.inf, math.nan])
def test_other_half_ranges_are_refused(bad):
    with pytest.raises(ValueError, match="half-range"):
        uniform_grid(4, bad)
