from __future__ import annotations

import numpy as np
import pytest
from tolerances import STANDARD_ERRORS, rounding

from rdtools.compare import result_row
from rdtools.compare.stored_grid import stored_grid_distortion
from rdtools.methods import format_method
from rdtools.moments.layer import Layer
from rdtools.moments.synthetic import haar_moment, power_law
from rdtools.quantizers import GPTQ, RTN, WaterfilledGPTQ
from rdtools.theory.sic import absmax_distortion


def test_by_hand():
    """Points −1, 0, 1, 2 of a scale of 1 and zero point −1; a column of one level; a row of zeros."""
    W = np.array([[0.25, 3.0], [-1.5, 2.0]])
    ones = np.ones((2, 2))
    found = stored_grid_distortion(W, ones, ones, np.array([4, 1]), np.array([2.0, 1.0]))
    # column 1: errors 0.25 and −0.5 with gain 2; column 2 is decoded as zero
    assert found == pytest.approx((2 * (0.25**2 + 0.5**2) / 2 + (9 + 4) / 2) / 2, rel=rounding(10))
    assert stored_grid_distortion(0 * W, 0 * ones, ones, np.array([4, 4]), np.array([2.0, 1.0])) == 0


def test_on_absmax_grids_it_is_the_closed_form():
    """Many levels: uniform errors, s²/12 each, within the band of 200,000 of them, and the edge of a row's largest weight."""
    W = np.random.default_rng(0).standard_normal((400, 512))
    largest = np.abs(W).max(axis=1)
    scales = np.repeat(2 * largest[:, None] / 64, 512, axis=1)
    levels, gains = np.full(512, 64), np.ones(512)
    expected = absmax_distortion(gains, largest, 64, feedback=False)
    # the square of a uniform error has √0.8 of its mean as deviation
    band = STANDARD_ERRORS * np.sqrt(0.8 / W.size)
    assert stored_grid_distortion(W, scales, np.full_like(W, 0.5), levels, gains) == pytest.approx(expected, rel=band)


@pytest.mark.parametrize(
    "quantizer",
    [
        RTN(rate_bits=4, grid="asymmetric"),
        RTN(rate_bits=3, range_rule="mse", grid="midrise"),
        GPTQ(rate_bits=4, group_size=16, grid="midrise"),
        GPTQ(rate_bits=4, grid="asymmetric"),
        WaterfilledGPTQ(rate_bits=4),
    ],
    ids=format_method,
)
def test_rows_of_methods_with_grids_of_their_own_carry_it(quantizer):
    """Exact without feedback; with it the targets are wider, which at 4 bits and this spectrum adds no more than a tenth."""
    rng = np.random.default_rng(1)
    layer = Layer.of(rng.standard_normal((512, 64)), haar_moment(power_law(64, 0.5), rng), name="x")
    row = result_row(layer, quantizer, quantizer.quantize(layer)).to_row()
    band = STANDARD_ERRORS * row["distortion_stderr"] / row["distortion"]
    slack = 0.02 if isinstance(quantizer, RTN) else 0.1
    assert 1 - band - 0.05 <= row["measured_over_pred_high_rate"] <= 1 + band + slack
