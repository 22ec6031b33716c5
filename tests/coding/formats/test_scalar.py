from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from golden_weights import example

from rdtools.coding import decode, encode, reconstruct, scalar_code_length
from rdtools.coding.formats import codec_of
from rdtools.coding.formats.scalar import clipped_fraction
from rdtools.measure.point import same_weight
from rdtools.records import Basis, Gains, GaussianModel, QuantizedWeight, RowScales, ScalarSymbols, SharedHistogram, Uniform, UniformGrid


def test_reconstruction_by_hand():
    """Column steps 0.5, 0.5·2^(3/8), 2; the dead column is zero."""
    symbols = example(gains=Gains()).symbols
    symbols = dataclasses.replace(symbols, grid=dataclasses.replace(symbols.grid, rows=RowScales(np.array([[1.0], [2.0]]))))
    weight = QuantizedWeight(Basis(2, np.array([True, False, True, True])), symbols)
    step = 0.5 * 2 ** (3 / 8)
    expected = [[0, 0, step, -6], [0, 0, 4 * step, 20]]
    np.testing.assert_allclose(reconstruct(weight), expected, rtol=1e-15)


def test_reconstruction_of_groups_zero_points_and_gains_by_hand():
    """Two groups of two columns and one of one: scale · gain · step · (z + ½ − zero), then column scales."""
    symbols = ScalarSymbols(
        integers=np.array([[1, 2, 3, 0, 1]], dtype=np.int32),
        grid=UniformGrid(1.0, levels=4, rows=RowScales(np.array([[1.0, 10.0, 100.0]]), np.array([[0, 1, 2]], dtype=np.int8), group_size=2)),
        model=Uniform(),
        gains=Gains(columns=np.array([1.0, 1.0, 0.5, 1.0, 1.0])),
    )
    weight = QuantizedWeight(Basis(1, np.ones(5, dtype=bool), None, None, np.array([1.0, 1.0, 1.0, 1.0, 2.0])), symbols)
    assert reconstruct(weight).tolist() == [[1.0, 2.0, 10.0, -10.0, -200.0]]


def test_levels_halve_with_every_octave_of_step_begun_and_a_single_level_is_zero():
    """16 levels: steps 0, 1/8, 1, 9/8, 4 and 5 octaves above the finest have 16, 8, 8, 4, 1 and 1."""
    exponents = np.array([0, 1, 8, 9, 32, 40], dtype=np.uint8)
    symbols = ScalarSymbols(np.zeros((1, 6), dtype=np.int32), UniformGrid(1.0, exponents, offset=0.5, levels=16), Uniform())
    assert symbols.grid.column_levels(6).tolist() == [16, 8, 8, 4, 1, 1]
    weight = QuantizedWeight(Basis(1, np.ones(6, dtype=bool)), symbols)
    assert codec_of(weight.symbols).length_bits(weight.symbols) == pytest.approx(4 + 3 + 3 + 2)
    assert reconstruct(weight)[0, -1] == 0
    assert same_weight(decode(encode(weight).data), weight)


def test_a_single_expected_code_has_no_negative_length():
    zeros = ScalarSymbols(np.zeros((20, 16), dtype=np.int32), UniformGrid(1.0), GaussianModel())
    assert scalar_code_length(zeros)[0] == 0


def test_the_edge_share_counts_codes_at_the_ends_of_their_own_levels():
    """Levels 4 and 2 of columns an octave apart, and a single level that is no end of anything."""
    integers = np.array([[-2, -1, 0], [1, 0, 0], [0, 0, 0], [-1, -1, 0]], dtype=np.int32)
    symbols = ScalarSymbols(integers, UniformGrid(1.0, np.array([0, 8, 16], dtype=np.uint8), offset=0.5, levels=4), Uniform())
    assert clipped_fraction(symbols) == (2 + 4 + 0) / 12
    assert np.isnan(clipped_fraction(ScalarSymbols(integers, UniformGrid(1.0), SharedHistogram())))
