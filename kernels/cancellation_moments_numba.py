"""Moments of successive cancellation on the CPU: a panel of columns row by row, and all before it by matrix products.

Only the lower triangle of F is kept up to date, a band of its rows at a time: beside F there is no second matrix of its size.
"""

from __future__ import annotations

import math

import numpy as np
from rdtools.kernels._jit import jit

from rdtools.arrays import Float64Array

#: Columns decided between two updates of the whole covariance, and rows of it that one product updates. Only speed depends on them.
PANEL, TILE = 64, 96
_EPS = float(np.finfo(np.float64).eps)


@jit(nogil=True, error_model="numpy")
def _rounded(r):  # type: ignore[no-untyped-def]
    """Entropy, correlation and power of `rdtools.rounded.rounded_gaussian`, for a grid without end."""
    if r < 0.5:
        power = 1.0 + r * r / 12.0
        return 0.5 * math.log2(2 * math.pi * math.e * power) - math.log2(r), 1.0, power
    density, odd, entropy, tail = 0.0, 0.0, 0.0, 0.5 * math.erfc(0.5 * r * math.sqrt(0.5))
    # the zero cell is nearly certain at large r: −p log2 p from log1p keeps its digits
    zero = -(1.0 - 2.0 * tail) * math.log1p(-2.0 * tail) / math.log(2.0)
    cells = math.ceil(9.0 / r) + 1
    for k in range(1, cells + 1):
        b = (k - 0.5) * r
        density += math.exp(-0.5 * b * b)
        odd += (2 * k - 1) * tail
        beyond = 0.5 * math.erfc((b + r) * math.sqrt(0.5)) if k < cells else 0.0
        if tail > beyond:
            entropy -= (tail - beyond) * math.log2(tail - beyond)
        tail = beyond
    return 2.0 * entropy + zero, 2.0 * r * density / math.sqrt(2.0 * math.pi), 2.0 * r * r * odd


@jit(nogil=True, error_model="numpy")
def _through(channel, r):  # type: ignore[no-untyped-def]
    """As `_rounded`, with what a channel has more."""
    bits, correlation, power = _rounded(r)
    K = channel.shape[0]
    if K > 0:
        x = (math.log2(r) - channel[0, 0]) / (channel[1, 0] - channel[0, 0])
        x = min(max(x, 0.0), K - 1.0)
        k = min(int(x), K - 2)
        w = x - k
        moved = (1 - w) * channel[k, 2] + w * channel[k + 1, 2]
        bits = max(bits + (1 - w) * channel[k, 1] + w * channel[k + 1, 1], 0.0)
        correlation += moved
        power += 2 * moved + r * r * ((1 - w) * channel[k, 3] + w * channel[k + 1, 3])
    return bits, correlation, power


@jit(nogil=True, error_model="numpy")
def _decide_panel(F, rows, changes, ell, steps, gains, variance, channel, moments):  # type: ignore[no-untyped-def]
    """Decide the columns of a panel, the last of those that F still holds, and leave what the others are to be changed by."""
    width, stop = rows.shape
    first = stop - width
    for i in range(stop - 1, first - 1, -1):
        rounding_noise = variance * ell[i] ** 2
        # rounding may leave a column that the ridge removes below zero
        v = max(rounding_noise + F[i, i], _EPS * rounding_noise)
        bits, correlation, power = _through(channel, steps[i] * ell[i] / math.sqrt(v))
        gain = gains[i]
        if math.isnan(gain):
            gain = correlation / power if power > 0 else 0.5
        g, p = gain * correlation, gain**2 * power
        moments[0, i], moments[1, i], moments[2, i], moments[3, i], moments[4, i] = v, bits, gain, g, p
        row, x = rows[i - first], changes[i - first]
        s = 0.5 * (rounding_noise * (1 - 2 * g) + p * v)
        for j in range(i):
            x[j] = s * row[j] - g * F[i, j]
        for k in range(first, i):
            for j in range(k + 1):
                F[k, j] += row[k] * x[j] + x[k] * row[j]


def cancellation_moments(
    factor: Float64Array,  # (n, n), lower triangular
    steps: Float64Array,  # (n,)
    gains: Float64Array,  # (n,)
    start: Float64Array,  # (n, n), lower triangle
    variance: float,
    channel: Float64Array,  # (K, 4)
) -> tuple[Float64Array, ...]:
    """Same as `rdtools.kernels.cancellation_moments_reference.cancellation_moments`, faster."""
    F, ell = start.copy(order="C"), np.diagonal(factor).copy()
    steps, gains, channel = (
        np.require(x, requirements=["C", "W", "A"]) for x in (steps, gains, channel)
    )  # any other layout would be compiled anew
    moments = np.empty((5, len(factor)))
    for stop in range(len(factor), 0, -PANEL):
        first = max(stop - PANEL, 0)
        rows = np.ascontiguousarray(factor[first:stop, :stop] / ell[first:stop, None])
        changes = np.zeros_like(rows)
        _decide_panel(F, rows, changes, ell, steps, gains, float(variance), channel, moments)
        changed = np.concatenate([rows[:, :first], changes[:, :first]])
        right = np.concatenate([changes[:, :first], rows[:, :first]])
        for top in range(0, first, TILE):
            end = min(top + TILE, first)
            F[top:end, :end] += changed[:, top:end].T @ right[:, :end]
    return tuple(moments)
