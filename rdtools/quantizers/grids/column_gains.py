"""Column scales of a decoder, and gains put into them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rdtools.arrays import Float64Array, Matrix
from rdtools.coding import codec_of, column_scales, round_to_bfloat16, spread_groups
from rdtools.records import Gains, ScalarSymbols


def point_values(symbols: ScalarSymbols) -> Matrix:
    """(m, r) what the integers stand for, in the basis that was quantized."""
    return codec_of(symbols).values(symbols, symbols.integers.shape[1])


def part_values(symbols: ScalarSymbols, rows: slice, columns: slice) -> Matrix:
    """`point_values` of some rows and columns."""
    part = codec_of(symbols).part_values
    assert part is not None  # scalar integers are decoded one by one
    return part(symbols, symbols.integers.shape[1], rows, columns)


def widest_steps(symbols: ScalarSymbols) -> Float64Array:
    """(r,) largest distance over the rows between neighbouring points of each column: steps times fitted gains and row scales."""
    steps, rows = symbols.column_steps, symbols.grid.rows
    steps = steps if symbols.gains.columns is None else steps * symbols.gains.columns
    if rows is None:
        return steps
    return np.asarray(steps * spread_groups(rows.scales.max(axis=0, keepdims=True), rows.group_size, len(steps))[0])


def without_column_gains(symbols: ScalarSymbols) -> ScalarSymbols:
    """The integers that `with_column_gains` begins with: no gains, and no steps but one unless the code model needs them."""
    if symbols.model.gaussian:
        return replace(symbols, gains=replace(symbols.gains, columns=None))
    return replace(symbols, grid=replace(symbols.grid, exponents=None), gains=Gains())


def with_column_gains(symbols: ScalarSymbols, gains: Float64Array) -> ScalarSymbols:
    """Integers with the gain of each column multiplied by a number, and stored in bfloat16.

    Only the Gaussian models of columns need to know steps: under any other model a step, the gain that follows from it and the stored gain
    become one number of 16 bits, as in the paper; coded steps alone take some 3 bits each.

    Parameters
    ----------
    symbols : as `rdtools.records.ScalarSymbols`
    gains : (r,) ≥ 0, what the present scales are multiplied by
    """
    bare = without_column_gains(symbols)
    return replace(bare, gains=replace(bare.gains, columns=round_to_bfloat16(gains * column_scales(symbols) / column_scales(bare))))
