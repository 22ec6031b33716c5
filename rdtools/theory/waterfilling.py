"""Reverse waterfilling: the rate–distortion function of independent Gaussian components, exactly.

With component variances v_1 … v_n and water level τ,

    D(τ) = (1/n) Σ min(v_i, τ),    R(τ) = (1/n) Σ ½ log2 max(1, v_i/τ).

For rows of W drawn iid from N(0, σ² I) and distortion weighted by H, the components are ``v_i = σ² λ_i`` with λ the eigenvalues of
H, and no method of any kind does better (WaterSIC, arXiv 2603.04956 v1, Proposition 3.1). With k active components both directions
have a closed form; k is found in the sorted list of the rates, or distortions, at which components become active, so there is
nothing to iterate and no tolerance. All in logarithms: Hessian spectra span more than ten decades.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rdtools.arrays import Float64Array
from rdtools.errors import TheoryError, WrongType
from rdtools.records import Spectrum


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
class Components:
    """Component variances made ready: positive ones in descending order, with running sums.

    Attributes
    ----------
    total : number of components, zeros and multiplicities included
    log2, values : (k,) distinct entries, descending
    number, log_sum : (k + 1,) components, and sum of their logs, before each entry
    tail : (k + 1,) sum of the variances from each entry on
    unit : of `log2`, `values` and `tail`: 1, or a power of two where sums would leave float64
    """

    total: float
    log2: Float64Array
    values: Float64Array
    number: Float64Array
    log_sum: Float64Array
    tail: Float64Array
    unit: float = 1.0


#: Variances from `_HUGE` on are counted in this unit.
_HUGE, _UNIT = 2.0**990, 2.0**32


def components(variances: ArrayLike, multiplicities: ArrayLike | None = None) -> Components:
    """Sort once what `distortion_rate` and `rate_distortion` are asked about many times.

    Parameters
    ----------
    variances : (n,), ≥ 0, in any order
    multiplicities : (n,), how often each occurs; 1 by default

    Raises
    ------
    WrongType
        For a `Spectrum` in place of variances.
    TheoryError
        If variances are empty, negative or not finite, or multiplicities do not fit them.
    """
    if isinstance(variances, Spectrum):
        raise WrongType("waterfilling: got a Spectrum, expected variances of components: weight_variance * spectrum.eigenvalues")
    v = np.asarray(variances, dtype=np.float64).ravel()
    counts = np.ones_like(v) if multiplicities is None else np.asarray(multiplicities, dtype=np.float64).ravel()
    if v.size == 0 or not np.isfinite(v).all() or v.min() < 0:
        raise TheoryError(
            f"waterfilling: variances of shape {v.shape}, expected at least one, finite and not negative; "
            "clip eigenvalues with rdtools.linalg.clip_eigenvalues first"
        )
    if counts.shape != v.shape or not counts.min() > 0:
        raise TheoryError(f"waterfilling: multiplicities of shape {counts.shape}, expected one above 0 for each of {v.size} variances")
    order = np.argsort(-v, kind="stable")
    order = order[: int((v > 0).sum())]
    unit = _UNIT if order.size and v[order[0]] >= _HUGE else 1.0
    positive, times = v[order] / unit, counts[order]
    logs = np.log2(positive)
    return Components(
        total=float(counts.sum()),
        log2=logs,
        values=positive,
        number=np.concatenate([[0.0], np.cumsum(times)]),
        log_sum=np.concatenate([[0.0], np.cumsum(times * logs)]),
        # summed from the smallest up, so that the tail of a steep spectrum keeps its digits
        tail=np.concatenate([np.cumsum((times * positive)[::-1])[::-1], [0.0]]),
        unit=unit,
    )


def _ready(variances: ArrayLike | Components) -> Components:
    return variances if isinstance(variances, Components) else components(variances)


def distortion_rate(rate_bits: ArrayLike, variances: ArrayLike | Components) -> Waterfilling:
    """D(R): the least distortion at a rate.

    With k active components ``log2 τ = (Σ_{i≤k} log2 v_i − 2 n R)/k`` and ``D = (k τ + Σ_{i>k} v_i)/n``; component k + 1 is active from
    the rate ``(1/2n) Σ_{i≤k} log2(v_i/v_{k+1})`` on.

    Parameters
    ----------
    rate_bits : any shape, ≥ 0, bits per component
    variances : (n,), ≥ 0, zeros are components that cost nothing; or `components` of them

    Returns
    -------
    Waterfilling

    Raises
    ------
    TheoryError
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
        raise TheoryError(f"waterfilling: rate {R.min() if R.size else R}, expected bits per component of at least 0")
    s = _ready(variances)
    if s.values.size == 0:
        zeros = np.zeros_like(R)
        return Waterfilling(R, zeros, zeros, np.zeros(R.shape, dtype=np.int64))
    # rate per component at which entry k + 1 joins the k before it; non-decreasing up to rounding
    joining = np.maximum.accumulate(s.log_sum[:-1] - s.number[:-1] * s.log2) / (2 * s.total)
    k = np.searchsorted(joining, R, side="left")
    kk = np.maximum(k, 1)
    with np.errstate(invalid="ignore"):
        log_level = np.where(k == 0, s.log2[0], (s.log_sum[kk] - 2 * s.total * R) / s.number[kk])
    level = np.exp2(log_level)
    D = (s.number[kk] * level + s.tail[kk]) / s.total
    return Waterfilling(R, D * s.unit, level * s.unit, s.number[k].astype(np.int64))


def _active_at(s: Components, total: Float64Array, some: slice) -> NDArray[np.intp]:
    """Entries that have joined at total distortions, if that is decided among some of them."""
    # total distortion at which entry k + 1 joins: the level is at its variance; non-increasing up to rounding
    joining = np.minimum.accumulate(s.number[:-1][some] * s.values[some] + s.tail[:-1][some])
    return np.asarray((some.start or 0) + np.searchsorted(-joining, -total, side="left"))


def _near(s: Components, total: float) -> slice:
    """The entries among which `_active_at` is decided for one total, from every √K-th of K: all K would be most of the work."""
    size = s.values.size
    stride, slack = math.isqrt(size), 4 * size * float(np.finfo(np.float64).eps)  # more than the sums are rounded by
    last, first = _active_at(s, total * np.array([1 - slack, 1 + slack]), slice(None, None, stride)).tolist()
    return slice(max(first - 1, 0) * stride, last * stride + 1)


def rate_distortion(distortion: ArrayLike, variances: ArrayLike | Components) -> Waterfilling:
    """R(D): the least rate at a distortion; 0 from the mean variance on, infinite at D = 0.

    With k active components ``τ = (n D − Σ_{i>k} v_i)/k`` and ``R = (1/2n) Σ_{i≤k} log2(v_i/τ)``.

    Parameters
    ----------
    distortion : any shape, ≥ 0, per component
    variances : (n,), ≥ 0, or `components` of them

    Raises
    ------
    TheoryError
        For a distortion that is negative or NaN, or variances that are empty, negative or not finite.

    Examples
    --------
    >>> float(rate_distortion(1.0, [4.0, 1.0]).rate_bits)
    0.5
    """
    D = np.asarray(distortion, dtype=np.float64)
    if np.isnan(D).any() or (D < 0).any():
        raise TheoryError(f"waterfilling: distortion {D.min() if D.size else D}, expected at least 0")
    s = _ready(variances)
    if s.values.size == 0:
        zeros = np.zeros_like(D)
        return Waterfilling(zeros, zeros, zeros, np.zeros(D.shape, dtype=np.int64))
    D = D / s.unit
    k = _active_at(s, s.total * D, slice(None)) if D.size != 1 else _active_at(s, s.total * D, _near(s, s.total * float(D.item())))
    kk = np.maximum(k, 1)
    level = np.where(k == 0, s.values[0], np.maximum(s.total * D - s.tail[kk], 0.0) / s.number[kk])
    with np.errstate(divide="ignore"):
        R = np.where(k == 0, 0.0, (s.log_sum[kk] - s.number[kk] * np.log2(level)) / (2 * s.total))
    return Waterfilling(np.maximum(R, 0.0), np.minimum(D, s.tail[0] / s.total) * s.unit, level * s.unit, s.number[k].astype(np.int64))


def joint_components(row_variances: ArrayLike, eigenvalues: ArrayLike, *, most: int = 4_000_000) -> Components:
    """Components ``σ_k² λ_i`` of rows of unequal variance, for the two functions above.

    R(D) of a matrix whose row k is N(0, σ_k² I) with the σ_k known to both sides. It never exceeds R(D) for the mean
    variance, and lies ``½ log2(AM/GM of σ_k²)`` below it where every component is active.

    Parameters
    ----------
    row_variances : (m,), ≥ 0
    eigenvalues : (n,), ≥ 0, zeros for dead input channels
    most : entries kept. A larger problem is pooled over neighbouring rows of the sorted variances, each pool at its mean, which moves the
        bound up, by less than the spread of the logarithms inside a pool.
    """
    rows = np.sort(np.asarray(row_variances, dtype=np.float64).ravel())
    values = np.asarray(eigenvalues, dtype=np.float64).ravel()
    pools = np.array_split(rows, min(len(rows), max(1, most // max(values.size, 1))))
    means = np.array([pool.mean() for pool in pools])
    sizes = np.array([len(pool) for pool in pools], dtype=np.float64)
    return components(np.outer(means, values), np.outer(sizes, np.ones_like(values)))
