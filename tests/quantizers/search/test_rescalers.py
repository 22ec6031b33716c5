from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import nnls
from tolerances import EPS, rounding

from rdtools.coding import column_scales, encode, round_to_bfloat16
from rdtools.moments.layer import Layer
from rdtools.moments.synthetic import haar_moment, power_law
from rdtools.quantizers import WaterSIC
from rdtools.quantizers.grids.column_gains import point_values, with_column_gains, without_column_gains
from rdtools.quantizers.search.rescalers import fit_rescalers, rescaled, round_columns
from rdtools.records import ENTROPY_MODELS, Gains, GaussianModel, ScalarSymbols, UniformGrid


def problem(m=12, n=7, seed=0, exponent=1.0):
    """Coarse values of weights O under a Gram matrix G of condition n^exponent, with a column and a row of zeros."""
    rng = np.random.default_rng(seed)
    ideal = rng.standard_normal((m, n))
    values = np.rint(ideal + 0.3 * rng.standard_normal((m, n)))
    values[:, 2], values[3] = 0, 0
    return values, haar_moment(power_law(n, exponent), rng), ideal


def error(values, gram, ideal, rows, columns):
    E = ideal - rows[:, None] * values * columns
    return float(np.vdot(E @ gram, E))


def stacked(values, gram, ideal):
    """The same least squares with γ as unknowns: ``‖vec(O L) − A γ‖²`` with column i of A the vec of ``V₀_:i L_i,:``."""
    L = np.linalg.cholesky(gram)
    A = np.stack([np.outer(values[:, i], L[i]).ravel() for i in range(len(gram))], axis=1)
    return A, (ideal @ L).ravel()


@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.booleans())
def test_no_step_raises_the_error_even_where_the_gram_matrix_is_singular(seed, rank, negative):
    """Each half of a round is a least squares step or a cut one. What is summed cancels from ‖O‖², with n² rounded products."""
    rng = np.random.default_rng(seed)
    factor = rng.standard_normal((8, rank))
    values = rng.integers(-2, 3, (10, 8)).astype(np.float64)
    ideal = -values if negative else values + rng.standard_normal((10, 8))
    found = fit_rescalers(values, factor @ factor.T, ideal, np.ones(8))
    total = float(np.vdot(ideal @ factor, ideal @ factor)) + float(np.vdot(values @ factor, values @ factor))
    assert (np.diff(found.errors) <= rounding(200) * total).all()
    assert found.rows.min() >= 0
    assert found.columns.min() >= 0
    assert found.errors[-1] == pytest.approx(
        error(values, factor @ factor.T, ideal, found.rows, found.columns), abs=rounding(1000 * len(found.errors)) * total
    )


def test_column_factors_are_the_least_squares_solution():
    """A second route: the normal equations are those of a tall matrix, whose QR needs the root of their condition."""
    values, gram, ideal = problem()
    found = fit_rescalers(values, gram, ideal, np.ones(7), rows=False)
    used = np.arange(7) != 2
    A, y = stacked(values, gram, ideal)
    expected = np.linalg.lstsq(A[:, used], y)[0]
    assert expected.min() > 0
    np.testing.assert_allclose(found.columns[used], expected, rtol=rounding(100, condition=np.linalg.cond(A[:, used]) ** 2))
    assert (found.rows == 1).all()


def test_columns_and_rows_of_zeros_keep_the_factors_they_have():
    """No step touches them; the means of t that are divided out of them and multiplied in again cancel in their product."""
    values, gram, ideal = problem()
    assert fit_rescalers(values, gram, ideal, np.full(7, 0.75), rows=False).columns[2] == 0.75
    found = fit_rescalers(values, gram, ideal, np.full(7, 0.75))
    assert found.rows[3] * found.columns[2] == pytest.approx(0.75, rel=rounding(2 * len(found.errors)))


def test_at_the_end_no_factor_of_a_row_or_column_can_be_bettered():
    """The alternation ends at a relative change of 1e-4: the error is within that of a stationary point, seen by perturbing each factor."""
    values, gram, ideal = problem()
    found = fit_rescalers(values, gram, ideal, np.ones(7))
    least = found.errors[-1]
    for which in ("rows", "columns"):
        for i in range(len(getattr(found, which))):
            for change in (0.99, 1.01):
                moved = {"rows": found.rows.copy(), "columns": found.columns.copy()}
                moved[which][i] *= change
                assert error(values, gram, ideal, **moved) >= least * (1 - 1e-3)


@pytest.mark.parametrize("scale", [2.0**-20, 0.3, 2.0**20])
def test_only_the_product_of_row_and_column_factors_matters(scale):
    """V₀ → s V₀ gives γ → γ/s, and γ at the start → s γ changes nothing: t has mean 1 in any case."""
    values, gram, ideal = problem()
    a = fit_rescalers(values, gram, ideal, np.ones(7))
    b = fit_rescalers(scale * values, gram, ideal, np.ones(7) / scale)
    np.testing.assert_allclose(b.rows, a.rows, rtol=rounding(5000, condition=100))
    np.testing.assert_allclose(b.columns * scale, a.columns, rtol=rounding(5000, condition=100))
    assert np.mean(a.rows) == pytest.approx(1, rel=rounding(20))
    s, t = 3.0 * a.rows, a.columns / 3.0
    assert error(values, gram, ideal, s, t) == pytest.approx(a.errors[-1], rel=rounding(1000))


def test_exact_factors_are_found():
    """With O = T V₀ Γ the error goes to zero, up to what the last round still gained."""
    values, gram, _ = problem(m=40)
    rng = np.random.default_rng(5)
    t, gamma = 1 + 0.2 * rng.random(40), 1 + 0.2 * rng.random(7)
    ideal = t[:, None] * values * gamma
    found = fit_rescalers(values, gram, ideal, np.ones(7))
    assert found.errors[-1] < 1e-6 * found.errors[0]


def test_a_factor_that_would_be_negative_is_zero_and_the_others_know():
    values, gram, ideal = problem()
    values[:, 4] = -ideal[:, 4]
    found = fit_rescalers(values, gram, ideal, np.ones(7), rows=False)
    assert found.columns[4] == 0
    A, y = stacked(values, gram, ideal)
    others = [0, 1, 3, 5, 6]
    np.testing.assert_allclose(
        found.columns[others], np.linalg.lstsq(A[:, others], y)[0], rtol=rounding(100, condition=np.linalg.cond(A[:, others]) ** 2)
    )


def test_a_step_from_the_best_factors_that_are_not_negative_is_undone():
    """Holding all at zero that would be negative may hold too many: the error would rise above that of non-negative least squares."""
    rng = np.random.default_rng(0)
    worse = 0
    for _ in range(200):
        factor = rng.standard_normal((6, 6))
        values, ideal = rng.standard_normal((3, 6)), rng.standard_normal((3, 6))
        gram = factor @ factor.T
        A, y = stacked(values, gram, ideal)
        best = nnls(A, y)[0]
        found = fit_rescalers(values, gram, ideal, best, rows=False)
        assert found.errors[-1] <= found.errors[0]
        assert found.errors[0] == pytest.approx(float(((y - A @ best) ** 2).sum()), abs=rounding(1000) * float(y @ y))
        free = np.linalg.lstsq(A, y)[0] > 0
        held = np.zeros(6)
        while free.any() and (np.linalg.lstsq(A[:, free], y)[0] < 0).any():
            free[free] = np.linalg.lstsq(A[:, free], y)[0] > 0
        held[free] = np.linalg.lstsq(A[:, free], y)[0]
        worse += float(((y - A @ held) ** 2).sum()) > found.errors[0] * (1 + 1e-6)
    assert worse > 0


@given(st.integers(0, 2**32 - 1))
def test_stored_factors_cost_at_most_half_a_step_of_bfloat16_in_each_pivot(seed):
    """Rounded one after another, ``(γ̂ − γ)ᵀ F (γ̂ − γ) = Σ (ℓ_ii e_i)²`` with |e_i| ≤ 2⁻⁸ of the larger of γ̂_i and what is rounded."""
    rng = np.random.default_rng(seed)
    F = haar_moment(power_law(9, 3.0), rng)
    gamma = rng.uniform(0.5, 1.5, 9)
    stored = round_columns(F, gamma)
    assert (stored == round_to_bfloat16(stored)).all()
    bound = float(((np.diagonal(np.linalg.cholesky(F)) * stored) ** 2).sum()) * (2.0**-8 / (1 - 2.0**-8)) ** 2
    e = stored - gamma
    assert e @ F @ e <= bound * (1 + 1e-6) + 100 * EPS


def test_stored_factors_are_better_than_each_rounded_alone():
    """On an F of condition 10⁵ by far, on average over draws."""
    rng = np.random.default_rng(0)
    together = alone = 0.0
    for _ in range(20):
        F = haar_moment(power_law(50, 3.0), rng)
        gamma = rng.uniform(0.5, 1.5, 50)
        a, b = round_columns(F, gamma) - gamma, round_to_bfloat16(gamma) - gamma
        together, alone = together + a @ F @ a, alone + b @ F @ b
    assert together < 0.2 * alone


def integers_of(kind, rng, gains=None):
    return ScalarSymbols(
        rng.integers(-3, 4, (6, 5)).astype(np.int32),
        UniformGrid(0.25, np.array([0, 3, 8, 11, 30], dtype=np.uint8)),
        GaussianModel(1.0) if kind == "column" else ENTROPY_MODELS[kind](),
        Gains(0.5, gains),
    )


@pytest.mark.parametrize("kind", ["shared", "column", "histogram"])
def test_gains_multiply_what_codes_stand_for_and_take_the_place_of_steps_where_no_law_needs_them(kind, rng):
    integers = integers_of(kind, rng, round_to_bfloat16(rng.uniform(0.5, 1, 5)))
    gains = rng.uniform(0.5, 1.5, 5)
    changed = with_column_gains(integers, gains)
    # bfloat16 keeps 8 significant bits
    np.testing.assert_allclose(point_values(changed), point_values(integers) * gains, rtol=2.0**-8)
    np.testing.assert_allclose(column_scales(changed), column_scales(integers) * gains, rtol=2.0**-8)
    assert (changed.grid.exponents is None) == (kind != "column")


def uneven_layer(m, n, seed=0):
    """Rows of unequal energy, which gains for normal weights do not fit."""
    rng = np.random.default_rng(seed)
    W = rng.standard_normal((m, n)) * np.exp(0.5 * rng.standard_normal((m, 1)))
    return Layer.of(W, haar_moment(power_law(n, 0.5), rng), name="uneven")


def side_bits(weight):
    """Of the file, all but coded symbols."""
    container = encode(weight)
    return 8 * (len(container.data) - container.payload_bytes)


@pytest.mark.parametrize(
    ("shape", "rate", "columns", "rows"),
    [
        pytest.param((1024, 24), 1.0, True, False, id="many rows, low rate: 16 bits per column are nothing"),
        pytest.param((24, 1024), 1.0, False, True, id="many columns: 16 bits per row are nothing"),
        pytest.param((48, 48), 4.0, False, False, id="small, high rate: nothing pays"),
    ],
)
def test_what_is_stored_is_what_pays(shape, rate, columns, rows):
    layer = uneven_layer(*shape)
    quantizer = WaterSIC(rate_bits=rate, rescale=True)
    symbols = quantizer.quantize(layer).weight.symbols
    assert (symbols.gains.columns is not None) == columns
    assert (symbols.grid.rows is not None) == rows


@pytest.mark.parametrize("settings", [{}, {"lmmse": True}, {"lmmse": "sample"}, {"coding": "shared", "order": "act-order", "ridge": 0.05}])
def test_rescaling_never_raises_the_error_and_keeps_the_codes(settings):
    """tr((O − V) G (O − V)ᵀ) with all numbers as stored; O and G without the ridge."""
    layer = uneven_layer(4096, 24)
    plain, fitted = WaterSIC(rate_bits=1.0, **settings), WaterSIC(rate_bits=1.0, rescale=True, **settings)
    a, b = plain.quantize(layer), fitted.quantize(layer)
    assert (a.weight.symbols.integers == b.weight.symbols.integers).all()
    assert a.symbol_rate_bits == b.symbol_rate_bits
    H = layer.hessian.matrix
    ones = np.ones(4096), np.ones(24)
    before, after = (error(point_values(q.weight.symbols), H, layer.weight, *ones) for q in (a, b))
    assert after < before
    # and it pays: half a bit for each factor of 2 is the most that it can be worth
    bits = side_bits(b.weight) - side_bits(a.weight)
    assert 0.5 * layer.weight.size * np.log2(before / after) > bits


def test_a_ridge_is_no_part_of_what_scales_are_fitted_to():
    """It stands for the rate, which scales do not change: fitted under H to W, up to the rounding of γ, 2⁻⁹ squared of the signal."""
    layer = uneven_layer(4096, 24)
    symbols = WaterSIC(rate_bits=1.0, ridge=1.0, coding="shared", rescale=True).quantize(layer).weight.symbols
    assert symbols.grid.rows is None
    H, W = layer.hessian.matrix, layer.weight
    values = point_values(without_column_gains(symbols))
    best = fit_rescalers(values, H, W, symbols.gains.columns, rows=False)
    assert best.errors[0] - best.errors[-1] <= 2.0**-18 * float(np.vdot(W @ H, W))


def test_all_zero_codes_are_left_alone():
    layer = Layer.of(np.zeros((8, 4)), np.eye(4))
    q = WaterSIC(rate_bits=2.0, rescale=True)
    prepared = q.prepare(layer)
    symbols = q.solve(prepared).symbols
    assert symbols.gains.columns is None
    assert rescaled(symbols, None, None, None) is symbols
