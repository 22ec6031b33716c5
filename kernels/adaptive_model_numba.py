"""Gaussian models learnt from decoded rows on the CPU: second moments, their factor, and the means of a row.

Sums over rows are of integers, exact in float64, so that their loops may be contracted and reordered. All others are compiled without
fastmath: LLVM then neither contracts a product and a sum nor reorders what is written, and lanes are elements of the result. Steps of the
factorization and of the means are taken STRIDE at a time, in the reference's order for every element.
"""

from __future__ import annotations

import math

import numpy as np
from rdtools.kernels._jit import jit
from rdtools.kernels.adaptive_coder_reference import (
    CLIP,
    HEAVY,
    PRIOR_ROWS,
    UNITS,
)

#: Steps taken in one pass over memory.
STRIDE = 8


@jit(nogil=True, error_model="numpy", fastmath=True)
def add_products(sums, rows):  # type: ignore[no-untyped-def]
    """The upper triangle of ``Σ_k û_k û_kᵀ`` more, for STRIDE rows of integers."""
    p = sums.shape[0]
    x0, x1, x2, x3, x4, x5, x6, x7 = rows[0], rows[1], rows[2], rows[3], rows[4], rows[5], rows[6], rows[7]
    for i in range(p):
        total = sums[i]
        a0, a1, a2, a3, a4, a5, a6, a7 = x0[i], x1[i], x2[i], x3[i], x4[i], x5[i], x6[i], x7[i]
        for j in range(i, p):
            total[j] += a0 * x0[j] + a1 * x1[j] + a2 * x2[j] + a3 * x3[j] + a4 * x4[j] + a5 * x5[j] + a6 * x6[j] + a7 * x7[j]


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
def _eliminate(target, c, r, first):  # type: ignore[no-untyped-def]
    """A row less the multiples c of STRIDE rows r, one after another, from a column on."""
    c0, c1, c2, c3, c4, c5, c6, c7 = c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]
    r0, r1, r2, r3, r4, r5, r6, r7 = r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7]
    for j in range(first, target.shape[0]):
        x = target[j]
        x = x - c0 * r0[j]
        x = x - c1 * r1[j]
        x = x - c2 * r2[j]
        x = x - c3 * r3[j]
        x = x - c4 * r4[j]
        x = x - c5 * r5[j]
        x = x - c6 * r6[j]
        x = x - c7 * r7[j]
        target[j] = x


@jit(nogil=True, error_model="numpy")
def factor(sums, rows, prior, a, d):  # type: ignore[no-untyped-def]
    """Same as `rdtools.kernels.adaptive_coder_reference.factor`, into a and d; of `sums` the upper triangle is read."""
    p = sums.shape[0]
    count = np.float64(rows + PRIOR_ROWS)
    shrunk = rows / (rows + prior) / (count * UNITS**2)
    for i in range(p):
        for j in range(i + 1, p):
            a[i, j] = sums[i, j] * shrunk
        a[i, i] = (sums[i, i] / UNITS**2 + PRIOR_ROWS) / count
    c = np.empty((STRIDE, p))
    for top in range(0, p, STRIDE):
        bottom = min(p, top + STRIDE)
        for t in range(top, bottom):
            pivot, row, own = a[t, t], a[t], c[t - top]
            d[t] = pivot
            for j in range(t + 1, p):
                own[j] = row[j]
                row[j] = row[j] / pivot
            for i in range(t + 1, bottom):
                x, y = own[i], a[i]
                for j in range(i, p):
                    y[j] = y[j] - x * row[j]
        if bottom - top == STRIDE:
            for i in range(bottom, p):
                _eliminate(a[i], c[:, i], a[top:bottom], i)


@jit(nogil=True, error_model="numpy")
def advance(means, innovations, upper, top):  # type: ignore[no-untyped-def]
    """Means of the columns after STRIDE columns, with these columns' innovations."""
    e0, e1, e2, e3 = innovations[top], innovations[top + 1], innovations[top + 2], innovations[top + 3]
    e4, e5, e6, e7 = innovations[top + 4], innovations[top + 5], innovations[top + 6], innovations[top + 7]
    r0, r1, r2, r3 = upper[top], upper[top + 1], upper[top + 2], upper[top + 3]
    r4, r5, r6, r7 = upper[top + 4], upper[top + 5], upper[top + 6], upper[top + 7]
    for j in range(top + STRIDE, means.shape[0]):
        x = means[j]
        x = x + r0[j] * e0
        x = x + r1[j] * e1
        x = x + r2[j] * e2
        x = x + r3[j] * e3
        x = x + r4[j] * e4
        x = x + r5[j] * e5
        x = x + r6[j] * e6
        x = x + r7[j] * e7
        means[j] = x


@jit(nogil=True, error_model="numpy")
def in_units(value, root):  # type: ignore[no-untyped-def]
    """û of an integer in steps."""
    return min(max(math.floor(UNITS * (value / root) + 0.5), -1.0 * UNITS * CLIP), 1.0 * UNITS * CLIP)
