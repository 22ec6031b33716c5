from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerances import rounding

from rdtools.theory.matmul import matmul_critical_rate_bits, matmul_distortion


def test_critical_rate():
    """R* solves R = ½ log2(1 + 4 R ln 2); printed as 0.906."""
    critical = matmul_critical_rate_bits()
    assert critical == pytest.approx(0.5 * math.log2(1 + 4 * critical * math.log(2)), abs=rounding(20))
    assert round(critical, 3) == 0.906


def test_the_line_is_tangent_to_the_curve():
    """At R* value and slope agree: −4 ln 2 (x − x²) = −(1 − Γ)/R* with x = 2^{−2R*}."""
    critical = matmul_critical_rate_bits()
    x = 2.0 ** (-2 * critical)
    assert 4 * math.log(2) * (x - x * x) == pytest.approx((1 - float(matmul_distortion(critical))) / critical, rel=rounding(50))
    assert float(matmul_distortion(critical * (1 - 1e-12))) == pytest.approx(float(matmul_distortion(critical)), abs=1e-11)


@given(st.floats(0, 20), st.floats(0, 20))
def test_falls_and_is_convex_and_above_the_single_matrix_limit(a, b):
    ends, middle = matmul_distortion([a, b]), float(matmul_distortion((a + b) / 2))
    assert middle <= ends.mean() + rounding(10)
    assert (ends[0] - ends[1]) * (b - a) >= -rounding(10)
    assert (ends >= np.exp2(-2 * np.array([a, b])) * (1 - rounding(10))).all()


def test_limits():
    assert float(matmul_distortion(0.0)) == 1
    assert float(matmul_distortion(math.inf)) == 0
    assert float(matmul_distortion(30.0)) == pytest.approx(2 * 2.0**-60, rel=1e-15)
    for bad in (-1.0, math.nan):
        with pytest.raises(ValueError, match="matmul limit"):
            matmul_distortion(bad)
