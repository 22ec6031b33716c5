"""Loss of one code for columns of unequal variance."""

from __future__ import annotations

import math

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.errors import TheoryError

#: Step and range of ln x, from far inside the narrowest component to beyond the widest; the trapezoidal rule and the cut at zero then err
#: below 1e-8 bit.
_LOG_STEP = 0.02
_INNER, _OUTER = 1e-9, 12.0


def mixture_loss_bits(stds: Float64Array) -> float:
    """``I = h( (1/n) Σ N(0, s_i²) ) − (1/n) Σ h(N(0, s_i²))``: bits per code by which one shared code exceeds a code for each column.

    At high rate this is what a shared histogram costs WaterSIC, whose integers have standard deviations s_i ∝ ℓ_ii. Since a normal has the
    largest entropy of its variance, ``0 ≤ I ≤ ½ log2(AM/GM of s_i²) = G``, so that pooled WaterSIC is ahead of pooled GPTQ by G − I, the
    negentropy of the mixture. Integrated in ln x by the trapezoidal rule; the entropy of the mixture is even in x.

    Parameters
    ----------
    stds : (n,) s_i, positive

    Raises
    ------
    TheoryError
        If a standard deviation is not positive and finite.

    References
    ----------
    Derived for this project; the penalty is visible as pooled minus mean column entropy in WaterSIC, arXiv 2603.04956 v1, Table 6.

    Examples
    --------
    >>> mixture_loss_bits(np.full(5, 3.0)) < 1e-8
    True
    """
    s = np.asarray(stds, dtype=np.float64).ravel()
    if s.size == 0 or not (np.isfinite(s).all() and s.min() > 0):
        raise TheoryError(f"mixture: standard deviations of shape {s.shape}, expected positive and finite ones")
    values, counts = np.unique(s / s.max(), return_counts=True)
    weights = counts / counts.sum()
    x = np.exp(np.arange(math.log(values.min() * _INNER), math.log(_OUTER), _LOG_STEP))
    density = np.zeros_like(x)
    for value, weight in zip(values, weights, strict=True):
        density += weight / (value * math.sqrt(2 * math.pi)) * np.exp(-0.5 * (x / value) ** 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(density > 0, -density * np.log2(density), 0.0)
    mixture = 2.0 * float((terms * x).sum()) * _LOG_STEP
    components = 0.5 * math.log2(2 * math.pi * math.e) + float(weights @ np.log2(values))
    return max(0.0, mixture - components)
