from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from tolerances import rounding

from rdtools.errors import NotFiniteInput, NotPositiveSemidefinite, NotSymmetric, ShapeMismatch, UnsupportedDtype
from rdtools.linalg import (
    DAMPING_LADDER,
    as_float64,
    check_moment,
    check_weight,
    cholesky,
    clip_eigenvalues,
    log2_am_over_gm,
)
from rdtools.quantizers.problem import cross_target
from rdtools.testing import layers, second_moments, spectra


def test_nan_is_refused_with_count_and_place():
    with pytest.raises(NotFiniteInput, match=r"layer 3: 2 of 4 entries are NaN or infinite, the first at \(0, 1\)"):
        as_float64(np.array([[1.0, np.nan], [np.inf, 1.0]]), name="layer 3")


@pytest.mark.parametrize("dtype", [np.int32, np.complex128, np.bool_])
def test_numbers_that_are_not_real_floats_are_refused(dtype):
    with pytest.raises(UnsupportedDtype, match="expected real floating point"):
        as_float64(np.ones(3, dtype=dtype), name="w")


@pytest.mark.parametrize("given", ["x", None, {"a": 1}, [None, 1.0]])
def test_what_is_no_array_is_named(given):
    with pytest.raises(UnsupportedDtype, match=re.escape(f"w: got {given!r}, a {type(given).__name__}; expected an array or tensor")):
        as_float64(given, name="w")


def test_half_precision_tensors_are_widened():
    tensor = torch.tensor([[1.5, -2.0]], dtype=torch.bfloat16)
    assert as_float64(tensor, name="w").tolist() == [[1.5, -2.0]]
    with pytest.raises(UnsupportedDtype):
        as_float64(torch.ones(2, dtype=torch.int8), name="w")


def test_small_asymmetry_is_averaged_and_large_refused():
    H = np.array([[2.0, 1.0 + 1e-7], [1.0, 2.0]])
    assert check_moment(H)[0, 1] == check_moment(H)[1, 0] == pytest.approx(1.0 + 5e-8, rel=1e-12)
    with pytest.raises(NotSymmetric, match=r"entries \(0, 1\) and \(1, 0\)"):
        check_moment(np.array([[2.0, 1.0], [0.0, 2.0]]))


def test_negative_diagonal_and_wrong_shapes_are_refused():
    with pytest.raises(NotPositiveSemidefinite, match="diagonal entry 1"):
        check_moment(np.diag([1.0, -1.0]))
    with pytest.raises(ShapeMismatch):
        check_moment(np.ones((2, 3)))
    with pytest.raises(ShapeMismatch, match="looks transposed"):
        check_weight(np.ones((4, 3)), columns=4)


def test_rounding_below_zero_is_clipped_and_more_refused():
    assert clip_eigenvalues(np.array([-1e-9, 1.0])).tolist() == [1.0, 0.0]
    with pytest.raises(NotPositiveSemidefinite, match="smallest eigenvalue"):
        clip_eigenvalues(np.array([-1e-3, 1.0]))


@given(second_moments(max_condition=1e8))
def test_factor_multiplies_back_without_damping(H):
    factor = cholesky(H)
    assert factor.damping == 0
    np.testing.assert_allclose(factor.lower @ factor.lower.T, H, rtol=0, atol=rounding(len(H) + 1) * np.abs(H).max())


def test_columns_of_very_different_energy_are_not_singular():
    assert cholesky(np.diag([1.0, 1e-40, 1e40])).damping == 0


def test_singular_matrix_gets_the_first_damping_that_factors_and_says_so(rng):
    X = rng.standard_normal((5, 8))
    assert cholesky(X.T @ X).damping == DAMPING_LADDER[0]
    with pytest.raises(NotPositiveSemidefinite, match=r"singular with damping 0 .* damping 0\.0001 works"):
        cholesky(X.T @ X, damping=0.0)
    asked = cholesky(X.T @ X, damping=0.01)
    expected = X.T @ X + 0.01 * np.trace(X.T @ X) / 8 * np.eye(8)
    np.testing.assert_allclose(asked.lower @ asked.lower.T, expected, rtol=1e-12, atol=1e-12)


def test_an_indefinite_matrix_is_not_damped_away(rng):
    Q = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    H = (Q * [1, 1, 1, 1, 1, -0.02]) @ Q.T
    with pytest.raises(NotPositiveSemidefinite, match="well below zero"):
        cholesky(0.5 * (H + H.T))


def test_off_diagonal_entries_are_bounded_by_the_diagonal():
    for H in ([[0.0, 1.0], [1.0, 4.0]], [[1.0, 2.0], [2.0, 1.0]]):
        with pytest.raises(NotPositiveSemidefinite, match=r"entry \(0, 1\).*root of their product"):
            check_moment(np.array(H))
    assert check_moment(np.ones((3, 3))).shape == (3, 3)


def _check_in_one_go(matrix):
    """`check_moment` as a formula of whole matrices; what it returns, or the start of its message."""
    H = np.asarray(matrix, dtype=np.float64)
    if not np.isfinite(H).all():
        i, j = np.argwhere(~np.isfinite(H))[0]
        return f"{(~np.isfinite(H)).sum()} of {H.size} entries are NaN or infinite, the first at ({i}, {j})"
    difference = np.abs(H - H.T)
    if difference.max() > 1e-6 * np.abs(H).max():
        i, j = np.unravel_index(difference.argmax(), H.shape)
        return f"entries ({i}, {j}) and ({j}, {i}) differ by {difference.max() / np.abs(H).max():.1e}"
    H = 0.5 * (H + H.T)
    d = np.diagonal(H)
    if d.min() < 0:
        return f"diagonal entry {d.argmin()} is {d.min():.3g}"
    excess = np.abs(H) - (1 + 1e-6) * np.sqrt(d)[:, None] * np.sqrt(d)
    if excess.max() > 0:
        i, j = np.unravel_index(excess.argmax(), H.shape)
        return f"entry ({i}, {j}) is {H[i, j]:.3g} beside diagonal entries {d[i]:.3g} and {d[j]:.3g}"
    return H


@pytest.mark.parametrize("n", [1, 2, 15, 300])
@pytest.mark.parametrize("kind", ["sound", "nearly symmetric", "asymmetric", "triangle", "infinite", "negative", "beyond", "ties"])
def test_panels_give_the_verdict_and_the_message_of_the_whole(n, kind, rng):
    for _ in range(10):
        X = rng.standard_normal((n + 2, n))
        H = X.T @ X
        H = 0.5 * (H + H.T)
        i, j = rng.integers(n, size=2)
        if kind == "nearly symmetric":
            H += 1e-8 * rng.standard_normal((n, n))
        elif kind == "asymmetric":
            H[i, j] += 1.0
        elif kind == "triangle":
            H = np.tril(H)
        elif kind == "infinite":
            H[i, j] = -np.inf
        elif kind == "negative":
            H[i, i] *= -1
        elif kind == "beyond":
            H[i, j] = H[j, i] = 10 * H.max()
        elif kind == "ties":
            H = rng.integers(-1, 2, (n, n)).astype(float)
        expected = _check_in_one_go(H)
        if isinstance(expected, str):
            with pytest.raises((NotFiniteInput, NotSymmetric, NotPositiveSemidefinite)) as refused:
                check_moment(H, name="x")
            assert str(refused.value).startswith(f"x: {expected}")
        else:
            assert (check_moment(H) == expected).all()


def test_a_check_needs_little_memory_and_shares_what_is_sound(rng):
    import tracemalloc

    n = 2048
    H = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    H = 0.5**H
    tracemalloc.start()
    checked = check_moment(H)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert checked is H
    assert peak <= 0.1 * H.nbytes


@given(spectra(max_condition=1e12))
def test_am_over_gm_is_at_least_one_and_scale_free(values):
    ratio = log2_am_over_gm(values)
    assert ratio >= 0
    assert log2_am_over_gm(values * 2.0**40) == pytest.approx(ratio, abs=rounding(len(values)) * 60)
    direct = math.log2(values.mean()) - np.log2(values).mean()
    assert ratio == pytest.approx(direct, abs=rounding(len(values)) * 60)


def test_am_over_gm_limits():
    assert log2_am_over_gm(np.full(7, 3.0)) == 0
    assert log2_am_over_gm(np.array([1.0, 0.0])) == math.inf
    assert log2_am_over_gm(np.array([1e300, 1e-300])) == pytest.approx(math.log2(1e300) - 1, rel=1e-12)
    assert log2_am_over_gm(np.zeros(3)) == log2_am_over_gm(np.zeros(0)) == 0


@given(layers(max_condition=1e4))
def test_cross_target_minimises_the_error_of_the_other_input(layer):
    """With the layer's own moment it is W; else ``T L = C L⁻ᵀ``, and the gradient ``T Σ − C`` is zero."""
    H = layer.hessian.matrix
    L = cholesky(H).lower
    W = layer.weight
    m, n = W.shape
    scale = np.abs(W).max() * np.abs(H).max() * n
    np.testing.assert_allclose(cross_target(W @ (L @ L.T), L), W, rtol=0, atol=rounding(n, condition=1e4) * np.abs(W).max() * n)
    C = W @ (H + np.random.default_rng(m * n).standard_normal((n, n)) * np.abs(H).max())
    T = cross_target(C, L)
    np.testing.assert_allclose(T @ (L @ L.T), C, rtol=0, atol=rounding(n, condition=1e4) * (scale + np.abs(C).max() * n))
