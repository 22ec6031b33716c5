"""Gaussian models learnt from decoded rows on the CPU: second moments, their factor, and the means of a row.

Sums over rows are of integers, exact in float64, so that BLAS may add them in any order. All else is compiled without fastmath: LLVM
then neither contracts a product and a sum nor reorders what is written, and lanes are elements of the result. Steps of the factorization
and of the means are taken several at a time, in the reference's order for every element. Loops run over slices from 0: over a range that
begins elsewhere LLVM cannot rule out that an index is negative, which counts from the end, and leaves them scalar.
"""

from __future__ import annotations

import math

import numpy as np
from rdtools.kernels._jit import jit
from rdtools.kernels._threads import for_each, thread_count
from rdtools.kernels.adaptive_coder_reference import (
    CLIP,
    HEAVY,
    PRIOR_ROWS,
    UNITS,
)
from scipy.linalg.blas import dsyrk

from rdtools.arrays import Float64Array

#: Columns whose innovations move the means at once.
STRIDE = 8
#: Rows that steps of the factorization are taken from and to at once; steps before all rows below have them, a multiple of it, and columns
#: that they are taken in, so that both stay in the nearest caches.
TILE, PANEL, WIDTH = 4, 64, 512
#: Columns from which the rows below a panel are shared among threads, and rows of a share.
THREADS_FROM, SHARE = 1024, 128


def add_products(sums: Float64Array, rows: Float64Array) -> None:
    """The upper triangle of ``Σ_k û_k û_kᵀ`` more, for rows of integers."""
    dsyrk(1.0, rows.T, beta=1.0, c=sums.T, lower=1, overwrite_c=1)  # BLAS counts along columns


@jit(nogil=True, error_model="numpy")
def weigh(units, out):  # type: ignore[no-untyped-def]
    """A row of integers as it enters the second moment."""
    energy = 0.0
    for i in range(units.shape[0]):
        energy += units[i] * units[i]
    most = HEAVY * UNITS**2 * units.shape[0]
    if energy <= most:
        out[:] = units
    else:
        share = math.sqrt(most / energy)
        for i in range(units.shape[0]):
            out[i] = math.floor(units[i] * share + 0.5)


@jit(nogil=True, error_model="numpy")
def _subtract(target, c, row):  # type: ignore[no-untyped-def]
    for j in range(target.shape[0]):
        target[j] = target[j] - c * row[j]


@jit(nogil=True, error_model="numpy")
def _eliminate(y0, y1, y2, y3, c, i, r0, r1, r2, r3):  # type: ignore[no-untyped-def]
    """TILE rows y less the multiples ``c[:, i:]`` of TILE rows r, one after another."""
    c00, c01, c02, c03 = c[0, i], c[0, i + 1], c[0, i + 2], c[0, i + 3]
    c10, c11, c12, c13 = c[1, i], c[1, i + 1], c[1, i + 2], c[1, i + 3]
    c20, c21, c22, c23 = c[2, i], c[2, i + 1], c[2, i + 2], c[2, i + 3]
    c30, c31, c32, c33 = c[3, i], c[3, i + 1], c[3, i + 2], c[3, i + 3]
    for j in range(y0.shape[0]):
        a, b, e, f = r0[j], r1[j], r2[j], r3[j]
        y0[j] = (((y0[j] - c00 * a) - c10 * b) - c20 * e) - c30 * f
        y1[j] = (((y1[j] - c01 * a) - c11 * b) - c21 * e) - c31 * f
        y2[j] = (((y2[j] - c02 * a) - c12 * b) - c22 * e) - c32 * f
        y3[j] = (((y3[j] - c03 * a) - c13 * b) - c23 * e) - c33 * f


@jit(nogil=True, error_model="numpy")
def _eliminate_rows(a, first, stop, c, begin, end):  # type: ignore[no-untyped-def]
    """Rows from first to stop less the multiples c of rows from begin to end, a multiple of TILE; below the diagonal nothing is read."""
    p = a.shape[0]
    for i in range(first, stop, TILE):
        if i + TILE > stop:
            for k in range(i, stop):
                for t in range(begin, end):
                    _subtract(a[k, k:], c[t - begin, k], a[t, k:])
            continue
        for low in range(i, p, WIDTH):
            high = min(p, low + WIDTH)
            y0, y1, y2, y3 = a[i, low:high], a[i + 1, low:high], a[i + 2, low:high], a[i + 3, low:high]
            for t in range(begin, end, TILE):
                r0, r1, r2, r3 = a[t, low:high], a[t + 1, low:high], a[t + 2, low:high], a[t + 3, low:high]
                _eliminate(y0, y1, y2, y3, c[t - begin : t - begin + TILE], i, r0, r1, r2, r3)


@jit(nogil=True, error_model="numpy")
def _load(sums, rows, prior, a):  # type: ignore[no-untyped-def]
    """The shrunk second moment."""
    p = sums.shape[0]
    count = np.float64(rows + PRIOR_ROWS)
    shrunk = rows / (rows + prior) / (count * UNITS**2)
    for i in range(p):
        for j in range(p):
            a[i, j] = sums[i, j] * shrunk
        a[i, i] = (sums[i, i] / UNITS**2 + PRIOR_ROWS) / count


@jit(nogil=True, error_model="numpy")
def _factor_panel(a, d, c, top, bottom):  # type: ignore[no-untyped-def]
    """Rows from top to bottom; c: the multiples of them that the rows below are to lose."""
    for first in range(top, bottom, TILE):
        stop = min(bottom, first + TILE)
        for t in range(first, stop):
            pivot, row, copied = a[t, t], a[t, t + 1 :], c[t - top, t + 1 :]
            d[t] = pivot
            for j in range(row.shape[0]):
                copied[j] = row[j]
                row[j] = row[j] / pivot
            for i in range(t + 1, stop):
                _subtract(a[i, i:], c[t - top, i], a[t, i:])
        if stop < bottom:
            _eliminate_rows(a, stop, bottom, c[first - top :], first, stop)


def factor(sums: Float64Array, rows: int, prior: float, a: Float64Array, d: Float64Array) -> None:
    """Same as `rdtools.kernels.adaptive_coder_reference.factor`, into a and d; of `sums` the upper triangle is read."""
    p = len(sums)
    _load(sums, rows, prior, a)
    c, threads = np.empty((min(PANEL, p), p)), thread_count() if p >= THREADS_FROM else 1
    for top in range(0, p, PANEL):
        bottom = min(p, top + PANEL)
        _factor_panel(a, d, c, top, bottom)

        def eliminate(first: int, top: int = top, bottom: int = bottom) -> None:
            _eliminate_rows(a, first, min(p, first + SHARE), c, top, bottom)

        for_each(eliminate, range(bottom, p, SHARE), threads)


@jit(nogil=True, error_model="numpy")
def advance(means, innovations, upper, top):  # type: ignore[no-untyped-def]
    """Means of the columns after STRIDE columns, with these columns' innovations."""
    e, after = innovations[top : top + STRIDE], top + STRIDE
    e0, e1, e2, e3, e4, e5, e6, e7 = e[0], e[1], e[2], e[3], e[4], e[5], e[6], e[7]
    r0, r1, r2, r3 = upper[top, after:], upper[top + 1, after:], upper[top + 2, after:], upper[top + 3, after:]
    r4, r5, r6, r7 = upper[top + 4, after:], upper[top + 5, after:], upper[top + 6, after:], upper[top + 7, after:]
    means = means[after:]
    for j in range(means.shape[0]):
        x = (((means[j] + r0[j] * e0) + r1[j] * e1) + r2[j] * e2) + r3[j] * e3
        means[j] = (((x + r4[j] * e4) + r5[j] * e5) + r6[j] * e6) + r7[j] * e7


@jit(nogil=True, error_model="numpy")
def in_units(value, root):  # type: ignore[no-untyped-def]
    """û of an integer in steps."""
    return min(max(math.floor(UNITS * (value / root) + 0.5), -1.0 * UNITS * CLIP), 1.0 * UNITS * CLIP)
