"""Moments of successive cancellation at a finite rate, one column after the other."""

from __future__ import annotations

import math

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.rounded import rounded_gaussian


def cancellation_moments(
    factor: Float64Array,  # (n, n), lower triangular
    steps: Float64Array,  # (n,)
    gains: Float64Array,  # (n,)
    start: Float64Array,  # (n, n), lower triangle
    variance: float,
    channel: Float64Array,  # (K, 4)
) -> tuple[Float64Array, ...]:
    """Input variance v, entropy in bits, gain γ, ``g = γ E[y Δz]/v`` and ``p = γ² E[(Δz)²]/v`` of each column's
    scalar quantizer; (n,) each.

    Before column i is decided y has the covariance ``σ² Σ_{k ≤ i} L_k,:ᵀ L_k,: + F``: the weights not yet decided, and F. Deciding it takes
    ``L_i,: ŷ_i/ℓ_ii`` away, with ŷ_i = g y_i + u and u uncorrelated. With ``l = L_i,:/ℓ_ii`` that is

        F ← F − g (lᵀ F_i,: + F_i,:ᵀ l) + s lᵀ l,    s = σ² ℓ_ii² (1 − 2g) + p v_i

    on the columns before i. σ² ℓ_ii² stands apart so that v_i keeps its digits where ``ℓ_ii² ≪ H_ii``.

    Parameters
    ----------
    factor : L, positive diagonal
    steps : α, positive
    gains : γ; nan for the LMMSE gain of a column's own input
    start : the first F, of which the lower triangle is read
    variance : σ²
    channel : a quantizer not scalar: what entropy, correlation, and distortion over r² are more than those of rounding, after log2 r
        in even steps; beyond its ends as there. None with K = 0
    """
    F = np.tril(start) + np.tril(start, -1).T
    v, bits, used, g, p = (np.empty(len(factor)) for _ in range(5))
    for i in range(len(factor) - 1, -1, -1):
        rounding_noise = variance * factor[i, i] ** 2
        # rounding may leave a column that the ridge removes below zero
        v[i] = max(rounding_noise + F[i, i], np.finfo(np.float64).eps * rounding_noise)
        r = steps[i] * factor[i, i] / math.sqrt(v[i])
        scalar = rounded_gaussian(r)
        more = [np.interp(math.log2(r), channel[:, 0], column) for column in channel.T[1:]] if len(channel) else (0.0, 0.0, 0.0)
        bits[i] = max(scalar.entropy_bits + more[0], 0.0)
        correlation, power = scalar.correlation + more[1], scalar.power + 2 * more[1] + r * r * more[2]
        gain = correlation / power if power > 0 else 0.5
        used[i] = gain if math.isnan(gains[i]) else gains[i]
        g[i], p[i] = used[i] * correlation, used[i] ** 2 * power
        row = factor[i, :i] / factor[i, i]
        x = 0.5 * (rounding_noise * (1 - 2 * g[i]) + p[i] * v[i]) * row - g[i] * F[i, :i]
        F[:i, :i] += np.outer(row, x) + np.outer(x, row)
    return v, bits, used, g, p
