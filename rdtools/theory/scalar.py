"""The uniform scalar quantizer with entropy coding, on a normal input, at any step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from rdtools.arrays import Float64Array
from rdtools.errors import TheoryError

#: Below this step the moments agree with their limits to e^(−2π²/r²) < 1e-34, and the entropy with that of a normal of the same variance as
#: y plus uniform noise to κ²/48 nats, κ = r⁴/120 their difference in fourth cumulant: below 1e-8 bit.
FINE = 0.5
#: Boundaries farther out than this hold less than 1e-18.
_REACH = 9.0


@dataclass(frozen=True)
class UniformQuantizer:
    """Statistics of ``z = round(y/Δ)`` for y ~ N(0, v), r = Δ/√v.

    Attributes
    ----------
    entropy_bits : H(z)
    correlation : E[y Δz]/v
    power : E[(Δz)²]/v
    distortion : E(y − Δz)²/v, to rounding at any step
    """

    entropy_bits: float
    correlation: float
    power: float
    distortion: float

    @property
    def gain(self) -> float:
        """LMMSE gain ``γ = E[y Δz]/E[(Δz)²]``, ½ in the limit where nothing leaves the zero cell."""
        return self.correlation / self.power if self.power > 0 else 0.5

    @property
    def lmmse_distortion(self) -> float:
        """``E(y − γ Δz)²/v = 1 − correlation²/power``."""
        return float(column_error(self.distortion, self.correlation, self.power, self.gain))


def uniform_quantizer(step_over_std: float) -> UniformQuantizer:
    """Entropy and moments of a uniformly quantized normal variable.

    With φ the density, Q the upper tail and boundaries (k − ½) r: ``E[yz]/√v = 2 Σ φ``, ``E[z²] = 2 Σ (2k−1) Q`` over k ≥ 1, and H from the
    cell probabilities. As r → 0: H → ½ log2(2πe (1 + r²/12)) − log2 r, correlation → 1, power → 1 + r²/12. As r → ∞ all three → 0.

    Parameters
    ----------
    step_over_std : r > 0

    Raises
    ------
    TheoryError
        For r that is not positive.

    References
    ----------
    Exact sums for the normal distribution; gaps to ½ log2(1/D) as in WaterSIC, arXiv 2603.04956 v1, section 4 (LMMSE).

    Examples
    --------
    >>> q = uniform_quantizer(1.0)
    >>> round(q.entropy_bits, 3), round(q.gain, 4)
    (2.105, 0.9231)
    """
    r = float(step_over_std)
    if not r > 0:
        raise TheoryError(f"uniform quantizer: step {step_over_std} of a standard deviation, expected a positive number")
    if r < FINE:
        error = r * r / 12.0
        return UniformQuantizer(0.5 * math.log2(2 * math.pi * math.e * (1.0 + error)) - math.log2(r), 1.0, 1.0 + error, error)
    k = np.arange(1, math.ceil(_REACH / r) + 2)
    boundary = (k - 0.5) * r
    tail = ndtr(-boundary)
    density = np.exp(-0.5 * boundary**2) / math.sqrt(2 * math.pi)
    cells = np.append(tail[:-1] - tail[1:], tail[-1])
    cells = cells[cells > 0]
    zero = 1.0 - 2.0 * tail[0]
    # the zero cell is nearly certain at large r: −p log2 p from log1p keeps its digits
    entropy = -2.0 * float((cells * np.log2(cells)).sum()) - float(zero) * math.log1p(-2.0 * float(tail[0])) / math.log(2)
    correlation, power = 2.0 * r * float(density.sum()), 2.0 * r * r * float(((2 * k - 1) * tail).sum())
    return UniformQuantizer(entropy, correlation, power, 1.0 - 2.0 * correlation + power)


def column_error(distortion: ArrayLike, correlation: ArrayLike, power: ArrayLike, gain: ArrayLike) -> Float64Array:
    """``E(y − γ Δz)²/v = 1 − 2γ E[y Δz]/v + γ² E[(Δz)²]/v`` without its cancellation at small steps, from the distortion of γ = 1.

    Parameters
    ----------
    distortion, correlation, power : of `uniform_quantizer`
    gain : γ
    """
    less = 1.0 - np.asarray(gain, dtype=np.float64)
    return np.asarray(distortion + less * (2.0 * np.asarray(correlation) - (2.0 - less) * np.asarray(power)))
