from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records.map_cases import chains, dense, pairs
from tolerances import rounding

from rdtools.errors import ShapeMismatch, UsageError
from rdtools.measure import error, weighted_error
from rdtools.moments.layer import Layer
from rdtools.records import ActivationGrid, EffectiveLayer, InputMap, InputMoments, LowRank
from rdtools.testing import generators, layers
from rdtools.theory.activation_moments import corrected_distortion
from rdtools.theory.low_rank import low_rank_correction
from rdtools.transforms.links import Merge, Split

TOKENS = 60


def moments_of(x, y):
    return InputMoments.quantized(x.T @ x / len(x), y.T @ y / len(x), x.T @ y / len(x), tokens=len(x))


def error_of(weight, effective, moments):
    return error(Layer.of(weight, moments.reference), effective, moments)


def scale_of(W, layer, x):
    """Power of the largest terms in the sum, per weight: rounding errors of the moments' side are relative to it."""
    T, n = np.linalg.norm(dense(layer.input_map)), W.shape[1]
    size = np.linalg.norm(W) + np.linalg.norm(layer.weight) * T
    if layer.low_rank is not None:
        size += np.linalg.norm(layer.low_rank.left) * np.linalg.norm(layer.low_rank.right)
    return size**2 * np.linalg.norm(x) ** 2 / len(x) / (len(W) * n)


@given(layers(max_condition=1e4), generators())
def test_plain_moments_give_the_weighted_error_exactly(layer, generator):
    n = layer.weight.shape[1]
    chain = InputMap([Split(generator.integers(1, 3, n))], columns=n)
    coded = chain.weight(layer.weight) + 0.1 * generator.standard_normal((len(layer.weight), chain.outputs))
    effective = EffectiveLayer(coded, chain)
    found = error(layer, effective)
    assert found.mean == error_of(layer.weight, effective, InputMoments.plain(layer.hessian.matrix)).mean
    expected = weighted_error(layer.weight, effective.matrix, layer.hessian.matrix)
    assert found.mean == expected.mean
    assert found.stderr == expected.stderr or np.isnan([found.stderr, expected.stderr]).all()


def drifted_sample(rng, m=5, n=8, tokens=200):
    x = rng.standard_normal((tokens, n)) @ rng.standard_normal((n, n))
    y = 0.8 * x + 0.2 * rng.standard_normal((tokens, n))
    W = rng.standard_normal((m, n))
    return x, y, rng.standard_normal((tokens, m)), W, W + 0.1 * rng.standard_normal((m, n))


@pytest.mark.parametrize("writes", [False, True])
def test_a_drifted_input_without_the_terms_that_no_weight_changes(writes, rng):
    """E‖W x + d − V x̂‖² − E‖d‖² − 2 E dᵀW x, by tokens; sums of token products, conditioned by their cancellation (below 100)."""
    x, y, d, W, V = drifted_sample(rng)
    (tokens, n), d = x.shape, d if writes else np.zeros_like(d)
    errors = ((x @ W.T + d - y @ V.T) ** 2 - d**2 - 2 * d * (x @ W.T)).mean(axis=0) / n
    moments = InputMoments.drifted(x.T @ x / tokens, y.T @ y / tokens, x.T @ y / tokens, d.T @ y / tokens if writes else None)
    found = error_of(W, EffectiveLayer(V, InputMap(columns=n)), moments)
    assert found.mean == pytest.approx(errors.mean(), rel=rounding(tokens + n**2, condition=100))
    assert found.stderr == pytest.approx(errors.std(ddof=1) / np.sqrt(len(W)), rel=rounding(tokens + n**2, condition=100))


def test_a_drifted_error_is_least_at_the_regression(rng):
    """V* = (W Σ_xx̂ + S) Σ_x̂⁻¹, and V is worse by tr((V − V*) Σ_x̂ (V − V*)ᵀ)/(m n)."""
    x, y, d, W, V = drifted_sample(rng)
    tokens, n = x.shape
    H, actual, cross, residual = x.T @ x / tokens, y.T @ y / tokens, x.T @ y / tokens, d.T @ y / tokens
    moments = InputMoments.drifted(H, actual, cross, residual)
    best = np.linalg.solve(actual, (W @ cross + residual).T).T
    at, least = (error_of(W, EffectiveLayer(M, InputMap(columns=n)), moments).mean for M in (V, best))
    scale = weighted_error(W, np.zeros_like(W), H).mean
    tolerance = rounding(tokens + n**2, condition=np.linalg.cond(actual)) * scale
    assert at - least == pytest.approx(weighted_error(best, V, actual).mean, abs=tolerance)


@given(generators(), st.integers(2, 6), st.integers(0, 3))
def test_quantized_activations_with_a_correction_give_the_theory_of_it(generator, bits, rank):
    """LRC without an input map, with the best U and V of its rank: the distortion of the theory, and of the tokens."""
    m, n = 4, 8
    x, W = generator.standard_normal((TOKENS, n)), generator.standard_normal((m, n))
    grid, What = ActivationGrid(bits, clip=0.9), np.rint(4 * W) / 4
    q = grid.quantize(x)
    moments = moments_of(x, q)
    best = low_rank_correction(W, What, moments, rank)
    low = LowRank.rounded(best.left, best.right, "float32")
    layer = EffectiveLayer(What, InputMap(columns=n), grid, low)
    found = error_of(W, layer, moments)
    accuracy = rounding(TOKENS + n**2) * scale_of(W, layer, x)
    assert found.mean == pytest.approx(corrected_distortion(W, What, low.matrix, moments), abs=accuracy)
    assert found.mean == pytest.approx(np.mean((x @ W.T - layer.apply(x)) ** 2) / n, abs=accuracy)
    # the factors are rounded to float32, at a minimum: their error counts squared
    assert found.mean == pytest.approx(best.distortion, abs=accuracy + 2.0**-44 * scale_of(W, layer, x))


@given(generators(), st.integers(3, 6), st.booleans(), st.integers(0, 3))
def test_split_merge_quantized_activations_and_correction_together(generator, bits, symmetric, rank):
    """y = Ŵ Q(T x) + U Vᵀ x of QLLM's T, from moments alone, against the same tokens run through the layer."""
    m, n = 4, 8
    x, W = generator.standard_normal((TOKENS, n)), generator.standard_normal((m, n))
    x[:, generator.integers(n)] *= 20
    split = Split.within(np.abs(x).max(axis=0), 0.3 * np.abs(x).max())
    merge = Merge(pairs(split.outputs, generator), split.outputs)
    chain = InputMap([split, merge], columns=n)
    What = chain.weight(W)
    What = What + 0.1 * generator.standard_normal(What.shape)
    low = LowRank.rounded(0.1 * generator.standard_normal((m, rank)), generator.standard_normal((n, rank)), "float16")
    layer = EffectiveLayer(What, chain, ActivationGrid(bits, symmetric), low)
    moments = moments_of(x, layer.activation.quantize(chain.apply(x)))
    found = error_of(W, layer, moments)
    errors = (x @ W.T - layer.apply(x)) ** 2
    rows = errors.mean(axis=0) / n
    accuracy = rounding(TOKENS + chain.outputs**2) * scale_of(W, layer, x)
    assert found.mean == pytest.approx(rows.mean(), abs=accuracy)
    assert found.stderr == pytest.approx(rows.std(ddof=1) / np.sqrt(m), abs=m * accuracy)


@given(chains(), st.integers(2, 8))
def test_any_chain_behind_quantized_activations(case, bits):
    chain, generator = case
    m, n = 3, chain.inputs
    x, W = generator.standard_normal((TOKENS, n)), generator.standard_normal((m, n))
    low = LowRank.rounded(0.1 * generator.standard_normal((m, 1)), generator.standard_normal((n, 1)))
    layer = EffectiveLayer(generator.standard_normal((m, chain.outputs)), chain, ActivationGrid(bits), low)
    found = error_of(W, layer, moments_of(x, layer.activation.quantize(chain.apply(x))))
    accuracy = rounding(TOKENS + n**2 + chain.outputs**2) * scale_of(W, layer, x)
    assert found.mean == pytest.approx(np.mean((x @ W.T - layer.apply(x)) ** 2) / n, abs=accuracy)


@given(chains(), st.integers(0, 2))
def test_any_chain_without_quantized_activations(case, rank):
    """The same layer as one matrix with plain moments, and on tokens."""
    chain, generator = case
    m, n = 3, chain.inputs
    x, W = generator.standard_normal((TOKENS, n)), generator.standard_normal((m, n))
    low = LowRank.rounded(generator.standard_normal((m, rank)), generator.standard_normal((n, rank)))
    layer = EffectiveLayer(generator.standard_normal((m, chain.outputs)), chain, low_rank=low)
    found = error_of(W, layer, InputMoments.plain(x.T @ x / TOKENS, tokens=TOKENS))
    accuracy = rounding(TOKENS + n**2 + chain.outputs**2) * scale_of(W, layer, x)
    assert found.mean == pytest.approx(np.mean((x @ W.T - layer.apply(x)) ** 2) / n, abs=accuracy)


@given(layers(max_condition=1e4), generators())
def test_nothing_cancels_where_the_grid_changes_nothing(layer, generator):
    """Moments of Q(x) = x and a weight error of 1e-10, whose square is below the rounding of the signal."""
    W, H = layer.weight, layer.hessian.matrix
    E = 1e-10 * np.abs(W).max() * generator.standard_normal(W.shape)
    effective = EffectiveLayer(W + E, InputMap(columns=W.shape[1]), ActivationGrid(8))
    found = error_of(W, effective, InputMoments.quantized(H, H.copy(), H.copy()))
    assert found.mean == pytest.approx(weighted_error(W, effective.weight, H).mean, rel=rounding(H.size + 10))


@given(chains())
def test_mapped_moments_are_those_of_a_grid_that_changes_nothing(case):
    """D of x beside T x is that of the pulled-back weight, up to rounding of the signal."""
    chain, generator = case
    n = chain.inputs
    x, W = generator.standard_normal((TOKENS, n)), generator.standard_normal((3, n))
    plain = InputMoments.plain(x.T @ x / TOKENS)
    What = generator.standard_normal((3, chain.outputs))
    layer = EffectiveLayer(What, chain, ActivationGrid(16))
    found = error_of(W, layer, plain.mapped(chain))
    expected = error_of(W, EffectiveLayer(What, chain), plain)
    assert found.mean == pytest.approx(expected.mean, abs=rounding(n**2 + chain.outputs**2) * scale_of(W, layer, x))


def test_a_residual_stream_counts_behind_quantized_activations_too(rng):
    """E‖W x + d − Ŵ x̂‖² − E‖d‖² − 2 E dᵀW x, by tokens."""
    m, n = 3, 6
    x, d, W = rng.standard_normal((TOKENS, n)), rng.standard_normal((TOKENS, m)), rng.standard_normal((m, n))
    layer = EffectiveLayer(np.rint(3 * W) / 3, InputMap(columns=n), ActivationGrid(3))
    q = layer.activation.quantize(x)
    moments = InputMoments(x.T @ x / TOKENS, q.T @ q / TOKENS, x.T @ q / TOKENS, d.T @ q / TOKENS)
    expected = np.mean((x @ W.T + d - layer.apply(x)) ** 2 - d**2 - 2 * d * (x @ W.T)) / n
    scale = scale_of(W, layer, x) + np.mean(d**2)
    assert error_of(W, layer, moments).mean == pytest.approx(expected, abs=rounding(TOKENS + n**2) * scale)
    low = EffectiveLayer(layer.weight, layer.input_map, layer.activation, LowRank(np.ones((m, 1)), np.ones((n, 1))))
    with pytest.raises(UsageError, match="a residual moment beside a low-rank term"):
        error_of(W, low, moments)


def test_a_single_row_has_no_standard_error():
    moments = InputMoments.drifted(np.eye(2), np.eye(2), np.eye(2))
    assert np.isnan(error_of(np.ones((1, 2)), EffectiveLayer(np.ones((1, 2)), InputMap(columns=2)), moments).stderr)


def test_what_does_not_belong_together_is_refused():
    chain, plain = InputMap([Split(np.array([1, 2]))], columns=2), InputMoments.plain(np.eye(2), name="q")
    layer, quantized = EffectiveLayer(np.ones((1, 3)), chain), EffectiveLayer(np.ones((1, 3)), chain, ActivationGrid(4))
    W = np.ones((1, 2))
    with pytest.raises(ShapeMismatch, match=r"q: weight \(1, 3\) beside an effective layer \(1, 2\)"):
        error(Layer.of(np.ones((1, 3)), np.eye(3)), layer, plain)
    with pytest.raises(ShapeMismatch, match=r"moments of 3 inputs for a weight \(1, 2\)"):
        error(Layer.of(W, np.eye(2)), layer, InputMoments.plain(np.eye(3)))
    with pytest.raises(ShapeMismatch, match=r"q: moments of 2 actual inputs, expected 3, those of Q\(T x\), behind the map"):
        error_of(W, quantized, plain)
    with pytest.raises(ShapeMismatch, match="moments of 3 actual inputs, expected 2, those of the layer's own inputs, before the map"):
        error_of(W, layer, plain.mapped(chain))
    with pytest.raises(UsageError, match="layer: no moments beside activations quantized by ActivationGrid"):
        error(Layer.of(W, np.eye(2)), EffectiveLayer(W, InputMap(columns=2), ActivationGrid(4)))
    with pytest.raises(UsageError, match="q: plain moments beside activations quantized by ActivationGrid"):
        error_of(W, EffectiveLayer(W, InputMap(columns=2), ActivationGrid(4)), plain)
