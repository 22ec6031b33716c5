"""Retargeted weights against least squares on the tokens themselves, and against the quantizers' own way of taking a drift."""

from __future__ import annotations

import numpy as np
import pytest

from rdtools.corrections.target import DEAD, CorrectedInput
from rdtools.moments.layer import Layer
from rdtools.quantizers import WaterSIC
from rdtools.records import Hessian, InputMoments, LayerKey

KEY = LayerKey("model", "layer", "q_proj", 0)
DAMPING = 1e-2


@pytest.fixture(scope="module")
def tokens():
    """Inputs of both models (k, n), what the stream lacks (k, m), and weights (m, n)."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 12)) @ rng.standard_normal((12, 12))
    x[:, 3] *= 1e-3
    actual = x + 0.3 * rng.standard_normal((400, 12)) * x.std(axis=0)
    return x, actual, rng.standard_normal((400, 5)), rng.standard_normal((5, 12))


def _moments(x, actual, lacking=None):
    count = len(x)
    residual = None if lacking is None else lacking.T @ actual / count
    return InputMoments.drifted(x.T @ x / count, actual.T @ actual / count, x.T @ actual / count, residual, tokens=count)


def _least_squares(outputs, inputs, weight, damping):
    """V of least Σ ‖y − V x̂‖² + k δ ‖W − V‖², from the tokens, with the damping as further tokens."""
    count, energy = len(inputs), np.mean(np.sum(inputs**2, axis=0)) / len(inputs)
    root = np.sqrt(count * damping * energy)
    A = np.concatenate([inputs, root * np.eye(inputs.shape[1])])
    b = np.concatenate([outputs, root * weight.T])
    return np.linalg.lstsq(A, b, rcond=None)[0].T


@pytest.mark.parametrize("residual", [False, True])
def test_the_target_is_least_squares_over_tokens(tokens, residual):
    """Solved on tokens by a QR factorization; 1e-8 is eps times the condition of 1e6 with room for squares."""
    x, actual, lacking, W = tokens
    names = ("drift", "residual") if residual else ("drift",)
    found = CorrectedInput(_moments(x, actual, lacking), names, DAMPING).target(W)
    expected = _least_squares(x @ W.T + (lacking if residual else 0), actual, W, DAMPING)
    assert np.abs(found - expected).max() < 1e-8 * np.abs(W).max()
    assert np.abs(found - W).max() > 1e-3


def test_dead_inputs_leave_their_share_to_the_others(tokens):
    """Their columns are not coded; the others have the weights that least squares gives them without the dead inputs."""
    x, actual, _, W = tokens
    moments = _moments(x, actual)
    given = CorrectedInput(moments, ("drift", "dead"), DAMPING)
    energies = (x**2).mean(axis=0)
    assert given.coded.tolist() == (energies >= DEAD * np.median(energies)).tolist()
    assert given.coded.sum() == 11
    layer = given.layer(KEY, W)
    assert layer.active.tolist() == given.coded.tolist()
    expected = _least_squares(x @ W.T, actual[:, given.coded], W[:, given.coded], DAMPING)
    assert np.abs(layer.weight[:, given.coded] - expected).max() < 1e-8 * np.abs(W).max()
    assert np.array_equal(layer.hessian.matrix[np.ix_(given.coded, given.coded)], moments.actual[np.ix_(given.coded, given.coded)])


@pytest.mark.parametrize("settings", [{}, {"order": "reversed-act-order"}])
def test_the_problem_is_that_of_a_quantizer_that_takes_the_drift_itself(tokens, settings):
    """Two ways to one problem: weights T under Σ_x̂, or the drift in the preparation, which puts the damping in by itself."""
    x, actual, lacking, _ = tokens
    W = np.random.default_rng(1).standard_normal((64, 12))
    lacking = np.random.default_rng(2).standard_normal((400, 64)) + actual[:, :1]
    moments = _moments(x, actual, lacking)
    quantizer = WaterSIC(rate_bits=2.5, damping=DAMPING, **settings)
    own = quantizer.prepare(Layer(KEY, W, Hessian(moments.reference, 400)), drift=moments)
    other = quantizer.prepare(CorrectedInput(moments, ("drift", "residual"), DAMPING).layer(KEY, W))
    assert np.array_equal(own.order, other.order)
    np.testing.assert_allclose(own.factor, other.factor, rtol=1e-12, atol=1e-12 * np.abs(own.factor).max())
    np.testing.assert_allclose(own.target, other.target, rtol=1e-9, atol=1e-9 * np.abs(own.target).max())


def test_without_corrections_nothing_changes(tokens):
    x, actual, lacking, W = tokens
    moments = _moments(x, actual, lacking)
    given = CorrectedInput(moments, (), DAMPING)
    assert given.target(W) is W
    assert given.hessian.matrix is moments.actual
    plain = InputMoments.plain(moments.reference)
    assert CorrectedInput(plain, ("drift", "residual"), DAMPING).target(W) is W  # x̂ = x to the bit
