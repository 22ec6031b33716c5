from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from tolerances import rounding

from rdtools.hessians.spectrum import compute_spectrum
from rdtools.testing import layers, second_moments
from rdtools.theory.incoherence import hessian_incoherence, incoherence_trace_bound, weight_incoherence
from rdtools.transforms import hadamard_multiply


def test_golden_three_by_three():
    """Printed for H = [[4,2,1],[2,3,1],[1,1,2]]: μ = 1.2765, bound 12.961, tr D = 7.625 in our order, eigenvalue product 13."""
    H = np.array([[4.0, 2, 1], [2, 3, 1], [1, 1, 2]])
    s = compute_spectrum(H)
    assert round(hessian_incoherence(s), 4) == 1.2765
    assert round(incoherence_trace_bound(hessian_incoherence(s), s.eigenvalues), 3) == 12.961
    np.testing.assert_allclose(s.cholesky_diagonal**2, [4, 2, 1.625], rtol=rounding(10))
    assert np.prod(s.eigenvalues) == pytest.approx(13, rel=rounding(20))


def test_axes_are_the_most_coherent_and_hadamard_the_least():
    spectrum = np.arange(1.0, 17.0)
    assert hessian_incoherence(compute_spectrum(np.diag(spectrum))) == pytest.approx(4.0, rel=rounding(16))
    Q = hadamard_multiply(np.eye(16))
    H = (Q * spectrum) @ Q.T
    assert hessian_incoherence(compute_spectrum(0.5 * (H + H.T))) == pytest.approx(1.0, rel=rounding(16, condition=16))


@given(second_moments(max_condition=1e6))
def test_trace_bound_holds(H):
    """Σ ℓ_ii² ≤ (μ²/n)(tr H^½)²: QuIP, Lemma 2."""
    s = compute_spectrum(H)
    mu = hessian_incoherence(s)
    assert 1 - rounding(len(H) + 1) <= mu <= math.sqrt(len(H)) * (1 + rounding(len(H) + 1))
    bound = incoherence_trace_bound(mu, s.eigenvalues)
    assert (s.cholesky_diagonal**2).sum() <= bound * (1 + rounding(len(H) + 1, condition=1e3))


@given(layers())
def test_weight_incoherence_is_between_one_and_the_root_of_the_size(layer):
    mu = weight_incoherence(layer.weight)
    assert 1 - rounding(10) <= mu <= math.sqrt(layer.weight.size) * (1 + rounding(layer.weight.size))


def test_weight_incoherence_limits():
    assert weight_incoherence(np.full((3, 5), -2.0)) == pytest.approx(1.0, rel=rounding(15))
    spike = np.zeros((4, 4))
    spike[1, 2] = 7
    assert weight_incoherence(spike) == 4.0
    assert weight_incoherence(np.zeros((2, 2))) == 0.0


def test_repeated_eigenvalues_are_reported():
    assert not compute_spectrum(np.eye(3)).simple
    assert compute_spectrum(np.diag([3.0, 2.0, 1.0])).simple
