from __future__ import annotations

import numpy as np
import pytest
from tolerances import rounding

from rdtools import ops
from rdtools.errors import ShapeMismatch, UnsupportedDtype


@pytest.mark.parametrize("n", [1, 7, 64, 65, 230])
@pytest.mark.parametrize("sample_gains", [True, False])
def test_numba_agrees_with_the_reference(n, sample_gains):
    """Over panels, at steps from the closed form to those that leave only the zero cell, with a start as of a ridge."""
    rng = np.random.default_rng(n)
    factor = np.linalg.cholesky(np.eye(n) + 0.3)
    steps, gains = np.exp2(rng.uniform(-4, 5.5, n)), np.full(n, np.nan) if sample_gains else rng.uniform(0.5, 1.2, n)
    root = rng.standard_normal((n, n)) / n
    start = root @ root.T - 0.1 * np.eye(n)
    expected = ops.cancellation_moments(factor, steps, gains, start, 2.0, backend="reference")
    moments = ops.cancellation_moments(factor, steps, gains, np.tril(np.asfortranarray(start)), 2.0, backend="numba")
    for name, actual, value in zip(("v", "bits", "gains", "g", "p"), moments, expected, strict=True):
        # tails at a boundary b are good to b² eps, and the last one that is summed is 9 steps beyond
        np.testing.assert_allclose(
            actual, value, rtol=rounding(n + 100, condition=float(np.linalg.cond(factor)) ** 2), atol=1e-300, err_msg=name
        )


def test_wrong_input_is_refused():
    one = np.ones(1)
    with pytest.raises(ShapeMismatch, match=r"gains \(2,\)"):
        ops.cancellation_moments(np.eye(1), one, np.ones(2), np.eye(1), 1.0)
    with pytest.raises(UnsupportedDtype, match="float32"):
        ops.cancellation_moments(np.eye(1), one.astype(np.float32), one, np.eye(1), 1.0)
