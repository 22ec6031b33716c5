from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerances import STANDARD_ERRORS, rounding

from rdtools.errors import ShapeMismatch
from rdtools.records import InputMap
from rdtools.rounded import rounded_gaussian
from rdtools.testing import generators
from rdtools.theory.activation import activation_distortion, minmax_step_power, reassembled_distortion
from rdtools.theory.channel_merging import merged_distortion
from rdtools.transforms.links import Merge, Split

counts_of_copies = st.lists(st.integers(1, 9), min_size=1, max_size=12).map(np.array)


def minmax_quantize(x, bits=4):
    """Per-token asymmetric min–max rounding with an integer zero point: the values, and the step of each token."""
    low, high = x.min(axis=1, keepdims=True), x.max(axis=1, keepdims=True)
    step = (high - low) / (2**bits - 1)
    zero = -np.rint(low / step)
    return step * (np.clip(np.rint(x / step) + zero, 0, 2**bits - 1) - zero), step[:, 0]


def outlier_layer(seed, n=512, m=128, tokens=1500):
    """Six channels 10 to 60 times as large as the others, all normal and independent."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((tokens, n))
    x[:, rng.choice(n, 6, replace=False)] *= np.linspace(10, 60, 6)
    return x, rng.standard_normal((m, n)) / math.sqrt(n)


def token_errors(x, exact, weight):
    """‖W (x̂ − x)‖²/(mn) of each token, n channels before splitting."""
    return np.sum(((x - exact) @ weight.T) ** 2, axis=1)


@pytest.mark.parametrize("staggered", [False, True])
@pytest.mark.parametrize("fixed_step", [0.3, 1.0])
def test_fixed_step_by_simulation(staggered, fixed_step):
    """T_j² for equal copies, none for staggered ones: normal channels, one fixed step."""
    rng = np.random.default_rng(3)
    stds, counts = np.array([1.5, 6.0, 20.0]), np.array([1, 3, 8])
    W = rng.standard_normal((5, 3))
    x = rng.standard_normal((40_000, 3)) * stds
    split = Split(counts, staggered=True)
    copies = split.apply(x) + (fixed_step * split.shifts if staggered else 0.0)
    errors = token_errors(fixed_step * np.rint(copies / fixed_step), copies, split.weight(W)) / W.size
    predicted = activation_distortion(fixed_step**2, counts, W, staggered=staggered)
    # the uniform model is off by a share (12/π²) e^(−2π²/r²) < 1e-4 at r = TΔ/σ of at most 2/3
    assert errors.mean() == pytest.approx(predicted, abs=STANDARD_ERRORS * errors.std() / math.sqrt(len(x)) + 1e-4 * predicted)


@pytest.mark.parametrize("share", [0.05, 0.1])
def test_per_token_minmax_by_simulation(share):
    """QLLM's quantizer: E[Δ²]/12 Σ T_j² ‖w_j‖² from the tokens' own steps."""
    x, W = outlier_layer(0)
    maxima = np.abs(x).max(axis=0)
    split = Split.within(maxima, share * maxima.max(), staggered=True)
    counts, copies = split.counts, split.apply(x)
    rounded, steps = minmax_quantize(copies)
    assert minmax_step_power(copies, bits=4) == pytest.approx(np.mean(steps**2), rel=rounding(10))
    errors = token_errors(rounded, copies, split.weight(W)) / W.size
    own = steps**2 * activation_distortion(1.0, counts, W)
    predicted = activation_distortion(minmax_step_power(copies, bits=4), counts, W)
    assert own.mean() == pytest.approx(predicted, rel=rounding(2000))
    # the difference token by token, so that the spread of the steps does not widen the band
    assert errors.mean() == pytest.approx(predicted, abs=STANDARD_ERRORS * np.std(errors - own) / math.sqrt(len(x)))
    # staggered, with the steps of the equal copies and room for the shifts
    staggered = copies + steps[:, None] * split.shifts
    errors = token_errors(steps[:, None] * np.rint(staggered / steps[:, None]), staggered, split.weight(W)) / W.size
    own = steps**2 * activation_distortion(1.0, counts, W, staggered=True)
    # the unsplit normal channels have r = Δ/σ of about 1, where the uniform model holds to 1e-8
    assert errors.mean() == pytest.approx(own.mean(), abs=STANDARD_ERRORS * np.std(errors - own) / math.sqrt(len(x)))
    assert errors.mean() < 0.75 * predicted


def test_saturation_without_a_split():
    """The step of an unsplit layer is larger than most channels: 0.22 of the power by the formula, 0.05 with saturation and in fact."""
    x, W = outlier_layer(0)
    ones = np.ones(x.shape[1], dtype=int)
    rounded, _ = minmax_quantize(x)
    power = minmax_step_power(x, bits=4)
    errors = token_errors(rounded, x, W) / W.size
    measured, slack = errors.mean(), STANDARD_ERRORS * errors.std() / math.sqrt(len(x))
    bound = activation_distortion(power, ones, W, channel_powers=np.mean(x**2, axis=0))
    assert measured <= bound + slack
    assert bound < 1.25 * measured < 0.5 * activation_distortion(power, ones, W)


def test_best_threshold_is_inside():
    """The range falls with θ and Σ T_j² rises: formula and simulation agree on a best θ between the ends."""
    x, W = outlier_layer(0, tokens=500)
    maxima = np.abs(x).max(axis=0)
    shares = np.array([1.0, 0.3, 0.15, 0.1, 0.08, 0.06, 0.05, 0.04, 0.03, 0.02])
    measured, predicted = [], []
    for share in shares:
        split = Split.within(maxima, share * maxima.max())
        counts, copies = split.counts, split.apply(x)
        measured.append(token_errors(minmax_quantize(copies)[0], copies, split.weight(W)).mean() / W.size)
        powers = np.mean(x**2, axis=0)
        predicted.append(activation_distortion(minmax_step_power(copies, bits=4), counts, W, channel_powers=powers))
    best, guess = int(np.argmin(measured)), int(np.argmin(predicted))
    assert 0.02 < shares[best] < 0.1
    assert 0.02 < shares[guess] < 0.1
    # around a minimum the curve is flat: a neighbour on this grid is within a tenth
    assert measured[guess] < 1.1 * measured[best]
    assert measured[best] < 0.15 * measured[0]


@given(st.floats(0.01, 50), st.integers(1, 6), st.floats(0.1, 10))
def test_saturating_formula_bounds_the_exact_error_of_a_normal_channel(step, count, deviation):
    """D ≤ min(σ², T²Δ²/12): |x − round(x)| ≤ |x|, and D/Δ² = 1/12 + Σ_k (−1)^k e^(−2π²k²/r²)/(π k)² alternates from below."""
    r = count * step / deviation
    exact = rounded_gaussian(r).distortion * deviation**2
    found = activation_distortion(step**2, [count], np.ones((1, 1)), channel_powers=[deviation**2])
    # `rounded_gaussian` subtracts moments of size σ² (1 + r²)
    assert exact <= found + rounding(100) * deviation**2 * (1 + r * r)
    if r < 0.8:
        assert exact == pytest.approx(found, abs=2 * math.exp(-2 * math.pi**2 / r**2) * deviation**2 + rounding(100) * deviation**2)
    if r > 20:
        assert exact == pytest.approx(found, rel=1e-12)


@given(counts_of_copies, generators(), st.floats(0, 10), st.floats(0.1, 10))
def test_activation_distortion_scales(counts, generator, power, factor):
    """Linear in the step power, quadratic in W, the same for permuted channels, additive over channels, staggered ≤ equal copies."""
    W = generator.standard_normal((3, len(counts)))
    found = activation_distortion(power, counts, W)
    order = generator.permutation(len(counts))
    assert activation_distortion(factor * power, counts, W) == pytest.approx(factor * found, rel=rounding(50))
    assert activation_distortion(power, counts, factor * W) == pytest.approx(factor**2 * found, rel=rounding(50))
    assert activation_distortion(power, counts[order], W[:, order]) == pytest.approx(found, rel=rounding(50))
    single = [activation_distortion(power, [t], W[:, [j]]) for j, t in enumerate(counts)]
    assert np.mean(single) == pytest.approx(found, rel=rounding(50))
    staggered = activation_distortion(power, counts, W, staggered=True)
    assert staggered <= found * (1 + rounding(50))
    assert staggered == pytest.approx(activation_distortion(power, np.ones_like(counts), W), rel=rounding(50))
    # a second route: each copy an independent column would give T_j; the shared error adds in amplitude and gives T_j²
    amplitude = np.zeros_like(W)
    np.add.at(amplitude.T, np.repeat(np.arange(len(counts)), counts), Split(counts).weight(W).T)
    assert found == pytest.approx(power / 12 * np.sum(amplitude**2) / W.size, rel=rounding(100))


@given(generators())
def test_a_reassembled_layer_costs_merging_and_rounding(generator):
    """Nothing merged: `activation_distortion`; nothing rounded: `merged_distortion`; both: their sum, whatever the scale of the merge."""
    n, counts = 6, np.array([1, 3, 1, 2, 1])
    W, A = generator.standard_normal((4, n)), generator.standard_normal((n, n))
    H = A @ A.T + 10 * np.eye(n)
    ones = np.ones(n, dtype=int)
    before = reassembled_distortion(0.01, ones, W, H, InputMap(columns=n))
    assert before == pytest.approx(activation_distortion(0.01, ones, W), rel=rounding(20))
    merge = Merge([(2, 5)], n)
    assembly = InputMap([merge], columns=n)
    cost = merged_distortion(H, W, [(2, 5)])
    assert reassembled_distortion(0.0, counts, W, H, assembly) == pytest.approx(cost, rel=rounding(1000))
    rounded = activation_distortion(0.01, counts, merge.weight(W)) * (n - 1) / n
    assert reassembled_distortion(0.01, counts, W, H, assembly) == pytest.approx(cost + rounded, rel=rounding(1000))
    scaled = InputMap([Merge([(2, 5)], n, [4.0])], columns=n)
    less = rounded - (1 - 1 / 16) * 0.01 / 12 * np.sum((W[:, 2] + W[:, 5]) ** 2) / W.size
    assert reassembled_distortion(0.01, counts, W, H, scaled) == pytest.approx(cost + less, rel=rounding(1000))
    assert reassembled_distortion(1e9, counts, W, H, assembly, staggered=True) == pytest.approx(
        cost + np.sum(merge.weight(W) ** 2 * np.diagonal(assembly.moment(H))) / W.size, rel=rounding(1000)
    )


def test_activation_distortion_limits():
    W = np.ones((2, 3))
    assert activation_distortion(0.0, [1, 2, 3], W) == 0
    assert activation_distortion(1e300, [1, 2, 3], W, channel_powers=[1.0, 1.0, 4.0]) == 6 / 3
    assert activation_distortion(12.0, [1, 2, 3], W) == 14 / 3
    assert activation_distortion(1.0, [1, 1, 1], 0 * W) == 0


@given(generators(), st.integers(1, 8), st.floats(0.1, 10), st.floats(-5, 5))
def test_step_power_of_a_range(generator, bits, factor, shift):
    """Quadratic in scale, blind to an offset, a factor of (2^b − 1)² in all; on two levels the step is the range."""
    x = generator.standard_normal((7, 5))
    power = minmax_step_power(x, bits=bits)
    loop = sum(((max(row) - min(row)) / (2**bits - 1)) ** 2 for row in x.tolist()) / 7
    assert power == pytest.approx(loop, rel=rounding(20))
    assert minmax_step_power(factor * x + shift, bits=bits) == pytest.approx(factor**2 * power, rel=rounding(20, condition=1 + 10 / factor))
    assert power * (2**bits - 1) ** 2 == pytest.approx(minmax_step_power(x, bits=1), rel=rounding(20))


def test_step_power_of_one_channel_is_zero():
    assert minmax_step_power(np.array([[3.0], [-1.0]]), bits=4) == 0


def test_bad_arguments_are_refused():
    for bad in ((-1.0, [1]), (math.nan, [1]), (1.0, [0])):
        with pytest.raises(ValueError, match="activation"):
            activation_distortion(*bad, np.ones((1, 1)))
    with pytest.raises(ShapeMismatch, match="power"):
        activation_distortion(1.0, [1], np.ones((1, 1)), channel_powers=[1.0, 2.0])
    with pytest.raises(ShapeMismatch, match="empty"):
        merged_distortion(np.eye(2), np.ones((0, 2)), [])
    for x, bits in ((np.ones(3), 4), (np.ones((0, 3)), 4), (np.ones((2, 3)), 0)):
        with pytest.raises(ValueError, match="step"):
            minmax_step_power(x, bits=bits)
    for groups in ([(0, 1), (1, 0)], [(0, 2)], [(-1, 0)]):
        with pytest.raises(ValueError, match="merge: channels"):
            merged_distortion(np.eye(2), np.eye(2), groups)
