"""The table of the trellis channel: a fresh simulation agrees, and no entry is below the rate–distortion function."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import STANDARD_ERRORS

from rdtools.errors import TheoryError
from rdtools.ops import COSET_STATES, coset_trellis_sweep
from rdtools.rounded import rounded_gaussian
from rdtools.theory.finite_rate import sic_at_finite_rate
from rdtools.theory.trellis_channel import granular_gain_db, simulated, trellis_channel

integers = pytest.mark.parametrize("states", COSET_STATES)


@integers
def test_no_entry_is_below_the_rate_distortion_function(states):
    """``bits ≥ ½ log2 1/D`` with D after the best gain, to four standard errors of each number."""
    for _, octave, _, *values in simulated(states).tolist():
        scalar = rounded_gaussian(2.0**octave)
        bits, correlation, distortion = scalar.entropy_bits + values[0], scalar.correlation + values[1], scalar.distortion + values[2]
        power = 2 * correlation - 1 + distortion
        if power <= 1e-9:
            continue
        least = 1 - correlation**2 / power
        # of least: −2 c/p dc + c²/p² dp with dp = 2 dc + dD
        doubt = abs(2 * correlation / power * (1 - correlation / power)) * values[4] + (correlation / power) ** 2 * values[5]
        assert bits - 0.5 * np.log2(1 / least) >= -STANDARD_ERRORS * (values[3] + 0.5 * np.log2(np.e) * doubt / least)


@integers
def test_the_table_is_precise(states):
    """4 million samples at each step; distortion to 0.3 % of r²/12 up to two standard deviations, rate to 0.002 bit everywhere."""
    rows = simulated(states)
    assert (rows[:, 2] >= 2**22).all()
    fine = rows[:, 1] <= 1
    assert (rows[fine, 8] <= 0.003 * 4.0 ** rows[fine, 1] / 12).all()
    assert (rows[:, 6] <= 0.002).all()


def test_granular_gains_rise_with_the_states_and_stay_below_the_bound():
    gains = [granular_gain_db(states) for states in COSET_STATES]
    assert gains == sorted(gains)
    assert gains[-1] < 10 * np.log10(2 * np.pi * np.e / 12)
    assert gains[COSET_STATES.index(8)] == pytest.approx(1.09, abs=0.02)
    assert gains[COSET_STATES.index(256)] == pytest.approx(1.33, abs=0.02)


@pytest.mark.parametrize("step", [0.3, 1.1, 2.6])
def test_a_column_of_the_recursion_is_a_fresh_simulation(step):
    """2¹⁷ samples of another seed, at steps between those of the table: rate and distortion at the sample's own variance."""
    x = np.random.default_rng(5).standard_normal((2**17, 1))
    x /= np.sqrt(np.mean(x**2))
    _, residual = coset_trellis_sweep(x, np.ones((1, 1)), np.full(1, step), 8, segment=len(x))
    errors = residual[:, 0] ** 2
    point = sic_at_finite_rate(np.ones((1, 1)), np.full(1, step), lmmse=False, channel=trellis_channel(8))
    # errors of neighbours in a walk are correlated over some constraint lengths of 4 rows
    band = STANDARD_ERRORS * np.sqrt(4) * errors.std() / np.sqrt(len(x))
    assert point.distortion == pytest.approx(errors.mean(), abs=band + 0.003 * step**2 / 12)


def test_without_a_channel_columns_are_scalar_and_far_ends_hold():
    for step in (1e-3, 1e3):
        scalar, shaped = (sic_at_finite_rate(np.ones((1, 1)), np.full(1, step), lmmse=False, channel=c) for c in (None, trellis_channel(8)))
        assert shaped.rate_bits == pytest.approx(scalar.rate_bits, abs=1e-3)
        gain = 10 * np.log10(scalar.distortion / shaped.distortion)
        assert gain == pytest.approx(granular_gain_db(8) if step < 1 else 0, abs=1e-6)


def test_a_code_that_the_table_lacks_is_named():
    with pytest.raises(TheoryError, match="7 states"):
        trellis_channel(7)
