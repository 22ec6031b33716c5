"""An integer number of bits for each column: reverse waterfilling as fixed-width hardware can have it.

With ``H = L Lᵀ``, columns decided one after another and rounding errors of variance ``σ² mse(b_i)`` the distortion is
``(σ²/n) Σ ℓ_ii² mse(b_i)``. mse falls by ever less with each bit, so that giving every next bit to the column whose term falls most is
optimal for whole bits. Where mse were 4^{−b} and bits any positive numbers, this would be reverse waterfilling of the ℓ_ii².
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array, Int64Array
from rdtools.errors import RateUnreachable
from rdtools.quantizers.search.rate import RATE_TOLERANCE_BITS

#: Squared error of the best uniform grid of 2^b levels on a standard normal variable, b = 0 … 8, and its step; no step without a bit.
#: Computed by quadrature: `rdtools.theory.fixed_rate.best_uniform_grid`. After Max, IRE Trans. Inf. Theory 6 (1960), Table II.
GRID_ERRORS = (1.0, 0.36338023, 0.11884605, 0.037439659, 0.011542884, 0.0034952114, 0.0010400454, 3.0433277e-4, 8.7686184e-5)
GRID_STEPS = (math.nan, 1.5957691, 0.99568669, 0.58601944, 0.33520061, 0.18813879, 0.10406301, 0.056867672, 0.030762388)

#: The widest column.
MAX_WIDTH = len(GRID_ERRORS) - 1


def allocate_widths(noise_gains: Float64Array, rate_bits: float, *, name: str = "columns") -> Int64Array:
    """Bits of each column: ``b`` of least ``Σ g_i mse(b_i)`` with so many bits in all, 0 to MAX_WIDTH each.

    Parameters
    ----------
    noise_gains : (r,) g, ℓ_ii² with feedback, H_ii without
    rate_bits : mean of the widths
    name : of the layer and method, for the message

    Returns
    -------
    (r,) int64

    Raises
    ------
    RateUnreachable
        Above MAX_WIDTH, or if no whole number of bits in all has the rate.

    References
    ----------
    Greedy allocation is optimal for convex mse: Fox, Operations Research 14 (1966). Unequal rates in GPTQ: High-Rate Quantized Matrix
    Multiplication II, arXiv 2605.13768.

    Examples
    --------
    A factor of 16 in the gain is worth two bits, as near as whole bits come to it.

    >>> allocate_widths(np.array([16.0, 1.0, 1.0, 1e-6]), 2.0).tolist()
    [4, 2, 2, 0]
    """
    r = len(noise_gains)
    bits = round(rate_bits * r)
    if bits > MAX_WIDTH * r or abs(bits - rate_bits * r) > RATE_TOLERANCE_BITS * r:
        exact = [k for k in (math.floor(rate_bits * r), math.ceil(rate_bits * r)) if k <= MAX_WIDTH * r] or [MAX_WIDTH * r]
        choices = " and ".join(f"{k / r:.4f}" for k in exact)
        raise RateUnreachable(
            f"{name}: {rate_bits:g} bits per weight cannot be reached by {r} columns of whole bits, at most {MAX_WIDTH} each; the nearest "
            f"rates are {choices}; ask for one of these or use entropy coding"
        )
    return greedy_bits(noise_gains, GRID_ERRORS, bits)


def greedy_bits(gains: Float64Array, errors: Sequence[float] | Float64Array, total: int) -> Int64Array:
    """Whole bits of least ``Σ_i g_i e(b_i)`` with so many in all, for an error e that is convex in them.

    Parameters
    ----------
    gains : (r,) g ≥ 0
    errors : e(b) of 0 bits to the most that one may have
    total : at most the most times r

    Examples
    --------
    >>> greedy_bits(np.array([64.0, 1.0, 1.0]), (1.0, 0.25, 0.0625, 0.015625, 0.004), 6).tolist()
    [4, 1, 1]
    """
    # the first bit saves more than the second, so that the largest savings of all are the first bits of each
    savings = np.multiply.outer(gains, -np.diff(errors))
    chosen = np.argsort(-savings, axis=None, kind="stable")[:total]
    return np.bincount(chosen // savings.shape[1], minlength=len(gains)).astype(np.int64)


def width_exponents(widths: Int64Array) -> NDArray[np.uint8]:
    """Exponents of the steps of columns of these widths, in eighths of an octave above that of the widest; (r,).

    Levels follow from exponents: those of the widest column, halved with every octave begun. So the column of b bits, B being the most,
    has an exponent above 8 (B − b − 1) and up to 8 (B − b), there the nearest to ``8 log2(Δ_b/Δ_B)`` with the best steps Δ. From two bits
    on, and from one to five, this is within 1/8 octave; one bit beside eight has a step 0.43 octaves above the best, which adds a fifth to
    its error.

    Parameters
    ----------
    widths : (r,) b, 0 to MAX_WIDTH

    Examples
    --------
    >>> width_exponents(np.array([4, 3, 2, 0])).tolist()
    [0, 6, 13, 32]
    """
    widest = int(widths.max(initial=0))
    eighths = [0] * (widest + 1)
    for b in range(widest):
        ideal = 8 * math.log2(GRID_STEPS[b] / GRID_STEPS[widest]) if b else math.inf  # without a bit there is no step to have
        eighths[b] = round(min(max(ideal, 8 * (widest - b - 1) + 1), 8 * (widest - b)))
    return np.array(eighths, dtype=np.uint8)[widths]


def water_level(energies: Float64Array, rate_bits: float) -> float:
    """log2 of the θ with ``mean max(0, ½ log2(v_i/θ)) = R``: reverse waterfilling at a rate, on positive energies v.

    Parameters
    ----------
    energies : (r,) v > 0
    rate_bits : R > 0, bits for each of them, on average

    References
    ----------
    Cover and Thomas, Elements of Information Theory, 2nd ed., Theorem 10.3.3.

    Examples
    --------
    >>> water_level(np.array([16.0, 1.0, 0.01]), 1.0)
    -1.0
    """
    logs = np.sort(np.log2(energies))[::-1]
    k = np.arange(1, len(logs) + 1)
    # with the k largest above the water; the right k is the last whose smallest one is
    levels = np.cumsum(logs) / k - 2 * rate_bits * len(logs) / k
    return float(levels[np.flatnonzero(logs > levels)[-1]])
