"""Successive cancellation with a trellis of cosets on the CPU: what is fed back as in `sic_sweep_numba`, walks one column at a time.

Viterbi's search runs on the feed-forward form of the code, see `rdtools.kernels.coset_trellis_reference.butterfly_labels`: runs of
states are compared element by element, and a branch has one of four distances.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdtools.kernels._jit import jit
from rdtools.kernels._threads import for_each, thread_count
from rdtools.kernels.coset_trellis_reference import NEVER, RENEW, butterfly_labels
from rdtools.kernels.sic_sweep_numba import ROWS, STRIP, _factor_panels, _load_columns, _strips

from rdtools.arrays import Float64Array, FloatArray

#: Multiplied by eight bytes of 0 or 1, it has them as the bits of its highest byte, the first lowest.
_GATHER = 0x0102040810204080


@jit(nogil=True, error_model="numpy")
def _point(x, coset, reach):  # type: ignore[no-untyped-def]
    return 4.0 * min(max(np.rint((x - coset) * 0.25), -reach), reach) + coset


@jit(nogil=True, error_model="numpy")
def _walk(x, reach, labels, cost, ways, flags, back, path):  # type: ignore[no-untyped-def]
    """The walk nearest to x (M,), into path. Scratch: cost (S,), ways (2, S/2) float32, flags (≥ 8,) uint8, back (M, ≥ 1) uint8."""
    S = cost.shape[0]
    half = S // 2
    eights = flags.view(np.uint64)
    cost[:] = np.float32(NEVER)
    cost[0] = 0
    low, high = ways[0], ways[1]
    for t in range(x.shape[0]):
        d0, d1 = np.float32((x[t] - _point(x[t], 0, reach)) ** 2), np.float32((x[t] - _point(x[t], 1, reach)) ** 2)
        d2, d3 = np.float32((x[t] - _point(x[t], 2, reach)) ** 2), np.float32((x[t] - _point(x[t], 3, reach)) ** 2)
        for j in range(half):
            near = d1 if labels[j] & 1 else d0
            far = d3 if labels[j] & 1 else d2
            straight = far if labels[j] & 2 else near
            other = near if labels[j] & 2 else far
            a, b = cost[j] + straight, cost[j + half] + other
            e, f = cost[j] + other, cost[j + half] + straight
            low[j] = b if b < a else a
            high[j] = f if f < e else e
            flags[j] = np.uint8(b < a)
            flags[half + j] = np.uint8(f < e)
        for j in range(half):
            cost[2 * j], cost[2 * j + 1] = low[j], high[j]
        for k in range(eights.shape[0]):
            back[t, k] = np.uint8((eights[k] * np.uint64(_GATHER)) >> np.uint64(56))
        if t % RENEW == 0:
            least = cost[0]
            for s in range(S):
                least = min(least, cost[s])
            for s in range(S):
                cost[s] -= least
    state = 0
    for s in range(S):
        if cost[s] < cost[state]:
            state = s
    for t in range(x.shape[0] - 1, -1, -1):
        j, u = state >> 1, state & 1
        branch = u * half + j
        b = (back[t, branch >> 3] >> (branch & 7)) & 1
        c = labels[j] ^ (2 * (u ^ b))
        path[t] = np.int32(_point(x[t], c, reach))
        state = j + b * half


@jit(nogil=True, error_model="numpy")
def _decide_strip(  # type: ignore[no-untyped-def]
    weight, triangle, spacings, start, outer, skip, inner, has_inner, segment, reach, labels,
    integers, error, residual, keeps_residual, e, y, x, cost, ways, flags, back, path,
):  # fmt: skip
    """As `sic_sweep_numba._decide_strip`, column by column over all rows. e, y: scratch (p, m); x, path: (m,); the others as in `_walk`."""
    m, p = weight.shape[0], triangle.shape[0]
    _load_columns(weight, start, p, outer, skip, inner, has_inner, e, y)
    for i in range(p - 1, -1, -1):
        pivot, spacing = triangle[i, i], spacings[start + i]
        width = spacing * pivot
        e_i, y_i = e[i], y[i]
        for r in range(m):
            x[r] = (e_i[r] * pivot + y_i[r]) / width
        for first in range(0, m, segment):
            stop = min(first + segment, m)
            _walk(x[first:stop], reach, labels, cost, ways, flags, back, path[first:stop])
        for r in range(m):
            e_i[r] -= spacing * path[r]
            integers[r, start + i] = path[r]
        for j in range(i):
            feedback, y_j = triangle[i, j], y[j]
            for r in range(m):
                y_j[r] += e_i[r] * feedback
    for r in range(m):
        for j in range(p):
            error[r, start + j] = e[j, r]
    if keeps_residual:
        for r in range(m):
            for j in range(p):
                residual[r, start + j] = y[j, r] + e[j, r] * triangle[j, j]


def coset_trellis_sweep(
    weight: FloatArray,  # (m, n)
    factor: FloatArray,  # (n, n), lower triangular
    steps: Float64Array,  # (n,)
    states: int,
    *,
    segment: int,
    integer_max: int,
    residual: bool = True,
    overwrite: bool = False,
) -> tuple[NDArray[np.int32], FloatArray | None]:
    """Same as `rdtools.kernels.coset_trellis_reference.coset_trellis_sweep`, faster; costs of walks in float32, in squared spacings.

    Of walks equally near, to rounding, it may take another. A thread needs 2·max(ROWS, segment)·n elements, half of them in W's place
    where it may be overwritten, and S bits for each row of a
    walk.
    """
    (m, n), dtype = weight.shape, weight.dtype
    threads = thread_count()
    panels = _factor_panels(factor, dtype, threads)
    spacings = (0.5 * steps).astype(dtype)
    labels = butterfly_labels(states)
    integers = np.empty((m, n), dtype=np.int32)
    final = np.empty((m, n) if residual else (1, 1), dtype=dtype)
    segment = min(segment, max(m, 1))
    height = segment * max(1, ROWS // segment)

    def sweep_rows(top: int) -> None:
        rows = slice(top, min(top + height, m))
        w = np.require(weight[rows], requirements=["C", "W", "A"])  # a layout or read-only flag of its own would be compiled anew
        count = len(w)
        error: NDArray[Any] = w if overwrite else np.empty(w.shape, dtype=dtype)  # a strip is read before its errors are written
        e, y = np.empty((STRIP, count), dtype=dtype), np.empty((STRIP, count), dtype=dtype)
        x, path = np.empty(count), np.empty(count, dtype=np.int32)
        cost, ways = np.empty(states, dtype=np.float32), np.empty((2, states // 2), dtype=np.float32)
        flags = np.zeros(max(states, 8), dtype=np.uint8)
        back = np.empty((min(segment, count), len(flags) // 8), dtype=np.uint8)
        for start, triangle, outer, skip, inner, has_inner in _strips(panels, error):
            _decide_strip(
                w, triangle, spacings, start, outer, skip, inner, has_inner, segment, np.float64(integer_max // 4 - 1), labels,
                integers[rows], error, final[rows] if residual else final, residual, e, y, x, cost, ways, flags, back, path,
            )  # fmt: skip

    for_each(sweep_rows, range(0, m, height), threads)
    return integers, final if residual else None
