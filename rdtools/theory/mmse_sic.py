"""Successive cancellation with a penalty on the reconstruction's energy: WaterSIC below the high-rate regime.

WaterSIC's cancellation forces errors to zero, so that below about 3 bits strong columns spend rate on compensating weak directions that are
not worth coding. Minimize instead, with a ridge μ,

    tr((W − V) H (W − V)ᵀ) + μ tr(V Vᵀ) = tr((T − V) A (T − V)ᵀ) + μ tr(W Tᵀ),    A = H + μ I = L Lᵀ,    T = W H A⁻¹

which is successive cancellation of the target T under A, with WaterSIC's steps c/ℓ_ii and nothing else changed.

Why this and not another correction: a decoder without H takes each column by itself, at the cost of its power K_i alone. Gaussian test
channels ``V = W B + N(0, Q)`` then cost ``Σ ½ log K_i − ½ log det Q``, and those of least distortion satisfy

    B = H (H + diag μ)⁻¹,    Q = θ (H + diag μ)⁻¹,    μ_i = θ/K_i

so the noise is what WaterSIC's steps on A make it with θ = c²/12, the target is the one above, and V is not scaled afterwards: the target
already holds the shrinkage, and an LMMSE gain on top counts it twice. K_i is a little below σ², so one ridge ``μ = f τ/σ²`` serves all
columns, τ the water level at the rate: ``f → 2πe/12 = 1.42`` at high rate, and about 1.75 between 1 and 1.5 bits.
Derived for this project; no paper known to us has it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import scipy.linalg

from rdtools.arrays import Float64Array
from rdtools.errors import RateUnreachable
from rdtools.theory.finite_rate import Cancellation, FiniteRatePoint
from rdtools.theory.waterfilling import Components, distortion_rate

#: Error of a rate, bits.
_TOLERANCE = 1e-7


def retarget(
    weight: Float64Array,  # (m, n)
    factor: Float64Array,  # (n, n), lower triangular
    ridge: float,
) -> Float64Array:
    """``T = W H (H + μ I)⁻¹``, computed as ``W − μ W (L Lᵀ)⁻¹`` with ``L Lᵀ = H + μ I``; shape (m, n).

    Parameters
    ----------
    weight : W, columns in the order of the factor
    factor : L
    ridge : μ, absolute, ≥ 0

    Examples
    --------
    H = 3 and μ = 1 shrink by a quarter.

    >>> retarget(np.array([[8.0]]), np.array([[2.0]]), 1.0).tolist()
    [[6.0]]
    """
    return np.asarray(weight - ridge * scipy.linalg.cho_solve((factor, True), weight.T).T)


def water_level_ridge(variances: Float64Array | Components, variance: float, rate_bits: float) -> float:
    """``τ/σ²``, the ridge of f = 1, with τ the water level at a rate.

    Parameters
    ----------
    variances : (n,) component variances ``σ² λ_i``, or `rdtools.theory.waterfilling.components` of them
    variance : σ²
    rate_bits : bits per active weight
    """
    return float(distortion_rate(rate_bits, variances).water_level) / variance


def watersic_at_rate(
    factor: Float64Array,  # (n, n), lower triangular
    variance: float,
    rate_bits: float,
    *,
    ridge: float = 0.0,
    lmmse: bool = False,
    guess: float | None = None,
    tolerance: float = _TOLERANCE,
    channel: Float64Array | None = None,  # (K, 4)
) -> tuple[float, FiniteRatePoint]:
    """The scale c at which steps ``c/ℓ_ii`` are predicted to have a rate, and the prediction.

    Parameters
    ----------
    factor : L of ``H + μ I``
    variance : σ²
    rate_bits : bits per active weight, positive
    ridge : μ, absolute
    lmmse : reconstruct with the gain of each column's own input; else without gain
    guess : where to start, by default c of high-rate theory
    tolerance : of the rate, bits
    channel : as in `rdtools.theory.finite_rate.sic_at_finite_rate`

    Raises
    ------
    RateUnreachable
        If there is no such scale.

    Examples
    --------
    >>> c, point = watersic_at_rate(np.eye(2), 1.0, 2.105)
    >>> round(c, 2)
    1.0
    """
    ell, cancellation = np.diagonal(factor), Cancellation(factor, variance, ridge=ridge)
    gains = None if lmmse else np.ones(len(factor))

    def predict(octave: float) -> FiniteRatePoint:
        return cancellation.at(2.0**octave / ell, gains, channel=channel)

    if guess is None:
        octave = 0.5 * math.log2(2 * math.pi * math.e * variance) + float(np.mean(np.log2(ell))) - rate_bits
    else:
        octave = math.log2(guess)
    octave, point = _secant(predict, octave, rate_bits, tolerance)
    return 2.0**octave, point


def _unrolled(rate_bits: float) -> float:
    return rate_bits if rate_bits >= 1 else 1 + math.log(max(rate_bits, 1e-300))


def _secant(
    predict: Callable[[float], FiniteRatePoint], octave: float, rate_bits: float, tolerance: float
) -> tuple[float, FiniteRatePoint]:
    """Octave of the scale at which a falling rate is met: secants, or the middle of the bracket where they leave it.

    On R from 1 bit up and 1 + ln R below, where it falls ever faster; the tolerance is relative there.
    """
    low, high = -math.inf, math.inf  # too fine, too coarse
    before: tuple[float, float] | None = None
    for _ in range(80):
        point = predict(octave)
        if abs(point.rate_bits - rate_bits) <= tolerance * min(1.0, rate_bits):
            return octave, point
        excess = _unrolled(point.rate_bits) - _unrolled(rate_bits)
        low, high = (octave, high) if excess > 0 else (low, octave)
        slope = -1.0
        if before is not None and before[0] != octave:
            slope = min((excess - before[1]) / (octave - before[0]), -0.1)
        before = octave, excess
        octave -= excess / slope
        if not low < octave < high:
            octave = 0.5 * (low + high)
    raise RateUnreachable(f"successive cancellation: no step scale with {rate_bits} bits, {point.rate_bits:.4f} bits at the last one tried")
