"""Reverse waterfilling: the rate–distortion function of independent Gaussian components, exactly.

With component variances v_1 … v_n and water level τ,

    D(τ) = (1/n) Σ min(v_i, τ),    R(τ) = (1/n) Σ ½ log2 max(1, v_i/τ).

For rows of W drawn iid from N(0, σ² I) and distortion weighted by H, the components are ``v_i = σ² λ_i`` with λ the eigenvalues of
H, and no method of any kind does better (WaterSIC, arXiv 2603.04956 v1, Proposition 3.1). With k active components both directions
have a closed form; k is found in the sorted list of the rates, or distortions, at which components become active, so there is
nothing to iterate and no tolerance. All in logarithms: Hessian spectra span more than ten decades.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class Waterfilling:
    """Points of a rate–distortion curve; all fields have the shape of the argument.

    Attributes
    ----------
    rate_bits : per component
    distortion : per component
    water_level : τ; the largest variance at rate 0, 0 at infinite rate
    active : number of components with v_i > τ, int64
    """

    rate_bits: Float64Array
    distortion: Float64Array
    water_level: Float64Array
    active: NDArray[np.int64]


@dataclass(frozen=True)
class _Sorted:
    """Positive variances, descending, with running sums: `log_sum[k]` of the k largest logs, `tail[k]` of all but those."""

    count: int
    log2: Float64Array
    values: Float64Array
    log_sum: Float64Array
    tail: Float64Array


def _sort(variances: ArrayLike) -> _Sorted:
    v = np.asarray(variances, dtype=np.float64).ravel()
    if v.size == 0 or not np.isfinite(v).all() or v.min() < 0:
        raise ValueError(
            f"waterfilling: variances of shape {v.shape}, expected at least one, finite and not negative; "
            "clip eigenvalues with rdtools.linalg.clip_eigenvalues first"
        )
    positive = np.sort(v[v > 0])[::-1]
    logs = np.log2(positive)
    log_sum = np.concatenate([[0.0], np.cumsum(logs)])
    # summed from the smallest up, so that the tail of a steep spectrum keeps its digits
    tail = np.concatenate([np.cumsum(positive[::-1])[::-1], [0.0]])
    return _Sorted(v.size, logs, positive, log_sum, tail)


def distortion_rate(rate_bits: ArrayLike, variances: ArrayLike) -> Waterfilling:
    """D(R): the least distortion at a rate.

    With k active components ``log2 τ = (Σ_{i≤k} log2 v_i − 2 n R)/k`` and ``D = (k τ + Σ_{i>k} v_i)/n``; component k + 1 is active from
    the rate ``(1/2n) Σ_{i≤k} log2(v_i/v_{k+1})`` on.

    Parameters
    ----------
    rate_bits : any shape, ≥ 0, bits per component
    variances : (n,), ≥ 0; zeros are components that cost nothing

    Returns
    -------
    Waterfilling

    Raises
    ------
    ValueError
        For a rate that is negative or NaN, or variances that are empty, negative or not finite.

    References
    ----------
    Cover and Thomas, Elements of Information Theory, 2nd ed., Theorem 10.3.3.

    Examples
    --------
    Two components, 4 and 1: at ½ bit each the first gets one bit and both are left at 1.

    >>> point = distortion_rate(0.5, [4.0, 1.0])
    >>> float(point.distortion), float(point.water_level), int(point.active)
    (1.0, 1.0, 1)
    """
    R = np.asarray(rate_bits, dtype=np.float64)
    if np.isnan(R).any() or (R < 0).any():
        raise ValueError(f"waterfilling: rate {R.min() if R.size else R}, expected bits per component of at least 0")
    s = _sort(variances)
    if s.values.size == 0:
        zeros = np.zeros_like(R)
        return Waterfilling(R, zeros, zeros, np.zeros(R.shape, dtype=np.int64))
    k_all = np.arange(len(s.values))
    # rate per component at which component k + 1 joins the k before it; non-decreasing up to rounding
    joining = np.maximum.accumulate(s.log_sum[:-1] - k_all * s.log2) / (2 * s.count)
    k = np.searchsorted(joining, R, side="left")
    kk = np.maximum(k, 1)
    with np.errstate(invalid="ignore"):
        log_level = np.where(k == 0, s.log2[0], (s.log_sum[kk] - 2 * s.count * R) / kk)
    level = np.exp2(log_level)
    D = (kk * level + s.tail[kk]) / s.count
    return Waterfilling(R, D, level, k.astype(np.int64))


def rate_distortion(distortion: ArrayLike, variances: ArrayLike) -> Waterfilling:
    """R(D): the least rate at a distortion; 0 from the mean variance on, infinite at D = 0.

    With k active components ``τ = (n D − Σ_{i>k} v_i)/k`` and ``R = (1/2n) Σ_{i≤k} log2(v_i/τ)``.

    Parameters
    ----------
    distortion : any shape, ≥ 0, per component
    variances : (n,), ≥ 0

    Raises
    ------
    ValueError
        For a distortion that is negative or NaN, or variances that are empty, negative or not finite.

    Examples
    --------
    >>> float(rate_distortion(1.0, [4.0, 1.0]).rate_bits)
    0.5
    """
    D = np.asarray(distortion, dtype=np.float64)
    if np.isnan(D).any() or (D < 0).any():
        raise ValueError(f"waterfilling: distortion {D.min() if D.size else D}, expected at least 0")
    s = _sort(variances)
    if s.values.size == 0:
        zeros = np.zeros_like(D)
        return Waterfilling(zeros, zeros, zeros, np.zeros(D.shape, dtype=np.int64))
    k_all = np.arange(len(s.values))
    # total distortion at which component k + 1 joins: the level is at its variance; non-increasing up to rounding
    joining = np.minimum.accumulate(k_all * s.values + s.tail[:-1])
    k = np.searchsorted(-joining, -s.count * D, side="left")
    kk = np.maximum(k, 1)
    level = np.where(k == 0, s.values[0], np.maximum(s.count * D - s.tail[kk], 0.0) / kk)
    with np.errstate(divide="ignore"):
        R = np.where(k == 0, 0.0, (s.log_sum[kk] - kk * np.log2(level)) / (2 * s.count))
    return Waterfilling(np.maximum(R, 0.0), np.minimum(D, s.tail[0] / s.count), level, k.astype(np.int64))


def joint_variances(row_variances: ArrayLike, eigenvalues: ArrayLike) -> Float64Array:
    """Component variances ``σ_k² λ_i`` of rows of unequal variance, shape (m·n,), for the two functions above.

    The limit for a matrix whose row k is N(0, σ_k² I) with the σ_k known to both sides. It never exceeds the limit for the mean
    variance, and lies ``½ log2(AM/GM of σ_k²)`` below it where every component is active.
    """
    return np.outer(np.asarray(row_variances, dtype=np.float64), np.asarray(eigenvalues, dtype=np.float64)).ravel()
