"""Integers on grids that belong to rows and groups of neighbouring columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import (
    Matrix,
    as_dtype,
    beside,
    contiguous,
    dtype_name,
    empty_like,
    is_tensor,
    put_columns,
    set_columns,
    take_columns,
    zeros,
)
from rdtools.ops import sic_sweep
from rdtools.quantizers.grids.row import RowGrid
from rdtools.quantizers.rounding.block_ldlq import block_ldlq, pad_problem

#: Makes the grids of the rows of some columns.
Fit = Callable[[Matrix], RowGrid]


@dataclass(frozen=True, eq=False)
class GroupedIntegers:
    """Integers of all columns, and the grids of each group.

    Attributes
    ----------
    integers : (m, r) int32
    grids : of the groups, in the order of their columns
    values : (m, r), what was fed back; None where it was not kept
    """

    integers: Matrix
    grids: list[RowGrid]
    values: Matrix | None = None


def _groups(columns: int, group_size: int) -> list[slice]:
    """Columns of each group, of which there is one at least; the last one holds what is left."""
    return [slice(first, min(first + group_size, columns)) for first in range(0, max(columns, 1), group_size)]


def round_groups(weight: Matrix, group_size: int, fit: Fit) -> GroupedIntegers:
    """Round each group of columns to nearest on a grid of its own.

    Parameters
    ----------
    weight : (m, r)
    group_size : columns in a group, the last group holding what is left
    fit : makes the grids
    """
    parts = _groups(weight.shape[1], group_size)
    grids = [fit(weight[:, part]) for part in parts]
    integers = [grid.nearest(weight[:, part]) for grid, part in zip(grids, parts, strict=True)]
    return GroupedIntegers(_joined(integers), grids)


def _joined(parts: list[Matrix]) -> Matrix:
    if not is_tensor(parts[0]):
        return np.concatenate(parts, axis=1)
    import torch

    return torch.cat(parts, dim=1)


def sweep_groups(
    weight: Matrix,  # (m, r)
    factor: Matrix,  # (r, r), lower triangular
    order: NDArray[np.intp],  # (r,)
    group_size: int,
    fit: Fit,
    *,
    dynamic: bool = False,
    keep: bool = False,
    backend: str | None = None,
) -> GroupedIntegers:
    """Successive cancellation on grids of groups: clamped integers, whose whole error is fed back.

    Where columns are decided from one end to the other a group is a block of `block_ldlq`, inside of which the scales of a row are equal
    and one sweep decides. In other orders each column is a block of its own, which takes up to twice as long.

    Parameters
    ----------
    weight : (m, r) float64 or float32, which everything but the grids is computed in
    factor : (r, r), L, columns in `order`
    order : (r,) columns of the weights in the order of the factor's, the last decided first
    group_size : columns in a group, counted from the first; the last group holds what is left
    fit : makes the grids
    dynamic : from the targets of a group when its first column is decided, instead of from the weights; the columns of each group must
        be decided together, first to last or last to first
    keep : what was fed back too, in as much memory as the weights take
    backend : None, "numba" or "reference"

    References
    ----------
    Frantar et al., GPTQ, arXiv 2210.17323 (grouping; static groups in the reference implementation).
    """
    r = weight.shape[1]
    parts = _groups(r, group_size)
    natural = np.arange(r)
    ascending = np.array_equal(order, natural)
    by_groups = ascending or np.array_equal(order, natural[::-1])
    assert by_groups or not dynamic  # `GPTQ` refuses that
    # without any column the one group there is never starts
    grids = {} if dynamic and r else {group: fit(weight[:, part]) for group, part in enumerate(parts)}
    dtype = dtype_name(weight)
    integers = empty_like(weight, "int32")
    ordered, L = take_columns(weight, order), factor
    if ascending:  # blocks count from the last column, groups from the first
        ordered, L = pad_problem(ordered, factor, 1, group_size)
        ordered = as_dtype(ordered, dtype)

    def round_group(targets: Matrix, first_column: int) -> Matrix:
        columns = order[first_column : first_column + targets.shape[1]]
        width = len(columns)
        group_targets, inner = targets[:, :width], slice(first_column, first_column + width)
        group = int(columns.min()) // group_size
        if dynamic:
            grids[group] = fit(group_targets)
        grid = grids[group]
        block, _ = sic_sweep(
            grid.in_steps(group_targets),
            contiguous(factor[inner, inner]),
            beside(np.ones(width), weight),
            offset=grid.offset,
            integer_min=grid.integer_min,
            integer_max=grid.integer_max,
            residual=False,
            backend=backend,
        )
        set_columns(integers, columns, block)
        rounded = as_dtype(zeros(tuple(targets.shape), targets), dtype)
        rounded[:, :width] = grid.values(block)
        return rounded

    def round_column(targets: Matrix, first_column: int) -> Matrix:
        column = int(order[first_column])
        grid = grids[column // group_size]
        nearest = grid.nearest(targets)
        integers[:, column] = nearest[:, 0]
        return as_dtype(grid.values(nearest), dtype)

    block, rule = (group_size, round_group) if by_groups else (1, round_column)
    rounded = block_ldlq(ordered, L, block, rule, keep=keep)
    values = put_columns(rounded[:, :r], order) if keep else None
    return GroupedIntegers(integers, [grids[group] for group in range(len(parts))], values)
