"""Successive interference cancellation on the CPU: a thin triangle for each row, the rest as matrix products.

Both sweeps carry the errors ``e_k = w_k − ŵ_k`` instead of Y: ``Y_:i = w_i ℓ_ii + Σ_{k>i} e_k L_ki``. So no product W L comes first,
and the m n² operations of the triangular product ``E L`` are all that is done besides rounding. The sum over k has three parts: later
panels, one large matrix product; later columns of the panel, a small one; later columns of the strip, compiled code with rows side by
side.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdtools.kernels._jit import jit
from rdtools.kernels._threads import for_each, thread_count
from rdtools.kernels.philox_numba import uniform
from rdtools.kernels.sic_sweep_reference import integer_range

from rdtools.arrays import Float64Array, FloatArray

#: Columns of a panel: wide enough that the product that feeds it runs at full speed.
PANEL = 512
#: Columns of a strip: with LANES rows, its errors and sums stay in the nearest caches.
STRIP = 64
#: Rows decided side by side: with fewer, LLVM 20 unrolls the innermost loops instead of making vector instructions of them.
LANES = 64
#: Rows that a thread takes through the whole sweep before it takes others, so that their errors take little memory.
ROWS = 512


@jit(nogil=True, error_model="numpy")
def _decide_strip(  # type: ignore[no-untyped-def]
    weight, triangle, widths, scales, offset, lowest, highest, start, outer, skip, inner, has_inner, stochastic, seed, first_row,
    integers, error, residual, keeps_residual, e, y, z,
):  # fmt: skip
    """Decide columns start … start + p − 1; outer[:, skip:] and inner hold what later columns feed back. e, y, z: scratch (p, LANES)."""
    m, p = weight.shape[0], triangle.shape[0]
    for top in range(0, m, LANES):
        rows = min(LANES, m - top)
        for r in range(rows):
            for j in range(p):
                e[j, r] = weight[top + r, start + j]
        if has_inner:
            for r in range(rows):
                for j in range(p):
                    y[j, r] = outer[top + r, skip + j] + inner[top + r, j]
        else:
            for r in range(rows):
                for j in range(p):
                    y[j, r] = outer[top + r, skip + j]
        for i in range(p - 1, -1, -1):
            pivot, width, scale = triangle[i, i], widths[start + i], scales[start + i]
            e_i, y_i, z_i = e[i], y[i], z[i]
            if stochastic:
                for r in range(LANES):
                    x = (e_i[r] * pivot + y_i[r]) / width - offset
                    q = min(max(np.floor(x + uniform(seed, first_row + np.uint64(top + r), np.uint64(start + i))), lowest), highest)
                    z_i[r] = np.int32(q)
                    e_i[r] -= scale * (q + offset)
            else:
                for r in range(LANES):
                    q = min(max(np.rint((e_i[r] * pivot + y_i[r]) / width - offset), lowest), highest)
                    z_i[r] = np.int32(q)
                    e_i[r] -= scale * (q + offset)
            for j in range(i):
                feedback, y_j = triangle[i, j], y[j]
                for r in range(LANES):
                    y_j[r] += e_i[r] * feedback
        for r in range(rows):
            for j in range(p):
                integers[top + r, start + j] = z[j, r]
        for r in range(rows):
            for j in range(p):
                error[top + r, start + j] = e[j, r]
        if keeps_residual:
            for r in range(rows):
                for j in range(p):
                    residual[top + r, start + j] = y[j, r] + e[j, r] * triangle[j, j]


@jit(nogil=True, error_model="numpy")
def _gain_at(gain_curve, q):  # type: ignore[no-untyped-def]
    """The gain at a mean square: on the line between two of the curve, ``1 − 1/(12 q)`` beyond the last."""
    if q > gain_curve[0, -1]:
        return 1.0 - 1.0 / (12.0 * q)
    k = min(max(np.searchsorted(gain_curve[0], q), 1), gain_curve.shape[1] - 1)
    part = max(q - gain_curve[0, k - 1], 0.0) / (gain_curve[0, k] - gain_curve[0, k - 1])
    return gain_curve[1, k - 1] + part * (gain_curve[1, k] - gain_curve[1, k - 1])


@jit(nogil=True, error_model="numpy")
def _load_columns(weight, start, p, outer, skip, inner, has_inner, e, y):  # type: ignore[no-untyped-def]
    """Weights of a strip of p columns and the feedback of all after it, transposed, into e and y."""
    m = weight.shape[0]
    for r in range(m):
        for j in range(p):
            e[j, r] = weight[r, start + j]
            y[j, r] = outer[r, skip + j]
    if has_inner:
        for r in range(m):
            for j in range(p):
                y[j, r] += inner[r, j]


@jit(nogil=True, error_model="numpy")
def _decide_strip_with_sample_gains(  # type: ignore[no-untyped-def]
    triangle, steps, offset, lowest, highest, start, outer, skip, inner, has_inner, stochastic, seed,
    integers, gains, gain_curve, error, residual, keeps_residual, e, y, z, points, targets, scales,
):  # fmt: skip
    """As `_decide_strip`, column by column over all rows, because a gain is a sum over them; by the curve where it has columns. A column of
    `error` holds its weights until it is decided.

    Scratch, with M the rows rounded up to LANES and zeros in the rows beyond m: e, y, z (p, M); points, targets (M,); scales (p,).
    """
    m, p, padded = error.shape[0], triangle.shape[0], e.shape[1]
    _load_columns(error, start, p, outer, skip, inner, has_inner, e, y)
    products, squares = np.zeros(LANES), np.zeros(LANES)
    for i in range(p - 1, -1, -1):
        pivot, step = triangle[i, i], steps[start + i]
        width = step * pivot
        e_i, y_i, z_i = e[i], y[i], z[i]
        for r in range(padded):
            targets[r] = e_i[r] * pivot + y_i[r]
            x = targets[r] / width - offset
            q = np.floor(x + uniform(seed, np.uint64(r), np.uint64(start + i))) if stochastic else np.rint(x)
            q = min(max(q, lowest), highest)
            z_i[r] = np.int32(q)
            points[r] = q + offset
        points[m:] = 0
        products[:] = 0
        squares[:] = 0
        for top in range(0, padded, LANES):
            for r in range(LANES):
                point = np.float64(points[top + r])
                products[r] += point * np.float64(targets[top + r])
                squares[r] += point * point
        square = squares.sum()
        if gain_curve.shape[1] > 0:
            gains[start + i] = _gain_at(gain_curve, square / m)
        else:
            gains[start + i] = products.sum() / (np.float64(width) * square) if square > 0 else 1.0
        scales[i] = gains[start + i]
        scale = scales[i] * step
        for r in range(padded):
            e_i[r] -= scale * points[r]
        for j in range(i):
            feedback, y_j = triangle[i, j], y[j]
            for r in range(padded):
                y_j[r] += e_i[r] * feedback
    for r in range(m):
        for j in range(p):
            integers[r, start + j] = z[j, r]
            error[r, start + j] = e[j, r]
    if keeps_residual:
        for r in range(m):
            for j in range(p):
                residual[r, start + j] = y[j, r] + e[j, r] * triangle[j, j]


def _factor_panels(factor: FloatArray, dtype: np.dtype[Any], threads: int) -> list[FloatArray]:
    """``L[start:, start:stop]`` of the panels from the last to the first, in the dtype of the sweep; views where that is the factor's."""
    n = len(factor)
    panels = [factor[start:, start : start + PANEL] for start in range((n - 1) // PANEL * PANEL, -1, -PANEL)]
    if factor.dtype != dtype:

        def cast(k: int) -> None:
            panels[k] = np.ascontiguousarray(panels[k], dtype=dtype)

        for_each(cast, range(len(panels)), threads)
    return panels


def _strips(panels: list[FloatArray], error: FloatArray) -> Iterator[tuple[int, FloatArray, FloatArray, int, FloatArray, bool]]:
    """Strips from the last to the first, with what later columns feed back to them.

    Whoever takes a strip writes its error before taking the next.

    Yields
    ------
    start, triangle (p, p), outer, skip, inner (m, p), has_inner : the feedback of later panels is outer[:, skip : skip + p], that of
        later strips of the same panel is inner, if there are any
    """
    m, n = error.shape
    outer_space = np.zeros(m * min(PANEL, n), dtype=error.dtype)  # nothing feeds back to the last panel
    inner_space = np.empty(m * STRIP, dtype=error.dtype)
    for panel in panels:
        width = panel.shape[1]
        first = n - len(panel)
        outer = outer_space[: m * width].reshape(m, width)
        if len(panel) > width:
            np.matmul(error[:, first + width :], panel[width:], out=outer)
        for start in range((width - 1) // STRIP * STRIP, -1, -STRIP):
            stop = min(start + STRIP, width)
            inner = inner_space[: m * (stop - start)].reshape(m, stop - start)
            if stop < width:
                np.matmul(error[:, first + stop : first + width], panel[stop:width, start:stop], out=inner)
            triangle = np.array(panel[start:stop, start:stop], order="C")
            yield first + start, triangle, outer, start, inner, stop < width


def sic_sweep(
    weight: FloatArray,  # (m, n)
    factor: FloatArray,  # (n, n), lower triangular
    steps: Float64Array,  # (n,)
    gains: Float64Array,  # (n,)
    *,
    offset: float = 0.0,
    integer_min: int,
    integer_max: int,
    seed: int | None = None,
    residual: bool = True,
) -> tuple[NDArray[np.int32], FloatArray | None]:
    """Same as `rdtools.kernels.sic_sweep_reference.sic_sweep`, faster.

    Beside its results and a factor cast to W's dtype, n²/2 elements, it needs 2·ROWS·n elements a thread.
    """
    (m, n), dtype = weight.shape, weight.dtype
    threads = thread_count()
    panels = _factor_panels(factor, dtype, threads)
    steps = steps.astype(dtype)
    widths, scales = steps * np.diagonal(factor).astype(dtype), gains.astype(dtype) * steps
    lowest, highest = integer_range(integer_min, integer_max, dtype)
    integers = np.empty((m, n), dtype=np.int32)
    final = np.empty((m, n) if residual else (1, 1), dtype=dtype)
    parts = threads * -(-m // (threads * ROWS))
    height = -(-m // max(parts, 1))

    def sweep_rows(top: int) -> None:
        rows = slice(top, min(top + height, m))
        w = np.require(weight[rows], requirements=["C", "W", "A"])  # a layout or read-only flag of its own would be compiled anew
        error = np.empty(w.shape, dtype=dtype)
        e, y = np.zeros((STRIP, LANES), dtype=dtype), np.zeros((STRIP, LANES), dtype=dtype)
        z = np.zeros((STRIP, LANES), dtype=np.int32)
        for start, triangle, outer, skip, inner, has_inner in _strips(panels, error):
            _decide_strip(
                w, triangle, widths, scales, dtype.type(offset), lowest, highest, start, outer, skip, inner, has_inner,
                seed is not None, np.uint64(seed or 0), np.uint64(top),
                integers[rows], error, final[rows] if residual else final, residual, e, y, z,
            )  # fmt: skip

    for_each(sweep_rows, range(0, m, max(height, 1)), threads)
    return integers, final if residual else None


def sic_sweep_sample_gains(
    weight: FloatArray,  # (m, n)
    factor: FloatArray,  # (n, n), lower triangular
    steps: Float64Array,  # (n,)
    *,
    offset: float = 0.0,
    integer_min: int,
    integer_max: int,
    seed: int | None = None,
    residual: bool = True,
    gain_curve: Float64Array | None = None,  # (2, K)
    overwrite: bool = False,
) -> tuple[NDArray[np.int32], Float64Array, FloatArray | None]:
    """Same as `rdtools.kernels.sic_sweep_reference.sic_sweep_sample_gains`, faster.

    The rows wait for each other at every column, so the thin part runs on one thread; the matrix products on as many as BLAS has.
    """
    (m, n), dtype = weight.shape, weight.dtype
    panels = _factor_panels(factor, dtype, thread_count())
    lowest, highest = integer_range(integer_min, integer_max, dtype)
    steps = steps.astype(dtype)
    integers = np.empty((m, n), dtype=np.int32)
    gains = np.empty(n)
    final = np.empty((m, n) if residual else (1, 1), dtype=dtype)
    # decided weights give way to their errors
    error = np.require(weight, requirements=["C", "W", "A"]) if overwrite else np.array(weight, order="C")
    padded = LANES * (-(-m // LANES) | 1)  # an odd number of blocks, or a power of two would put all columns in the same cache sets
    e, y, z = (np.zeros((STRIP, padded), dtype=kind) for kind in (dtype, dtype, np.int32))
    points, targets = np.zeros(padded, dtype=dtype), np.zeros(padded, dtype=dtype)
    scales, gain_curve = (
        np.zeros(STRIP, dtype=dtype),
        np.empty((2, 0)) if gain_curve is None else np.require(gain_curve, requirements=["C", "W", "A"]),
    )
    for start, triangle, outer, skip, inner, has_inner in _strips(panels, error):
        _decide_strip_with_sample_gains(
            triangle, steps, dtype.type(offset), lowest, highest, start, outer, skip, inner, has_inner,
            seed is not None, np.uint64(seed or 0),
            integers, gains, gain_curve, error, final, residual, e, y, z, points, targets, scales,
        )  # fmt: skip
    return integers, gains, final if residual else None
