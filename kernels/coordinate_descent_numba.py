"""Greedy coordinate descent on the CPU: a thin triangle for each row, the rest as matrix products.

A pass needs ``G = E H`` one column at a time, E changing in between. As in the sweep, what a column's change does to those after it is
worked out in three parts: a panel's columns of G are one large matrix product with the errors as they are when the panel begins; a strip's
changes reach the rest of the panel by a small product; and the columns of a strip by compiled code with rows side by side. Rows that a
pass left alone take no part in the next.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rdtools.kernels._jit import jit
from rdtools.kernels._threads import for_each, thread_count
from rdtools.kernels.coordinate_descent_reference import tie
from rdtools.kernels.sic_sweep_reference import integer_range

from rdtools.arrays import Float64Array, FloatArray

#: Columns of a panel: wide enough that the product that feeds it runs at full speed.
PANEL = 512
#: Columns of a strip: with LANES rows, its integers and gradients stay in the nearest caches.
STRIP = 64
#: Rows decided side by side, which become vector instructions.
LANES = 64
#: Rows that a thread takes through all passes before it takes others, so that their errors take little memory.
ROWS = 512


@jit(nogil=True, error_model="numpy")
def _move_strip(  # type: ignore[no-untyped-def]
    weight, triangle, steps, offset, lowest, highest, tie, start, gradient, skip, integers, error, change, moved, g, z, d
):  # fmt: skip
    """Move the integers of columns start … start + p − 1 in turn; gradient[:, skip:] is E H when the strip begins.

    Writes the new integers and errors, what the values changed by, and which rows moved. g, z, d: scratch (p, LANES).
    """
    m, p = weight.shape[0], triangle.shape[0]
    for top in range(0, m, LANES):
        rows = min(LANES, m - top)
        for r in range(rows):
            for j in range(p):
                g[j, r] = gradient[top + r, skip + j]
                z[j, r] = integers[top + r, start + j]
        for i in range(p):
            step = steps[start + i]
            width = triangle[i, i] * step
            g_i, z_i, d_i = g[i], z[i], d[i]
            for r in range(LANES):
                move = g_i[r] / width
                q = min(max(z_i[r] + np.rint(move), lowest), highest) if abs(move) > tie else z_i[r]
                d_i[r] = (q - z_i[r]) * step
                z_i[r] = q
            for j in range(i + 1, p):
                weight_of, g_j = triangle[i, j], g[j]
                for r in range(LANES):
                    g_j[r] -= d_i[r] * weight_of
        for r in range(rows):
            for j in range(p):
                code = z[j, r]
                if d[j, r] != 0:
                    moved[top + r] = True
                change[top + r, j] = d[j, r]
                integers[top + r, start + j] = np.int32(code)
                # from the code, so that no error is carried from pass to pass
                error[top + r, start + j] = weight[top + r, start + j] - steps[start + j] * (code + offset)


def coordinate_descent(
    weight: FloatArray,  # (m, n)
    moment: FloatArray,  # (n, n)
    integers: NDArray[np.int32],  # (m, n)
    steps: Float64Array,  # (n,)
    order: NDArray[np.int64],  # (n,)
    *,
    offset: float = 0.0,
    integer_min: int,
    integer_max: int,
    passes: int,
) -> tuple[NDArray[np.int32], int]:
    """Same as `rdtools.kernels.coordinate_descent_reference.coordinate_descent`, faster.

    Beside its result and a moment in that order and in W's dtype, if it is not so already, it needs 3·ROWS·n elements a thread.
    """
    (m, n), dtype = weight.shape, weight.dtype
    threads = thread_count()
    in_order = np.array_equal(order, np.arange(n))
    H = np.ascontiguousarray(moment if in_order else moment[np.ix_(order, order)], dtype=dtype)
    alphas = steps[order].astype(dtype)
    lowest, highest = integer_range(integer_min, integer_max, dtype)
    result = np.empty((m, n), dtype=np.int32)
    parts = threads * -(-m // (threads * ROWS))
    height = -(-m // max(parts, 1))
    tops = range(0, m, max(height, 1))
    used = [0] * len(tops)

    def descend(part: int) -> None:
        part_rows = slice(tops[part], min(tops[part] + height, m))
        rows = np.arange(part_rows.start, part_rows.stop)
        g, z, d = (np.zeros((STRIP, LANES), dtype=dtype) for _ in range(3))
        w = np.ascontiguousarray(weight[part_rows] if in_order else weight[part_rows][:, order])
        c = np.array(integers[part_rows] if in_order else integers[part_rows][:, order], order="C")
        error = w - alphas * (c.astype(dtype) + dtype.type(offset))
        while len(rows) and used[part] < passes:
            used[part] += 1
            moved = np.zeros(len(rows), dtype=np.bool_)
            for first in range(0, n, PANEL):
                stop = min(first + PANEL, n)
                G = error @ H[:, first:stop]
                for start in range(first, stop, STRIP):
                    end = min(start + STRIP, stop)
                    change = np.empty((len(rows), end - start), dtype=dtype)
                    triangle = np.array(H[start:end, start:end], order="C")
                    _move_strip(
                        w, triangle, alphas, dtype.type(offset), lowest, highest, tie(dtype), start, G, start - first,
                        c, error, change, moved, g, z, d,
                    )  # fmt: skip
                    if end < stop:
                        G[:, end - first :] -= change @ H[start:end, end:stop]
            if not moved.all():
                done = ~moved
                result[np.ix_(rows[done], order)] = c[done]
                rows, w = rows[moved], w[moved]  # one after another, for the memory that they take
                c = c[moved]
                error = error[moved]
        result[np.ix_(rows, order)] = c

    for_each(descend, range(len(tops)), threads)
    return result, max(used, default=0)
