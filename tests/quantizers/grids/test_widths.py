from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tolerances import STANDARD_ERRORS, rounding

from rdtools.coding import decode, encode, reconstruct
from rdtools.coding.formats import codec_of
from rdtools.errors import RateUnreachable, ScaleOutOfRange, UsageError
from rdtools.measure import measure
from rdtools.methods import format_method
from rdtools.moments.layer import Layer
from rdtools.moments.synthetic import haar_moment, power_law
from rdtools.ops import sic_sweep
from rdtools.quantizers import GPTQ, HPTQ, WaterSIC
from rdtools.quantizers.grids.row import row_grid
from rdtools.quantizers.grids.widths import (
    GRID_ERRORS,
    GRID_STEPS,
    MAX_WIDTH,
    allocate_widths,
    water_level,
    width_exponents,
)
from rdtools.quantizers.methods.waterfilled_gptq import WaterfilledGPTQ
from rdtools.quantizers.rounding.columns import sweep_columns
from rdtools.records import UniformGrid
from rdtools.theory.fixed_rate import best_uniform_grid, uniform_grid
from rdtools.transforms.orders import ORDERS

gains = arrays(np.float64, st.integers(1, 4), elements=st.floats(1e-6, 1e6))
widths = arrays(np.int64, st.integers(1, 12), elements=st.integers(0, MAX_WIDTH))


def _layer(m=128, n=48, exponent=2.0, seed=0) -> Layer:
    rng = np.random.default_rng(seed)
    return Layer.of(rng.standard_normal((m, n)), haar_moment(power_law(n, exponent), rng), name="layer")


def test_the_table_is_that_of_the_best_uniform_grids():
    """To its eight digits; a single level at zero leaves the variance."""
    assert GRID_ERRORS[0] == 1
    for bits in range(1, MAX_WIDTH + 1):
        grid = best_uniform_grid(2**bits)
        assert GRID_ERRORS[bits] == pytest.approx(grid.distortion, rel=1e-7)
        # the optimum is found where a derivative vanishes, to half the digits of the error: 1e-7 of the step
        assert GRID_STEPS[bits] == pytest.approx(grid.step, rel=1e-7)


@given(gains, st.integers(0, 12))
def test_the_allocation_is_the_best_of_all(noise_gains, bits):
    """Against every way to give so many bits to up to four columns."""
    r = len(noise_gains)
    bits = min(bits, 4 * r)
    found = allocate_widths(noise_gains, bits / r)
    assert found.sum() == bits
    errors = np.array(GRID_ERRORS)
    least = min(
        float(noise_gains @ errors[list(b)]) for b in itertools.product(range(min(bits, MAX_WIDTH) + 1), repeat=r) if sum(b) == bits
    )
    assert float(noise_gains @ errors[found]) <= least * (1 + rounding(10))


@given(gains, st.floats(0.01, 8), st.floats(1e-3, 1e3))
def test_widths_are_ordered_as_the_gains_and_do_not_change_with_their_scale(noise_gains, rate, factor):
    try:
        found = allocate_widths(noise_gains, rate)
    except RateUnreachable:
        return
    assert abs(found.mean() - rate) <= 0.01
    order = np.argsort(noise_gains, kind="stable")
    # of equal gains the first columns come first
    assert all(found[j] >= found[i] for i, j in itertools.pairwise(order) if noise_gains[j] > noise_gains[i])
    np.testing.assert_array_equal(allocate_widths(2.0 ** round(math.log2(factor)) * noise_gains, rate), found)


def test_equal_gains_have_equal_widths():
    for bits in range(MAX_WIDTH + 1):
        assert (allocate_widths(np.ones(7), bits) == bits).all()


def test_rates_that_whole_bits_do_not_have_are_refused_with_those_that_they_have():
    with pytest.raises(RateUnreachable, match=r"q: 2\.5 bits.*nearest rates are 2\.3333 and 2\.6667"):
        allocate_widths(np.ones(3), 2.5, name="q")
    with pytest.raises(RateUnreachable, match=r"nearest rates are 8\.0000; "):
        allocate_widths(np.ones(3), 9.0)


@given(widths)
def test_levels_follow_from_exponents(bits):
    """2^b levels in each column, as the coder derives them, and equal steps at equal widths."""
    exponents = width_exponents(bits)
    grid = UniformGrid(1.0, exponents, levels=2 ** int(bits.max()))
    np.testing.assert_array_equal(grid.column_levels(len(bits)), 2**bits)
    assert exponents[bits.argmax()] == 0
    assert all(len(set(exponents[bits == b].tolist())) == 1 for b in set(bits.tolist()))


def test_steps_are_near_the_best():
    """Within the rounding to eighths of an octave, or beside it by what the levels demand: the two claims of `width_exponents`."""
    for widest in range(1, MAX_WIDTH + 1):
        exponents = width_exponents(np.arange(widest + 1))
        for b in range(1, widest + 1):
            step = GRID_STEPS[widest] * 2 ** (float(exponents[b]) / 8)
            if b > 1 or widest <= 5:
                assert abs(math.log2(step / GRID_STEPS[b])) <= 1 / 8
            assert uniform_grid(2**b, step * (2**b - 1) / 2).distortion <= 1.22 * GRID_ERRORS[b]
    step = GRID_STEPS[8] * 2 ** (width_exponents(np.array([8, 1]))[1] / 8)
    assert math.log2(step / GRID_STEPS[1]) == pytest.approx(0.43, abs=0.005)


@given(arrays(np.float64, st.integers(1, 12), elements=st.floats(1e-9, 1e9)), st.floats(0.01, 8))
def test_the_water_level_has_the_rate(energies, rate):
    """``mean max(0, ½ log2(v/θ)) = R``, and it is below the largest energy."""
    level = water_level(energies, rate)
    found = np.mean(np.maximum(0.0, 0.5 * (np.log2(energies) - level)))
    assert found == pytest.approx(rate, rel=rounding(len(energies) * 60 / rate))
    assert level < math.log2(energies.max())


@pytest.mark.parametrize("rate", [0.5, 1.0, 2.5, 4.0, 7.0])
def test_the_rate_is_that_of_the_widths_and_of_the_file(rate):
    """``Σ b_i/r``, what the ideal length says and, but for the last word of the range coder, the payload."""
    layer = _layer()
    q = WaterfilledGPTQ(rate_bits=rate).quantize(layer)
    bits = allocate_widths(WaterfilledGPTQ(rate_bits=rate).prepare(layer).prepared_input.noise_gains, rate)
    assert len(set(bits.tolist())) > 1
    np.testing.assert_array_equal(q.weight.symbols.grid.column_levels(len(bits)), 2**bits)
    assert q.symbol_rate_bits == bits.sum() / 48 == rate
    assert codec_of(q.weight.symbols).length_bits(q.weight.symbols) == 128 * bits.sum()
    point = measure(layer, q)
    assert (point.rate_kind, point.symbol_bpw) == ("fixed", rate)
    # a range coder needs less than 0.001 bit per symbol and one last word
    assert rate - 0.001 <= point.payload_bpw <= rate + 0.001 + 64 / layer.weight.size
    # two bytes per row, up to one a column, and some 50 of header
    assert 2 * 128 < (point.total_bpw - point.payload_bpw) * layer.weight.size / 8 <= 2 * 128 + 48 + 50


@pytest.mark.parametrize("order", list(ORDERS))
def test_what_is_decoded_is_what_was_fed_back(order):
    """To the bit, from the bytes of the file; and the sweep of its grid gives its integers again."""
    layer = _layer()
    quantizer = WaterfilledGPTQ(rate_bits=2, order=order)
    problem = quantizer.prepare(layer)
    symbols = quantizer.quantize(layer, problem=problem).weight.symbols
    integers, values = sweep_columns(problem.target, problem.factor, problem.order, symbols.grid)
    np.testing.assert_array_equal(integers, symbols.integers)
    decoded = decode(encode(quantizer.quantize(layer, problem=problem).weight).data)
    np.testing.assert_array_equal(reconstruct(decoded), values)
    levels = symbols.grid.column_levels(30)
    assert (symbols.integers >= -(levels // 2)).all()
    assert (symbols.integers <= np.maximum(levels // 2 - 1, 0)).all()
    assert (values[:, levels == 1] == 0).all()


def test_columns_of_one_width_are_one_sweep():
    """Equal gains: the clamped sweep at one step, and no byte for columns."""
    layer = Layer.of(np.random.default_rng(0).standard_normal((64, 30)), np.eye(30))
    q = WaterfilledGPTQ(rate_bits=3).quantize(layer)
    symbols = q.weight.symbols
    assert symbols.grid.exponents is None
    expected, _ = sic_sweep(
        layer.weight / symbols.grid.rows.scales, np.eye(30), np.full(30, symbols.grid.step), offset=0.5, integer_min=-4, integer_max=3
    )
    np.testing.assert_array_equal(symbols.integers, expected)


def _predicted_errors(symbols, stds):
    """mse of each column at the mean row, for normal targets of these standard deviations in units of the row's weights."""
    scale = float(np.mean(symbols.grid.rows.scales))
    errors = []
    for levels, step, s in zip(symbols.grid.column_levels(30), symbols.column_steps, stds, strict=True):
        errors.append(s**2 * uniform_grid(int(levels), 0.5 * (levels - 1) * scale * step / s).distortion if levels > 1 else s**2)
    return np.array(errors)


@pytest.mark.parametrize("rate", [2.0, 3.0, 4.0])
def test_distortion_is_the_sum_over_columns(rate):
    """``(σ²/n) Σ ℓ_ii² mse(b_i)`` at the steps used: too little for the weights' own variance, too much where feedback adds independent
    noise to it, ``Σ_{j>i} (diag(L) L⁻¹)_ji² mse_j``. Both within the draw."""
    m, n = 1024, 96
    layer = _layer(m, n)
    # rows of one mean square, so that there is one grid
    layer = Layer.of(layer.weight / np.sqrt(layer.statistics.row_variances)[:, None], layer.hessian.matrix)
    quantizer = WaterfilledGPTQ(rate_bits=rate)
    problem = quantizer.prepare(layer)
    q = quantizer.quantize(layer, problem=problem)
    gains, L = problem.prepared_input.noise_gains, problem.factor
    feedback = (np.diagonal(L)[:, None] * np.linalg.inv(L)) ** 2
    np.fill_diagonal(feedback, 0)
    plain = widened = _predicted_errors(q.weight.symbols, np.ones(n))
    for _ in range(4):
        widened = _predicted_errors(q.weight.symbols, np.sqrt(1 + widened @ feedback))
    # the square of an error has a kurtosis below 6, overload included: the mean of a column is known to √(5/m)
    terms = gains * plain / np.sum(gains * plain)
    band = STANDARD_ERRORS * math.sqrt(5 / m * float(terms @ terms))
    measured = measure(layer, q).distortion
    assert np.mean(gains * plain) * (1 - band) <= measured <= np.mean(gains * widened) * (1 + band)
    assert band < 0.05


@pytest.mark.parametrize("rate", [1, 2, 3, 4])
def test_unequal_widths_beat_equal_ones_by_what_the_allocation_says(rate):
    """``½ log2(Σ ℓ_ii² e_i / Σ ℓ_ii² mse(b_i))`` bits on eigenvalues 1/k², e the error of searched grids of R bits on the weights.

    At least that, within the draw: feedback overloads equal widths more than those that give the columns it comes from more bits.
    """
    layer = _layer(m=1024, n=96)
    equal, unequal = (q.quantize(layer) for q in (GPTQ(rate_bits=rate, range_rule="mse", grid="midrise"), WaterfilledGPTQ(rate_bits=rate)))
    even, uneven = measure(layer, equal), measure(layer, unequal)
    g, grid = (
        HPTQ(rate_bits=rate).prepare(layer).prepared_input.noise_gains,
        row_grid(layer.weight, 2**rate, grid="midrise", range_rule="mse"),
    )
    errors = np.mean((layer.weight - grid.values(grid.nearest(layer.weight))) ** 2, axis=0)
    bits = 0.5 * math.log2(np.mean(g * errors) / np.mean(g * np.array(GRID_ERRORS)[allocate_widths(g, rate)]))
    stderr = 0.5 * math.log2(math.e) * math.hypot(*(p.distortion_stderr / p.distortion for p in (even, uneven)))
    assert 0.5 * math.log2(even.distortion / uneven.distortion) >= bits - STANDARD_ERRORS * stderr
    assert bits > STANDARD_ERRORS * stderr
    # up to a byte per column, and what says how they are stored
    assert 0 < uneven.overhead_bpw - even.overhead_bpw <= 8 * (96 + 8) / layer.weight.size


def test_above_the_water_entropy_coded_steps_are_those_of_watersic():
    layer = _layer(exponent=0.5)
    a, b = WaterfilledGPTQ(rate_bits=3, coding="column").quantize(layer), WaterSIC(rate_bits=3).quantize(layer)
    np.testing.assert_array_equal(a.weight.symbols.integers, b.weight.symbols.integers)
    assert encode(a.weight).data == encode(b.weight).data


def test_columns_under_the_water_have_no_codes():
    """And a column just above it has: which are which follows from the rate alone."""
    H = np.diag(np.concatenate([np.full(32, 4.0), np.full(16, 4.0**-3)]))
    layer = Layer.of(np.random.default_rng(1).standard_normal((256, 48)), H)
    # the water is at 4 · 4^{−1.5 · R}: it covers the small ones for R < 8/3
    for rate, covered in ((2.0, True), (3.0, False)):
        q = WaterfilledGPTQ(rate_bits=rate, coding="column").quantize(layer)
        assert abs(q.symbol_rate_bits - rate) <= 0.01
        assert (q.weight.symbols.integers[:, :32] != 0).any(axis=0).all()
        assert (q.weight.symbols.integers[:, 32:] == 0).all() == covered


@pytest.mark.parametrize("coding", ["fixed", "column"])
def test_it_scales_with_the_weights_and_the_moment(coding):
    layer = _layer()
    scaled = Layer.of(8.0 * layer.weight, 0.25 * layer.hessian.matrix, name="layer")
    a, b = (WaterfilledGPTQ(rate_bits=2, coding=coding).quantize(x) for x in (layer, scaled))
    np.testing.assert_array_equal(a.weight.symbols.integers, b.weight.symbols.integers)
    np.testing.assert_array_equal(reconstruct(b.weight), 8.0 * reconstruct(a.weight))


@pytest.mark.parametrize("coding", ["fixed", "column"])
def test_zero_weights_and_dead_columns(coding):
    zeros = Layer.of(np.zeros((8, 6)), np.diag(np.arange(1.0, 7.0)))
    assert (reconstruct(WaterfilledGPTQ(rate_bits=2, coding=coding).quantize(zeros).weight) == 0).all()
    dead = Layer.of(np.ones((8, 6)), np.zeros((6, 6)))
    q = WaterfilledGPTQ(rate_bits=2, coding=coding).quantize(dead)
    assert (measure(dead, q).distortion, q.symbol_rate_bits) == (0, 0)


def test_a_row_of_zeros_stays_zero():
    layer = _layer()
    W = layer.weight.copy()
    W[3] = 0
    q = WaterfilledGPTQ(rate_bits=2).quantize(Layer.of(W, layer.hessian.matrix))
    assert (reconstruct(q.weight)[3] == 0).all()


def test_single_precision_is_as_good():
    """Integers that fall the other way are another draw: at worst two losses differ by ``√(2 · 5/(m n))``, the kurtosis being below 6,
    times the share that few columns have in the loss, at most 4."""
    layer = _layer(m=512)
    a, b = (measure(layer, WaterfilledGPTQ(rate_bits=3, precision=p).quantize(layer)).distortion for p in ("float64", "float32"))
    assert b == pytest.approx(a, rel=STANDARD_ERRORS * math.sqrt(10 * 4 / layer.weight.size))


def test_names_and_refusals():
    assert format_method(WaterfilledGPTQ(rate_bits=2, order="act-order")) == "gptq-waterfilled+act-order"
    assert format_method(WaterfilledGPTQ(rate_bits=2, coding="column", rotation="auto")) == "hptq-waterfilled+rotation"
    with pytest.raises(UsageError, match="coding 'shared': expected one of fixed, column"):
        WaterfilledGPTQ(rate_bits=2, coding="shared")
    layer = _layer()
    with pytest.raises(RateUnreachable, match="layer: WaterfilledGPTQ: 9 bits"):
        WaterfilledGPTQ(rate_bits=9).quantize(layer)
    for scale in (1e-44, 1e44):
        with pytest.raises(ScaleOutOfRange, match="layer: WaterfilledGPTQ"):
            WaterfilledGPTQ(rate_bits=2).quantize(Layer.of(scale * layer.weight, layer.hessian.matrix, name="layer"))
