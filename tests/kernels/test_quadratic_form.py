from __future__ import annotations

import numpy as np
import pytest

from rdtools import ops
from rdtools.errors import ShapeMismatch, UnsupportedDtype


def _naive(E, H):
    """The definition."""
    return ((E @ H) * E).sum(axis=1)


@pytest.mark.parametrize(("m", "n"), [(0, 3), (3, 0), (1, 1), (63, 1), (1, 63), (100, 137), (5, 256), (7, 257), (3, 1003)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rows_are_within_twice_the_error_of_the_definition(m, n, dtype):
    rng = np.random.default_rng(m + n)
    X = rng.standard_normal((n // 2 + 1, n))
    H = (X.T @ X).astype(dtype)
    H = (H + H.T) / 2
    E = rng.standard_normal((m, n)).astype(dtype)
    wide = E.astype(np.longdouble), H.astype(np.longdouble)
    exact, scale = _naive(*wide), _naive(*map(np.abs, wide)).max(initial=0)
    rows = ops.quadratic_form(E, H)
    assert rows.dtype == np.float64
    budget = 2 * np.abs(_naive(E, H) - exact).max(initial=0) + 2 * np.finfo(dtype).eps * scale
    assert np.abs(rows - exact).max(initial=0) <= budget


def test_nothing_above_the_panels_on_the_diagonal_is_read(rng):
    n = 2 * ops.moments._FORM_PANEL + 5
    H = rng.standard_normal((n, n))
    H = H + H.T
    E = rng.standard_normal((4, n))
    expected = ops.quadratic_form(E, H)
    for start in range(0, n, ops.moments._FORM_PANEL):
        H[start : start + ops.moments._FORM_PANEL, start + ops.moments._FORM_PANEL :] = np.nan
    assert (ops.quadratic_form(E, H) == expected).all()


def test_wrong_input_is_refused():
    with pytest.raises(ShapeMismatch):
        ops.quadratic_form(np.zeros((2, 3)), np.zeros((2, 2)))
    with pytest.raises(UnsupportedDtype, match="moment of float64"):
        ops.quadratic_form(np.zeros((2, 3), dtype=np.float32), np.zeros((3, 3)))
