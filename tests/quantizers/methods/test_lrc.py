"""LRC on a layer of 128 inputs with three massive channels; experiments L1 to L6 of the project's notes, at smaller size."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from tolerances import rounding

from rdtools.coding import decode, encode
from rdtools.coding.reconstruct import effective_layer
from rdtools.compare import ActivationInputs, result_row
from rdtools.errors import RateUnreachable, ShapeMismatch, UsageError
from rdtools.measure import error, measure
from rdtools.methods import parse_method
from rdtools.moments.activations import ActivationAccumulator
from rdtools.moments.layer import Layer
from rdtools.quantizers import GPTQ, LRC, WeightActivation
from rdtools.quantizers.rounding.low_rank import ErrorMoments, rank_of, weight_error_factors
from rdtools.records import ActivationMoments, InputMoments
from rdtools.theory.correction_target import correction_target
from rdtools.theory.low_rank import correction_bits, low_rank_correction, reduced_rank_bound, relaxed_correction, tail_energy

N = 128


def inputs(seed: int, tokens: int, n: int = N, massive: bool = True) -> np.ndarray:
    rng = np.random.default_rng(0)
    basis, powers = np.linalg.qr(rng.standard_normal((n, n)))[0], np.arange(1, n + 1) ** -0.7
    x = (np.random.default_rng([1, seed]).standard_normal((tokens, n)) * np.sqrt(powers / powers.mean())) @ basis.T
    if massive:
        x[:, :3] *= [20, 30, 60]
    return x


def weights(beta: float, m: int = N, n: int = N) -> np.ndarray:
    rng = np.random.default_rng(2)
    if beta == 0:
        return rng.standard_normal((m, n)) / np.sqrt(n)
    U, V = (np.linalg.qr(rng.standard_normal((k, k)))[0] for k in (m, n))
    return (U * np.arange(1, n + 1) ** -beta) @ V.T


def moments_of(method, layer: Layer, x: np.ndarray, seed: int = 0) -> ActivationMoments:
    sums = ActivationAccumulator(method.choose_map([layer], None, seed=seed), method.activation)
    sums.add(x)
    return sums.finish(x.T @ x / len(x), name="x")


@cache
def case(beta: float) -> tuple[Layer, ActivationMoments, ActivationMoments]:
    n = 2 * N if beta == 0 else N  # the size of experiment L2
    x, held = inputs(0, 64 * n, n), inputs(1, 32 * n, n)
    layer = Layer.from_activations(weights(beta, n, n), x)
    method = LRC(rate_bits=4)
    return layer, moments_of(method, layer, x), moments_of(method, layer, held)


def lost(method, beta: float = 0.5) -> tuple[float, float]:
    """Distortion on the calibration and on held-out tokens, of the decoded file."""
    layer, moments, held = case(beta)
    effective = effective_layer(decode(encode(method.quantize(layer, activations=moments).weight).data))
    other = Layer.of(layer.weight, held.reference)
    return error(layer, effective, moments.moments).mean, error(other, effective, held.moments).mean


def lrc(**settings) -> LRC:
    return LRC(rate_bits=4, **settings)


BASE = WeightActivation(rate_bits=4, rotation="auto")


def test_the_steps_are_those_of_theory():
    """Quantizers and theory share no code: start, weight step, low-rank step and loss agree with the formulas in moments."""
    layer, activations, _ = case(0.5)
    W, ridge, k = activations.input_map.weight(layer.weight), 1e-3, 9
    steps = ErrorMoments.of(activations, ridge)
    T, moments = activations.input_map, activations.moments
    in_basis = InputMoments(T.moment(moments.reference), moments.actual, T.apply(moments.cross.T).T, tokens=moments.tokens)
    U, V = steps.start(W, k)
    relaxed = relaxed_correction(W, in_basis, k, damping=ridge)
    budget = 1e-9 * np.linalg.norm(W)
    assert pytest.approx(relaxed.matrix, abs=budget) == U @ V.T
    L = relaxed.matrix
    factor = np.linalg.cholesky(steps.actual)
    assert steps.retargeted(W - L, factor) == pytest.approx(correction_target(W, L, in_basis), abs=budget)
    What = np.round(8 * W) / 8
    U, V = steps.correction(W, What, k)
    found = low_rank_correction(W, What, in_basis, k, damping=ridge)
    assert pytest.approx(found.matrix, abs=budget) == U @ V.T
    penalty = ridge * np.mean(np.diagonal(steps.input())) * np.linalg.norm(W - found.matrix) ** 2
    assert (steps.loss(W, What, (U, V)) + penalty) / W.size == pytest.approx(found.distortion, rel=1e-9)  # L1: floor + tail


def test_the_constant_of_the_weight_step_does_not_depend_on_the_weights(rng):
    """L1: loss − tr((W̃ − Ŵ) Σ_x̂ (W̃ − Ŵ)ᵀ) is the same for every Ŵ."""
    layer, activations, _ = case(0.5)
    W, steps = activations.input_map.weight(layer.weight), ErrorMoments.of(activations, 0.0)
    L = weight_error_factors(W, 0 * W, np.ones(N), 5, name="L")
    target = steps.retargeted(W - L[0] @ L[1].T, np.linalg.cholesky(steps.actual))
    constants = []
    for scale in (0.1, 1.0):
        What = target + scale * 0.01 * rng.standard_normal(W.shape)
        constants.append(steps.loss(W, What, L) - np.vdot((target - What) @ steps.actual, target - What))
    assert constants[1] == pytest.approx(constants[0], rel=1e-8)


@pytest.mark.parametrize("rank", [0.1, 0.3])
def test_what_is_left_of_independent_weights_is_their_tail_energy(rank):
    """L2: the singular value decomposition of W within 0.02 of its tail energy, LRC between 0.80 and 0.97 of it."""
    base, tail = lost(BASE, 0.0)[0], tail_energy(np.linalg.svd(weights(0.0, 2 * N, 2 * N))[1], round(rank * 2 * N))
    assert lost(lrc(rank=rank, correction="svd"), 0.0)[0] / base == pytest.approx(tail, abs=0.02)
    assert 0.80 < lost(lrc(rank=rank), 0.0)[0] / base / tail < 0.97


def test_a_tenth_of_the_rank_removes_more_than_half_of_the_error_and_the_bound_holds():
    """L3: singular values i^-1/2. A term for the error of the weights alone removes less than 15 %."""
    layer, moments, _ = case(0.5)
    base, found = lost(BASE), lost(lrc())
    assert found[0] < 0.5 * base[0]
    assert found[1] < 0.5 * base[1]
    assert found[0] >= reduced_rank_bound(layer.weight, moments.moments, round(0.1 * N)) * (1 - 1e-9)
    assert 0.85 * base[0] < lost(lrc(correction="weights"))[0] < base[0]


def test_three_tenths_of_the_rank_close_the_gap():
    """L4: below twice the error of four-bit weights with activations left alone."""
    layer, _, _ = case(0.5)
    weights_alone = GPTQ(rate_bits=4, rotation="auto", range_rule="mse")
    assert lost(lrc(rank=0.3))[0] < 2 * measure(layer, weights_alone.quantize(layer)).distortion


def test_more_rounds_gain_little_and_lose_nothing():
    """L5: the best round is kept; five gain less than 5 % on one."""
    once, five = lost(lrc())[0], lost(lrc(rounds=5))[0]
    assert 0.95 * once < five <= once * (1 + 1e-3)  # factors are rounded to 16 bits after the best is chosen


def test_a_ridge_of_a_thousandth_is_no_worse_than_one_of_a_hundredth_on_held_out_tokens():
    """L5, on 64 tokens for each input: they differ by less than the hundredth part."""
    assert lost(lrc(ridge=1e-3))[1] <= 1.01 * lost(lrc(ridge=1e-2))[1]


def test_distortion_falls_with_rank_and_never_below_the_bound():
    layer, moments, _ = case(0.5)
    found = [lost(lrc(rank=share))[0] for share in (0.05, 0.1, 0.2, 0.3)]
    assert found == sorted(found, reverse=True)
    for share, value in zip((0.05, 0.1, 0.2, 0.3), found, strict=True):
        assert value >= reduced_rank_bound(layer.weight, moments.moments, round(share * N)) * (1 - 1e-9)


def test_every_bit_of_the_factors_is_counted():
    """L6: 13 of 128 ranks in 16 bits are 3.25 bits per weight; a tenth is 3.2. The file decodes to the layer that was measured."""
    layer, moments, held = case(0.5)
    quantized = lrc().quantize(layer, activations=moments)
    point = measure(layer, quantized, moments=moments.moments)
    assert point.low_rank == 13
    assert point.low_rank_bpw == correction_bits(N, N, 13) == 3.25
    assert correction_bits(1000, 1000, 100) == pytest.approx(3.2)
    without = measure(layer, BASE.quantize(layer, activations=moments), moments=moments.moments)
    assert point.total_bpw - without.total_bpw == pytest.approx(3.25 + 8 * 5 / N**2, abs=1e-12)  # rank and dtype: 5 bytes
    assert point.symbol_bpw == 4
    row = result_row(layer, lrc(), quantized, activations=ActivationInputs(moments, held)).to_row()
    assert (row["activation_bits"], row["low_rank"], row["rotation"]) == (4, 13, "hadamard")
    assert row["rate_gap_symbols_bpw"] == pytest.approx(7.25 - row["rd_bound_rate_bpw"], abs=1e-12)
    assert row["distortion"] >= row["reduced_rank_bound_distortion"]
    assert "KV cache" in row["activation_scope"]
    assert np.isnan(row["pred_high_rate_distortion"])


def test_the_rank_may_be_a_share_of_the_parameters():
    """10 % of the parameters of a square layer are half of 10 % of its dimension; a rank beyond the smaller dimension is refused."""
    assert (rank_of(0.1, 100, 100, "dimension", "w"), rank_of(0.1, 100, 100, "parameters", "w"), rank_of(7, 9, 8, "count", "w")) == (
        10,
        5,
        7,
    )
    with pytest.raises(UsageError, match=r"w: rank 9 \(count\) is 9 for a weight \(9, 8\), expected 1 to 8"):
        rank_of(9, 9, 8, "count", "w")
    with pytest.raises(UsageError, match=r"rank 0\.01 \(dimension\) is 0 .* a share from 0\.0625"):
        rank_of(0.01, 9, 8, "dimension", "w")
    for settings in ({"rank": 0.0}, {"rank": 1.5}, {"rank": 1.5, "rank_measure": "count"}, {"rounds": 0}, {"ridge": -1.0}):
        with pytest.raises(UsageError, match="LRC: "):
            lrc(**settings)


def test_a_weight_error_of_low_rank_is_undone_in_the_metric_asked_for(rng):
    """Eckart–Young: the residual in the metric is the tail of R C, and no other term of the rank does better."""
    W, What = rng.standard_normal((2, 6, 8))
    A = rng.standard_normal((8, 8))
    M = A @ A.T
    for metric in (M, np.diagonal(M), np.ones(8)):
        full = np.diag(metric) if metric.ndim == 1 else metric
        U, V = weight_error_factors(W, What, metric, 2, name="w")
        left = W - What - U @ V.T
        s = np.linalg.svd((W - What) @ np.linalg.cholesky(full))[1]
        assert np.vdot(left @ full, left) == pytest.approx(np.sum(s[2:] ** 2), rel=rounding(200, condition=1e4))
    silent = np.where(np.arange(8) < 3, 0.0, 1.0)
    U, V = weight_error_factors(W, What, silent, 6, name="w")
    np.testing.assert_allclose((U @ V.T)[:, 3:], (W - What)[:, 3:], atol=rounding(200))
    assert not V[:3].any()


def test_without_quantized_activations_it_is_qera():
    layer, _, _ = case(0.5)
    q = parse_method("qera-w4-r0.1", 4)
    answer = q.quantize(layer)
    plain = GPTQ(rate_bits=4, range_rule="mse").quantize(layer)
    U, V = weight_error_factors(layer.weight, effective_layer(plain.weight).matrix, layer.hessian.matrix, 13, name="w")
    assert answer.weight.parts.activation is None
    assert answer.weight.parts.low_rank.matrix == pytest.approx(U @ V.T, abs=2.0**-9 * np.abs(U @ V.T).max() * 13)
    assert measure(layer, answer).distortion < measure(layer, plain).distortion
    with pytest.raises(UsageError, match="expected none: LRC with these settings does not quantize activations"):
        q.quantize(layer, activations=case(0.5)[1])


def test_moments_of_another_method_are_refused():
    layer, moments, _ = case(0.5)
    with pytest.raises(UsageError, match="no moments of activations quantized by ActivationGrid"):
        lrc().quantize(layer)
    with pytest.raises(UsageError, match=r"quantized by ActivationGrid\(bits=4.* expected ActivationGrid\(bits=8"):
        lrc(activation_bits=8).quantize(layer, activations=moments)
    with pytest.raises(UsageError, match="likely of another seed, rotation or input"):
        lrc().quantize(layer, activations=moments, seed=1)
    with pytest.raises(RateUnreachable, match="its weights have 4; ask for that"):
        LRC(rate_bits=3).quantize(layer, activations=moments)
    with pytest.raises(UsageError, match="no moments beside activations quantized"):
        measure(layer, lrc().quantize(layer, activations=moments))


@pytest.mark.parametrize("n", [26, 48])
def test_a_size_without_a_hadamard_matrix_is_rotated_otherwise_and_the_row_says_so(n):
    """26 is no Hadamard order: "auto" takes a Haar matrix, and a Hadamard matrix asked for by name is refused."""
    x = inputs(0, 600, n)
    layer = Layer.from_activations(weights(0.0, 24, n), x)
    q = lrc()
    moments = moments_of(q, layer, x)
    row = result_row(layer, q, q.quantize(layer, activations=moments), activations=ActivationInputs(moments)).to_row()
    assert row["rotation"] == ("haar" if n == 26 else "hadamard")
    if n == 26:
        with pytest.raises(UsageError, match=r"no hadamard rotation of order 26, .* a haar rotation has every order"):
            moments_of(lrc(rotation="hadamard"), layer, x)


def test_singular_moments_get_the_damping_that_they_need():
    """Fewer tokens than inputs, a dead channel, and without rotation channels that always round to zero: damped, and better than none."""
    x = inputs(0, 40)
    x[:, 7] = 0
    layer = Layer.from_activations(weights(0.5), x)
    for rotation in ("auto", None):
        q, base = lrc(rotation=rotation), WeightActivation(rate_bits=4, rotation=rotation)
        moments = moments_of(q, layer, x)
        point, without = (measure(layer, each.quantize(layer, activations=moments), moments=moments.moments) for each in (q, base))
        assert point.distortion < without.distortion
        assert point.low_rank == 13


def test_one_massive_channel_is_survived(rng):
    x = inputs(0, 1000, massive=False)
    x[:, 5] *= 1e4
    layer = Layer.from_activations(weights(0.5), x)
    q = lrc()
    moments = moments_of(q, layer, x)
    point = measure(layer, q.quantize(layer, activations=moments), moments=moments.moments)
    base = measure(layer, BASE.quantize(layer, activations=moments), moments=moments.moments)
    assert point.distortion < 0.5 * base.distortion


def test_a_matrix_of_zeros_and_a_mapless_layer_are_quantized():
    x = inputs(0, 300, 16, massive=False)
    layer = Layer.from_activations(np.zeros((4, 16)), x)
    q = lrc(rank=0.5)
    moments = moments_of(q, layer, x)
    assert measure(layer, q.quantize(layer, activations=moments), moments=moments.moments).distortion == 0
    with pytest.raises(ShapeMismatch):
        error(layer, effective_layer(q.quantize(layer, activations=moments).weight), case(0.5)[1].moments)
