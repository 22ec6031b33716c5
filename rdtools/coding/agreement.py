"""Parts of a quantized weight that do not belong together: refused before a file is written that would read as damaged."""

from __future__ import annotations

from typing import get_args

import numpy as np

from rdtools.coding.formats import codec_of
from rdtools.errors import ShapeMismatch, UsageError, WrongType
from rdtools.records import ActivationGrid, Basis, LowRank, QuantizedWeight, Rotation, RotationKind, RowBias
from rdtools.records.grids import check_array
from rdtools.transforms import is_hadamard_order

#: Rows or columns that a file may hold: a forged size is refused before memory is taken.
MAX_SIDE = 2**24


def rotation_fault(rotation: Rotation, order: int) -> str:
    """A sentence on what is wrong with a rotation of so many channels; "" for nothing."""
    if rotation.order != order:
        return f"of order {rotation.order}, expected {order}"
    exists = order >= 1 and (rotation.kind != "hadamard" or is_hadamard_order(order))
    if rotation.kind not in get_args(RotationKind):
        return f"of kind {rotation.kind!r}, expected one of {', '.join(get_args(RotationKind))}"
    return "" if exists else f"of order {order}, expected an order that exists"


def _check_kind(name: str, part: object, kind: type) -> None:
    if part is not None and not isinstance(part, kind):
        raise WrongType(f"encode: {name} of type {type(part).__name__}, expected {kind.__name__} or None")


def _check_array(name: str, array: object, dtype: type[np.generic], length: int | None) -> None:
    if not isinstance(array, np.ndarray):
        raise WrongType(f"encode: {name} of type {type(array).__name__}, expected an array")
    try:
        check_array(name, array, dtype, (length,))
    except ValueError as error:
        raise ShapeMismatch(f"encode: {error}") from error


def _check_basis(basis: Basis) -> int:
    """The number of active columns."""
    rows, active = basis.rows, basis.active
    if not isinstance(rows, int | np.integer):
        raise WrongType(f"encode: {rows!r} rows, expected a whole number")
    _check_array("active columns", active, np.bool_, None)
    if not 0 <= rows <= MAX_SIDE or len(active) > MAX_SIDE:
        raise ShapeMismatch(f"encode: {rows} rows and {len(active)} columns, expected 0 to {MAX_SIDE} of each")
    count = int(active.sum())
    for name, rotation, order in (("rotation", basis.rotation, count), ("row rotation", basis.row_rotation, rows)):
        _check_kind(name, rotation, Rotation)
        fault = "" if rotation is None else rotation_fault(rotation, order)
        if fault:
            raise ShapeMismatch(f"encode: a {name} {fault}")
    if basis.column_scales is not None:
        _check_array("column scales", basis.column_scales, np.float64, count)
        if not (basis.column_scales > 0).all():
            raise UsageError(f"encode: a column scale of {basis.column_scales.min():g}, expected numbers above 0")
    return count


def check_agreement(weight: QuantizedWeight) -> None:
    """Refuse a weight whose basis, symbols and parts have other sizes than each other.

    Raises
    ------
    ShapeMismatch, UsageError, WrongType
    """
    columns, basis, parts = _check_basis(weight.basis), weight.basis, weight.parts
    for name, part, kind in (
        ("activation", parts.activation, ActivationGrid),
        ("low-rank term", parts.low_rank, LowRank),
        ("links", parts.links, tuple),
        ("bias", parts.bias, RowBias),
    ):
        _check_kind(name, part, kind)
    grid, low = parts.activation, parts.low_rank
    if grid is not None and not grid.fine_channels and grid.fine_bits != ActivationGrid.fine_bits:
        raise UsageError(f"encode: {grid.fine_bits} bits of no fine channels, expected {ActivationGrid.fine_bits}, as nothing is stored")
    if low is not None and (low.shape != weight.shape or low.rank > min(weight.shape)):
        raise ShapeMismatch(f"encode: a low-rank term {low.shape} of rank {low.rank} beside {weight.shape}, expected its shape and no more")
    if parts.bias is not None and len(parts.bias.values) != basis.rows:
        raise ShapeMismatch(f"encode: a bias of {len(parts.bias.values)} rows beside {basis.rows}, expected one number per row")
    for link in parts.links:
        if link.inputs != columns or columns < 1:
            raise ShapeMismatch(f"encode: {link!r} behind {columns} channels, expected a link of as many inputs, and one at least")
        columns = link.outputs
    if not codec_of(weight.symbols).fits(weight.symbols, basis.rows, columns):
        raise ShapeMismatch(
            f"encode: {type(weight.symbols).__name__} that are not those of {basis.rows} rows and {columns} coded columns, which the basis "
            "and the links say; make the basis of the matrix that was quantized"
        )
