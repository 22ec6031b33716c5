"""Scales of columns and rows fitted to integers that are already decided, for any method whose container has a place for them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.coding import reconstruct, round_to_bfloat16
from rdtools.ops import quadratic_form
from rdtools.quantizers.search.rescalers import fit_rescalers, round_columns
from rdtools.records import QuantizedWeight, RowScales, ScalarSymbols
from rdtools.records.quantized import NO_PARTS

Rescaled = Literal["none", "columns", "rows", "columns and rows"]
#: Bits per weight that halving the distortion is worth: what finer steps cost at high rate.
BITS_PER_OCTAVE = 0.5
#: In place of a column scale of zero; a power of two, so that scales stay numbers of bfloat16.
_NEXT_TO_NOTHING = 2.0**-20


def _takes_rows(weight: QuantizedWeight) -> bool:
    """True if row scales have a place: beside integers on a uniform grid without any, whose rows are not rotated."""
    symbols = weight.symbols
    return isinstance(symbols, ScalarSymbols) and symbols.grid.rows is None and weight.basis.row_rotation is None


def rescaled_weight(weight: QuantizedWeight, ideal: Float64Array, gram: Float64Array) -> tuple[QuantizedWeight, Rescaled]:
    """``diag(t) Ŵ₀ diag(γ)`` nearest to an ideal, with the scales that pay for themselves.

    The error is ``tr((O − V) G (O − V)ᵀ)``. A choice that brings it from E₀ to E, its scales as stored, is worth ½ log2(E₀/E) bits per
    coded weight; from that its 16 bits per column or row are taken, and the choice of most remains, none if no other is worth anything.
    Column scales multiply those of the basis, which are there for every codec, behind a rotation too; row scales only have a place beside
    integers on a uniform grid that has none.

    Parameters
    ----------
    weight : decided
    ideal : O (m, n)
    gram : G (n, n), damped

    References
    ----------
    WaterSIC, arXiv 2603.04956 v1, Algorithm 4; when to store them is derived for this project.
    """
    active = weight.basis.active
    if weight.parts != NO_PARTS or not active.any():
        return weight, "none"
    values = np.ascontiguousarray(reconstruct(weight)[:, active])
    if not values.any():
        return weight, "none"
    aim, form = np.ascontiguousarray(ideal[:, active]), gram[np.ix_(active, active)]
    m, r = values.shape
    ones, before = np.ones(r), np.ones(r) if weight.basis.column_scales is None else weight.basis.column_scales
    room = _takes_rows(weight)

    def stored(t: Float64Array | None, gamma: Float64Array) -> tuple[QuantizedWeight, float, int]:
        """The weight with these scales as they are stored, its error, and the bits that they add."""
        rows = None if t is None else round_to_bfloat16(t)
        scaled = values if rows is None else rows[:, None] * values
        bare, scales, basis, symbols = scaled / before, before, weight.basis, weight.symbols
        if gamma is not ones:
            solved = round_columns(form * (bare.T @ bare), before * gamma)
            scales = np.where(solved > 0, solved, _NEXT_TO_NOTHING * before)  # which has an inverse
            basis = replace(basis, column_scales=scales)
        if rows is not None and isinstance(symbols, ScalarSymbols):
            symbols = replace(symbols, grid=replace(symbols.grid, rows=RowScales(rows[:, None])))
        error = float(quadratic_form(aim - bare * scales, form).sum())
        bits = (0 if rows is None else 16 * m) + (16 * r if gamma is not ones and weight.basis.column_scales is None else 0)
        return replace(weight, basis=basis, symbols=symbols), error, bits

    fitted = fit_rescalers(values, form, aim, ones, rows=False).columns
    choices: dict[Rescaled, tuple[QuantizedWeight, float, int]] = {"none": stored(None, ones), "columns": stored(None, fitted)}
    if room:
        both = fit_rescalers(values, form, aim, ones)
        choices["columns and rows"] = stored(both.rows, both.columns)
        cross = aim @ form
        energy = quadratic_form(values, form)
        alone = np.where(energy > 0, np.maximum(np.einsum("ij,ij->i", values, cross), 0) / np.where(energy > 0, energy, 1), 1.0)
        choices["rows"] = stored(alone, ones)

    def bits(name: Rescaled) -> float:
        _, error, added = choices[name]
        return float(BITS_PER_OCTAVE * m * r * math.log2(max(error, np.finfo(np.float64).tiny)) + added)

    best = min(choices, key=bits)
    return choices[best][0], best
