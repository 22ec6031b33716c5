from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tolerances import STANDARD_ERRORS, rounding

from rdtools.coding import reconstruct, round_to_bfloat16
from rdtools.errors import ScaleOutOfRange
from rdtools.quantizers.grids.row import RowGrid, row_grid
from rdtools.records import Basis, QuantizedWeight, RowScales, ScalarSymbols, Uniform, UniformGrid

#: Half the distance of neighbouring bfloat16 numbers, relative.
BFLOAT16 = 2.0**-8

kinds = st.sampled_from(("symmetric", "asymmetric", "midrise"))
rules = st.sampled_from(("absmax", "mse"))
shapes = st.tuples(st.integers(1, 5), st.integers(1, 12))
rows = shapes.flatmap(lambda shape: arrays(np.float64, shape, elements=st.floats(-100, 100).map(lambda x: round(x, 3))))


def _full_range(x, levels, kind):
    """Where the range of a row starts, and its step, by the formula."""
    if kind != "asymmetric":
        half = max(abs(v) for v in x)
        return -half, 2 * half / (levels if kind == "midrise" else levels - 1)
    lowest, highest = min(0.0, *x), max(0.0, *x)
    return lowest, (highest - lowest) / (levels - 1)


def _one_row(x, lowest, step, levels, kind):
    """Scale and values of a row, one weight after another."""
    scale = float(round_to_bfloat16(np.array(step)))
    if scale == 0:
        return scale, [0.0] * len(x)
    if kind != "asymmetric":
        half = 0.5 if kind == "midrise" and levels % 2 == 0 else 0.0
        integers = [min(max(round(v / scale - half), -(levels // 2)), (levels - 1) // 2) for v in x]
        return scale, [scale * (code + half) for code in integers]
    zero = min(max(round(-lowest / scale), 0), levels - 1)
    return scale, [scale * (min(max(round(v / scale + zero), 0), levels - 1) - zero) for v in x]


@given(rows, st.sampled_from((2, 3, 4, 7, 16, 256)), kinds)
def test_the_full_range_is_that_of_the_formula(x, levels, kind):
    """``s = 2 max|x|/(K − 1)``, ``2 max|x|/K``, or ``(max − min)/(K − 1)`` with zero and ``round(−min/s)`` levels below it."""
    grid = row_grid(x, levels, grid=kind)
    values = grid.values(grid.nearest(x))
    for k, row in enumerate(x.tolist()):
        scale, expected = _one_row(row, *_full_range(row, levels, kind), levels, kind)
        assert grid.scales[k] == scale
        np.testing.assert_allclose(values[k], expected, rtol=rounding(4), atol=0)


@given(rows, st.sampled_from((2, 3, 4, 16, 256)), kinds, rules)
def test_codes_are_those_of_the_record(x, levels, kind, rule):
    """Integers within the range of a fixed model, and values as a decoder computes them, to the bit."""
    grid = row_grid(x, levels, grid=kind, range_rule=rule)
    integers = grid.nearest(x)
    assert integers.min() >= grid.integer_min == -(levels // 2)
    assert integers.max() <= grid.integer_max == grid.integer_min + levels - 1
    record = ScalarSymbols(
        integers,
        UniformGrid(
            1.0,
            offset=grid.offset,
            levels=levels,
            rows=RowScales(grid.scales[:, None], None if grid.zero_points is None else grid.zero_points[:, None]),
        ),
        Uniform(),
    )
    basis = Basis(len(x), np.ones(x.shape[1], dtype=bool))
    np.testing.assert_array_equal(reconstruct(QuantizedWeight(basis, record)), grid.values(integers))
    # a code is the nearest of all, so that every level is its own
    np.testing.assert_array_equal(grid.nearest(grid.values(integers))[grid.scales > 0], integers[grid.scales > 0])


@given(rows, st.sampled_from((2, 4, 15, 256)), kinds)
def test_no_weight_is_further_than_half_a_step_from_its_level(x, levels, kind):
    """Up to what rounding the step takes from the range, at most ``K s 2^-8``, and for a shifted grid its shift to a level at zero,
    which leaves the ends within half a step of theirs. An even number of levels around zero ends a step short of max above."""
    grid = row_grid(x, levels, grid=kind)
    error = np.abs(grid.values(grid.nearest(x)) - x)
    end = 0.5 + 0.5 * (kind == "symmetric" and levels % 2 == 0)
    assert (error <= grid.scales[:, None] * (end + levels * BFLOAT16) * (1 + rounding(4))).all()


@given(rows, st.sampled_from((2, 3, 16, 256)), rules)
@example(np.array([[0.0, 0.0], [1.0, 2.0], [-1.0, -2.0], [-3.0, 1.0]]), 4, "mse")
def test_a_shifted_grid_has_a_level_at_zero(x, levels, rule):
    grid = row_grid(x, levels, grid="asymmetric", range_rule=rule)
    zeros = np.zeros_like(x)
    assert (grid.values(grid.nearest(zeros)) == 0).all()
    assert grid.zero_points.dtype == np.int8


def test_weights_of_one_sign_use_all_levels():
    """The range includes zero: at one end of the grid, as a symmetric grid has it in the middle."""
    grid = row_grid(np.array([[1.0, 30.0], [-1.0, -30.0]]), 16, grid="asymmetric")
    np.testing.assert_array_equal(grid.scales, [2.0, 2.0])
    np.testing.assert_array_equal(grid.values(np.array([[-8, 7], [-8, 7]], dtype=np.int32)), [[0.0, 30.0], [-30.0, 0.0]])


@given(rows, st.sampled_from((2, 3, 4, 16)), kinds)
def test_the_search_takes_the_range_of_least_error(x, levels, kind):
    """``p = 1 − i/100``, i < 80, of least ``Σ |q − x|^2.4``, one row after another; of equal errors the widest."""
    grid = row_grid(x, levels, grid=kind, range_rule="mse")
    values = grid.values(grid.nearest(x))
    for k, row in enumerate(x.tolist()):
        lowest, step = _full_range(row, levels, kind)
        errors = []
        for i in range(80):
            p = 1 - i / 100
            _, tried = _one_row(row, p * lowest, p * step, levels, kind)
            errors.append(sum(abs(q - v) ** 2.4 for q, v in zip(tried, row, strict=True)))
        # steps of the row: powers of small errors lose digits, and two ranges may be equally good
        found = sum(abs(q - v) ** 2.4 for q, v in zip(values[k].tolist(), row, strict=True))
        assert found <= min(errors) + rounding(10 * len(row)) * step**2.4 * (1 + errors[0] / (step or 1.0) ** 2.4)


def test_the_search_reads_a_large_matrix_in_parts():
    """As each row by itself."""
    x = np.random.default_rng(0).standard_normal((70, 1000))
    whole = row_grid(x, 4, grid="asymmetric", range_rule="mse")
    single = [row_grid(x[k : k + 1], 4, grid="asymmetric", range_rule="mse") for k in (0, 31, 32, 33, 69)]
    np.testing.assert_array_equal(whole.scales[[0, 31, 32, 33, 69]], [grid.scales[0] for grid in single])
    np.testing.assert_array_equal(whole.zero_points[[0, 31, 32, 33, 69]], [grid.zero_points[0] for grid in single])


def test_the_search_clips_normal_weights():
    """Of 1000 normal weights a row the step of four levels that is best for the distribution itself, by quadrature."""
    normal = np.random.default_rng(1).standard_normal((20, 1000))
    x = np.linspace(-8, 8, 4001)
    steps = np.linspace(0.8, 1.5, 701)
    levels = np.clip(np.rint(x / steps[:, None] - 0.5), -2, 1) + 0.5
    best = steps[(np.abs(levels * steps[:, None] - x) ** 2.4 @ np.exp(-(x**2) / 2)).argmin()]
    full, searched = (row_grid(normal, 4, grid="midrise", range_rule=rule).scales for rule in ("absmax", "mse"))
    assert (searched < full).all()
    # candidates are a hundredth of the full range apart, and stored as bfloat16
    budget = STANDARD_ERRORS * searched.std(ddof=1) / 20**0.5 + 0.005 * full.mean() + BFLOAT16 * best
    assert np.mean(searched) == pytest.approx(best, abs=budget)


@given(rows, st.sampled_from((3, 16)), kinds, rules, st.integers(-30, 30))
def test_grids_scale_with_their_weights(x, levels, kind, rule, octaves):
    a, b = (row_grid(y, levels, grid=kind, range_rule=rule) for y in (x, np.ldexp(x, octaves)))
    np.testing.assert_array_equal(b.scales, np.ldexp(a.scales, octaves))
    assert kind != "asymmetric" or (a.zero_points == b.zero_points).all()


def test_zeros_and_no_columns_have_a_grid():
    for x in (np.zeros((3, 4)), np.zeros((3, 0))):
        for kind in ("symmetric", "asymmetric", "midrise"):
            grid = row_grid(x, 4, grid=kind, range_rule="mse")
            assert (grid.scales == 0).all()
            assert (grid.values(grid.nearest(x)) == 0).all()


def test_single_precision_has_the_grid_of_its_numbers():
    x = np.random.default_rng(2).standard_normal((40, 30)).astype(np.float32)
    for rule in ("absmax", "mse"):
        a, b = (row_grid(y, 16, grid="asymmetric", range_rule=rule) for y in (x, x.astype(np.float64)))
        np.testing.assert_array_equal(a.scales, b.scales)
        assert a.in_steps(x).dtype == np.float32
        # a weight within rounding of the middle between two levels may go either way
        steps = b.in_steps(x.astype(np.float64))
        differ = a.nearest(x) != b.nearest(x.astype(np.float64))
        assert (np.abs(np.abs(steps - np.rint(steps)) - 0.5)[differ] < 16 * np.finfo(np.float32).eps).all()


def test_ranges_need_not_be_stored_as_they_are():
    """A grid of any scales rounds on them: exact ones, for comparison with other programs."""
    grid = RowGrid(16, np.array([0.1]), np.array([-3], dtype=np.int8))
    assert grid.nearest(np.array([[-0.5, 0.0, 0.14, 9.0]])).tolist() == [[-8, -3, -2, 7]]


@pytest.mark.parametrize("scale", [1e-44, 1e44])
def test_scales_that_do_not_fit_a_file_are_refused(scale):
    x = np.array([[1.0, -2.0], [0.0, 0.0], [1.0, 3.0]])
    x[2] *= scale
    with pytest.raises(ScaleOutOfRange, match=r"tiny: .*float32 scale"):
        row_grid(x, 4, name="tiny")
