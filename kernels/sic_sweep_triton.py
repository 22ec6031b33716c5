"""Successive interference cancellation on the GPU: a thin triangle in registers, the rest as matrix products.

The sums are those of `rdtools.kernels.sic_sweep_numba`: errors ``e_k = w_k − ŵ_k`` are carried instead of Y, later panels feed back by one
large matrix product, later strips of the panel by a small one, later columns of the strip in registers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
import triton  # type: ignore[import-not-found, import-untyped, unused-ignore]
import triton.language as tl  # type: ignore[import-not-found, import-untyped, unused-ignore]
from rdtools.kernels._triton import divide, rint, uniform
from rdtools.kernels.sic_sweep_reference import integer_range
from rdtools.kernels.sic_sweep_torch import gain_at
from torch import Tensor

from rdtools.devices import float32_products

#: Columns of a panel, columns of a strip and rows of a program, both powers of two: heuristics, not tuned on a device.
PANEL, STRIP, ROWS = 512, 64, 16


@contextmanager
def exact_products(x: Tensor) -> Iterator[None]:
    """On x's device, with matrix products of float32 in float32, see `rdtools.devices.float32_products`."""
    if x.device.type != "cuda":
        yield
        return
    with torch.cuda.device(x.device), float32_products("cuda") if x.dtype == torch.float32 else nullcontext():
        yield


@triton.jit(do_not_specialize=["start", "p", "key_low", "key_high"])  # type: ignore[untyped-decorator, unused-ignore]
def _decide_strip(  # type: ignore[no-untyped-def]
    weight, weight_row, weight_column, feedback, feedback_row, factor, n, widths, scales, constants, integers, error, residual,
    m, start, p, key_low, key_high,
    WIDTH: tl.constexpr, ROWS: tl.constexpr, STOCHASTIC: tl.constexpr, KEEPS_RESIDUAL: tl.constexpr,
):  # fmt: skip
    """Decide columns start … start + p − 1 of a block of rows, which are decided by one program from the last column to the first."""
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, WIDTH)
    inside = (rows[:, None] < m) & (columns[None, :] < p)
    column_index = start.to(tl.int64) + columns
    e = tl.load(weight + rows[:, None] * weight_row + column_index[None, :] * weight_column, mask=inside, other=0.0)
    y = tl.load(feedback + rows[:, None] * feedback_row + columns[None, :], mask=inside, other=0.0)
    z = tl.zeros((ROWS, WIDTH), dtype=tl.int32)
    offset, lowest, highest = tl.load(constants), tl.load(constants + 1), tl.load(constants + 2)
    for k in range(0, p):
        i = p - 1 - k
        column = start.to(tl.int64) + i
        is_current = columns[None, :] == i
        row = tl.load(factor + column * n + column_index, mask=columns < i, other=0.0)
        pivot, width, scale = tl.load(factor + column * n + column), tl.load(widths + column), tl.load(scales + column)
        e_i = tl.sum(tl.where(is_current, e, 0.0), axis=1)
        y_i = tl.sum(tl.where(is_current, y, 0.0), axis=1)
        x = divide(e_i * pivot + y_i, width + tl.zeros_like(y_i)) - offset
        q = tl.floor(x + uniform(key_low, key_high, rows, column)) if STOCHASTIC else rint(x)
        q = tl.minimum(tl.maximum(q, lowest), highest)
        e_i = e_i - scale * (q + offset)
        y = tl.where(is_current, (y_i + e_i * pivot)[:, None], y + e_i[:, None] * row[None, :])
        e = tl.where(is_current, e_i[:, None], e)
        z = tl.where(is_current, q.to(tl.int32)[:, None], z)
    out = rows[:, None] * n + column_index[None, :]
    tl.store(integers + out, z, mask=inside)
    tl.store(error + out, e, mask=inside)
    if KEEPS_RESIDUAL:
        tl.store(residual + out, y, mask=inside)


def _key(seed: int | None) -> tuple[int, int]:
    """Halves of the seed as signed integers of 32 bits, the type that every launch then has."""
    low, high = (seed or 0) % 2**32, (seed or 0) >> 32
    return low - 2**32 * (low >= 2**31), high - 2**32 * (high >= 2**31)


def _constants(offset: float, integer_min: int, integer_max: int, weight: Tensor) -> Tensor:
    """Offset and range in W's dtype; as arguments Triton would round them to float32."""
    dtype = np.dtype(str(weight.dtype).removeprefix("torch."))
    numbers = (offset, *map(float, integer_range(integer_min, integer_max, dtype)))
    # filled on the device: copied from the host they would wait for everything before
    return torch.cat([torch.full((1,), number, dtype=weight.dtype, device=weight.device) for number in numbers])


def _strips(L: Tensor, error: Tensor, outer_space: Tensor, strip: int) -> Iterator[tuple[int, int, Tensor]]:
    """Start, width and feedback (m, width) of the strips from the last to the first; who takes one writes its error before the next."""
    n = error.shape[1]
    for first in range((n - 1) // PANEL * PANEL, -1, -PANEL):
        last = min(first + PANEL, n)
        outer = outer_space[:, : last - first]
        if last < n:
            torch.matmul(error[:, last:], L[last:, first:last], out=outer)
        else:
            outer.zero_()
        for start in range(first + (last - first - 1) // strip * strip, first - 1, -strip):
            stop = min(start + strip, last)
            y = outer[:, start - first : stop - first]
            if stop < last:
                y.addmm_(error[:, stop:last], L[stop:last, start:stop])
            yield start, stop - start, y


def sic_sweep(
    weight: Tensor,  # (m, n)
    factor: Tensor,  # (n, n), lower triangular
    steps: Tensor,  # (n,)
    gains: Tensor,  # (n,)
    *,
    offset: float = 0.0,
    integer_min: int,
    integer_max: int,
    seed: int | None = None,
    residual: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """Same as `rdtools.kernels.sic_sweep_reference.sic_sweep`, for tensors on one device.

    Everything is in W's dtype, float32 never as TF32; in the triangle products are rounded before they are added, as on the CPU.
    """
    m, n = weight.shape
    L = factor.to(weight.dtype).contiguous()
    steps, gains = steps.to(weight.dtype), gains.to(weight.dtype)
    widths, scales = steps * L.diagonal(), gains * steps
    constants = _constants(offset, integer_min, integer_max, weight)
    integers = torch.empty((m, n), dtype=torch.int32, device=weight.device)
    error = torch.empty((m, n), dtype=weight.dtype, device=weight.device)
    final = torch.empty((m, n) if residual else (1, 1), dtype=weight.dtype, device=weight.device)
    outer = torch.empty((m, min(PANEL, n)), dtype=weight.dtype, device=weight.device)
    if m * n == 0:
        return integers, final if residual else None
    with exact_products(weight):
        for start, width, y in _strips(L, error, outer, STRIP):
            _decide_strip[(triton.cdiv(m, ROWS),)](
                weight, weight.stride(0), weight.stride(1), y, y.stride(0), L, n, widths, scales, constants, integers, error, final,
                m, start, width, *_key(seed),
                WIDTH=STRIP, ROWS=ROWS, STOCHASTIC=seed is not None, KEEPS_RESIDUAL=residual, enable_fp_fusion=False,
            )  # fmt: skip
    return integers, final if residual else None


def sic_sweep_sample_gains(
    weight: Tensor,  # (m, n)
    factor: Tensor,  # (n, n), lower triangular
    steps: Tensor,  # (n,)
    *,
    offset: float = 0.0,
    integer_min: int,
    integer_max: int,
    seed: int | None = None,
    residual: bool = True,
    gain_curve: Tensor | None = None,  # (2, K)
    overwrite: bool = False,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Same as `rdtools.kernels.sic_sweep_reference.sic_sweep_sample_gains`; a few launches a column, because rows wait for each other."""
    m, n = weight.shape
    L = factor.to(weight.dtype).contiguous()
    steps = steps.to(weight.dtype)
    widths, scales = steps * L.diagonal(), torch.zeros_like(steps)
    constants = _constants(offset, integer_min, integer_max, weight)
    integers = torch.empty((m, n), dtype=torch.int32, device=weight.device)
    error = torch.empty((m, n), dtype=weight.dtype, device=weight.device)
    final = torch.empty((m, n) if residual else (1, 1), dtype=weight.dtype, device=weight.device)
    outer = torch.empty((m, min(PANEL, n)), dtype=weight.dtype, device=weight.device)
    gains = torch.ones(n, dtype=torch.float64, device=weight.device)
    if m * n == 0:
        return integers, gains, final if residual else None
    with exact_products(weight):
        for start, width, y in _strips(L, error, outer, STRIP):
            for i in range(start + width - 1, start - 1, -1):
                y_i = y[:, i - start]
                # with a scale of zero it decides the code and leaves the error to the gain that the integers of all rows give
                _decide_strip[(triton.cdiv(m, ROWS),)](
                    weight, weight.stride(0), weight.stride(1), y_i, y.stride(0), L, n, widths, scales, constants, integers, error, final,
                    m, i, 1, *_key(seed),
                    WIDTH=1, ROWS=ROWS, STOCHASTIC=seed is not None, KEEPS_RESIDUAL=False, enable_fp_fusion=False,
                )  # fmt: skip
                points = integers[:, i].to(weight.dtype) + offset
                target = weight[:, i] * L[i, i] + y_i
                p = points.double()
                square = p @ p
                if gain_curve is None:
                    fitted = (p @ target.double()) / (widths[i].double() * square)
                    gains[i] = torch.where(square > 0, fitted, 1.0)
                else:
                    gains[i] = gain_at(gain_curve, square.reshape(1) / m)[0]
                e = weight[:, i] - gains[i].to(weight.dtype) * steps[i] * points
                error[:, i] = e
                if residual:
                    final[:, i] = y_i + e * L[i, i]
                y[:, : i - start].addr_(e, L[i, start:i])
    return integers, gains, final if residual else None
