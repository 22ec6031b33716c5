from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from tolerances import rounding

from rdtools.errors import ShapeMismatch
from rdtools.linalg import cholesky
from rdtools.measure import weighted_error
from rdtools.testing import layers


@given(layers(max_condition=1e4))
def test_trace_by_the_factor(layer):
    """tr(E H Eᵀ) = ‖E L‖²: a second route."""
    E = layer.weight
    L = cholesky(layer.hessian.matrix).lower
    expected = ((E @ L) ** 2).sum() / E.size
    actual = weighted_error(E, np.zeros_like(E), layer.hessian.matrix).mean
    assert actual == pytest.approx(expected, rel=rounding(E.shape[1] ** 2 + 10, condition=1e4))


def test_identity_hessian_is_mean_square_and_its_standard_error():
    rng = np.random.default_rng(0)
    E = rng.standard_normal((4000, 10))
    error = weighted_error(E, np.zeros_like(E), np.eye(10))
    assert error.mean == pytest.approx((E**2).mean(), rel=rounding(100))
    # variance of a mean of 10 squares is 2/10
    assert error.stderr == pytest.approx(np.sqrt(0.2 / 4000), rel=0.1)
    assert np.isnan(weighted_error(E[:1], E[:1], np.eye(10)).stderr)


def test_shapes_that_do_not_belong_together():
    with pytest.raises(ShapeMismatch, match=r"weight \(2, 3\), reconstruction \(2, 3\), Hessian \(2, 2\)"):
        weighted_error(np.ones((2, 3)), np.ones((2, 3)), np.eye(2))
