"""Standard normal numbers that are a function of (seed, stream, index) alone, to the bit on every machine.

Only operations that IEEE 754 rounds correctly are used: + − × ÷ √, frexp and integers. NumPy runs each of them as a loop of its own over
whole arrays, so that no compiler can contract a product and a sum into one rounding, and nothing is summed over elements.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rdtools.kernels.philox_reference import philox_words

from rdtools.arrays import Float64Array

#: ln 2 and √½, rounded to float64.
LN2 = float.fromhex("0x1.62e42fefa39efp-1")
SQRT_HALF = float.fromhex("0x1.6a09e667f3bcdp-1")
#: 1/(2k+1) for k = 10, 9, …, 0: with |f| ≤ 0.1716 what the series of artanh leaves out is below 1e-18 of it.
ARTANH = tuple(1.0 / (2 * k + 1) for k in range(10, -1, -1))


def symmetric_uniform(low: NDArray[np.uint64], high: NDArray[np.uint64]) -> Float64Array:
    """Uniform numbers in (−1, 1) on the odd multiples of 2^-53, exact, of two words of 32 bits: their leading 53 bits."""
    leading = ((high << np.uint64(32)) | low) >> np.uint64(11)
    return (leading.astype(np.float64) - (2.0**52 - 0.5)) * 2.0**-52


def minus_log(s: Float64Array) -> Float64Array:
    """``−ln s`` for 0 < s < 1, to a few units in the last place.

    With ``s = 2^e μ``, √½ ≤ μ < √2: ``ln s = e ln 2 + 2 artanh(f)``, f = (μ − 1)/(μ + 1).
    """
    fraction, exponent = np.frexp(s)
    small = fraction < SQRT_HALF
    fraction = np.where(small, fraction * 2.0, fraction)
    octaves = exponent.astype(np.float64) - small
    f = (fraction - 1.0) / (fraction + 1.0)
    square = f * f
    series = np.zeros_like(f)
    for coefficient in ARTANH:
        series = series * square + coefficient
    return np.asarray((0.0 - octaves) * LN2 - (2.0 * f) * series)


def portable_normal(seed: int, stream: int, first: int, count: int) -> Float64Array:
    """Numbers `first` to ``first + count − 1`` of a stream, by Marsaglia's polar method.

    Numbers 2p and 2p + 1 are ``u √(−2 ln s / s)`` and ``v √(−2 ln s / s)`` with u, v uniform in (−1, 1) and s = u² + v² from the first
    attempt that has s < 1. Attempt a of pair p takes (u, v) from Philox-4x32-10 at the counter (p's low word, p's high word, a, stream)
    under the seed's low and high words.

    References
    ----------
    Marsaglia and Bray, A convenient method for generating normal variables, SIAM Review 6 (1964); for Philox see `philox_words`.
    """
    pairs = np.arange(first // 2, (first + count + 1) // 2, dtype=np.uint64)
    numbers = np.empty((len(pairs), 2))
    pending = np.arange(len(pairs))
    attempt = 0
    while len(pending):
        p = pairs[pending]
        words = philox_words((p & np.uint64(0xFFFFFFFF), p >> np.uint64(32), attempt, stream), (seed % 2**32, seed >> 32))
        u, v = symmetric_uniform(words[0], words[1]), symmetric_uniform(words[2], words[3])
        s = u * u + v * v
        inside = s < 1.0
        u, v, s = u[inside], v[inside], s[inside]
        radius = np.sqrt((2.0 * minus_log(s)) / s)
        numbers[pending[inside]] = np.stack([u * radius, v * radius], axis=1)
        pending = pending[~inside]
        attempt += 1
    return numbers.reshape(-1)[first % 2 : first % 2 + count]
