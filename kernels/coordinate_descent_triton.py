"""Greedy coordinate descent on the GPU: a thin triangle in registers, the rest as matrix products.

The sums are those of `rdtools.kernels.coordinate_descent_numba`: a panel's columns of E H are one large product with the errors as they are
when the panel begins, a strip's changes reach the rest of the panel by a small one, and columns of a strip each other in registers.
"""

from __future__ import annotations

import numpy as np
import torch
import triton  # type: ignore[import-not-found, import-untyped, unused-ignore]
import triton.language as tl  # type: ignore[import-not-found, import-untyped, unused-ignore]
from rdtools.kernels._triton import divide, rint
from rdtools.kernels.coordinate_descent_reference import tie
from rdtools.kernels.sic_sweep_reference import integer_range
from rdtools.kernels.sic_sweep_triton import exact_products
from torch import Tensor

from rdtools.arrays import dtype_name

#: Columns of a panel, columns of a strip and rows of a program, both powers of two: heuristics, not tuned on a device.
PANEL, STRIP, ROWS = 512, 64, 16


@triton.jit(do_not_specialize=["start", "p"])  # type: ignore[untyped-decorator, unused-ignore]
def _move_strip(  # type: ignore[no-untyped-def]
    weight, moment, n, steps, constants, gradient, gradient_row, integers, error, change, moved, m, start, p,
    WIDTH: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Move the integers of columns start … start + p − 1 of a block of rows, one column after another; gradient is E H before.

    Writes integers, errors and what the values changed by, (m, p), and raises the program's own flag where an integer moved.
    """
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, WIDTH)
    inside = (rows[:, None] < m) & (columns[None, :] < p)
    column_index = start.to(tl.int64) + columns
    here_of_all = rows[:, None] * n + column_index[None, :]
    g = tl.load(gradient + rows[:, None] * gradient_row + columns[None, :], mask=inside, other=0.0)
    z = tl.load(integers + here_of_all, mask=inside, other=0).to(g.dtype)
    d = tl.zeros((ROWS, WIDTH), dtype=g.dtype)
    offset, lowest, highest, stay = tl.load(constants), tl.load(constants + 1), tl.load(constants + 2), tl.load(constants + 3)
    for i in range(0, p):
        column = start.to(tl.int64) + i
        is_current = columns[None, :] == i
        row = tl.load(moment + column * n + column_index, mask=(columns > i) & (columns < p), other=0.0)
        pivot, step = tl.load(moment + column * n + column), tl.load(steps + column)
        z_i = tl.sum(tl.where(is_current, z, 0.0), axis=1)
        move = divide(tl.sum(tl.where(is_current, g, 0.0), axis=1), pivot * step + tl.zeros_like(z_i))
        q = tl.where(tl.abs(move) > stay, tl.minimum(tl.maximum(z_i + rint(move), lowest), highest), z_i)
        d_i = (q - z_i) * step
        g -= d_i[:, None] * row[None, :]
        z = tl.where(is_current, q[:, None], z)
        d = tl.where(is_current, d_i[:, None], d)
    w = tl.load(weight + here_of_all, mask=inside, other=0.0)
    step = tl.load(steps + column_index, mask=columns < p, other=0.0)
    tl.store(integers + here_of_all, z.to(tl.int32), mask=inside)
    tl.store(error + here_of_all, w - step[None, :] * (z + offset), mask=inside)  # from the code, so that no error is carried on
    tl.store(change + rows[:, None] * p + columns[None, :], d, mask=inside)
    flag = moved + tl.program_id(0)
    tl.store(flag, tl.maximum(tl.load(flag), tl.max(tl.where(inside & (d != 0), 1, 0))))


def coordinate_descent(
    weight: Tensor,  # (m, n)
    moment: Tensor,  # (n, n)
    integers: Tensor,  # (m, n)
    steps: Tensor,  # (n,)
    order: Tensor,  # (n,)
    *,
    offset: float = 0.0,
    integer_min: int,
    integer_max: int,
    passes: int,
) -> tuple[Tensor, int]:
    """Same as `rdtools.kernels.coordinate_descent_reference.coordinate_descent`, for tensors on one device; waits for it once a pass."""
    (m, n), dtype = weight.shape, np.dtype(dtype_name(weight))
    W, H = weight[:, order].contiguous(), moment[order][:, order].to(weight.dtype).contiguous()
    alpha, z = steps[order].to(weight.dtype), integers[:, order].contiguous()
    numbers = (offset, *map(float, integer_range(integer_min, integer_max, dtype)), float(tie(dtype)))
    constants = torch.cat([torch.full((1,), number, dtype=W.dtype, device=W.device) for number in numbers])
    error = W - alpha * (z.to(W.dtype) + constants[0])
    gradients, changes = (torch.empty(m * size, dtype=W.dtype, device=W.device) for size in (min(PANEL, n), min(STRIP, n)))
    programs = triton.cdiv(m, ROWS)
    used, moving = 0, m * n > 0
    with exact_products(W):
        while used < passes and moving:
            moved = torch.zeros(programs, dtype=torch.int32, device=W.device)
            for first in range(0, n, PANEL):
                last = min(first + PANEL, n)
                gradient = torch.matmul(error, H[:, first:last], out=gradients[: m * (last - first)].view(m, last - first))
                for start in range(first, last, STRIP):
                    stop = min(start + STRIP, last)
                    change = changes[: m * (stop - start)].view(m, stop - start)
                    _move_strip[(programs,)](
                        W, H, n, alpha, constants, gradient[:, start - first :], gradient.stride(0), z, error, change, moved,
                        m, start, stop - start, WIDTH=STRIP, ROWS=ROWS, enable_fp_fusion=False,
                    )  # fmt: skip
                    if stop < last:
                        gradient[:, stop - first :].addmm_(change, H[start:stop, stop:last], alpha=-1)
            used, moving = used + 1, bool(moved.any())
    placed = torch.empty_like(integers)
    placed[:, order] = z
    return placed, used if m * n else min(passes, 1)
