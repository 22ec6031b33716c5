"""The limit for a product of two matrices that are both quantized."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from rdtools.errors import TheoryError

Float64Array = NDArray[np.float64]


def matmul_critical_rate_bits() -> float:
    """R*, the positive solution of ``R = ½ log2(1 + 4 R ln 2)``: about 0.906 bit.

    References
    ----------
    Ordentlich and Polyanskiy, arXiv 2410.13780 (optimal quantization for matrix multiplication), main theorem.

    Examples
    --------
    >>> round(matmul_critical_rate_bits(), 3)
    0.906
    """
    return float(brentq(lambda rate: rate - 0.5 * math.log2(1 + 4 * rate * math.log(2)), 0.5, 2.0, xtol=1e-15))


def matmul_distortion(rate_bits: ArrayLike) -> Float64Array:
    """Γ(R), the least mean squared error of a product of two iid Gaussian matrices, each coded at R bits an entry, over that of zero.

    ``Γ(R) = 2·2^{−2R} − 2^{−4R}`` from R* on, and below it the tangent from Γ(0) = 1, ``1 − (1 − Γ(R*)) R/R*``: there the optimum codes a
    fraction of the coordinates at R* and leaves the rest.

    Parameters
    ----------
    rate_bits : any shape, ≥ 0

    Raises
    ------
    TheoryError
        For a negative rate or NaN.

    References
    ----------
    Ordentlich and Polyanskiy, arXiv 2410.13780, main theorem.

    Examples
    --------
    >>> float(matmul_distortion(0.0)), float(matmul_distortion(2.0))
    (1.0, 0.12109375)
    """
    R = np.asarray(rate_bits, dtype=np.float64)
    if np.isnan(R).any() or (R < 0).any():
        raise TheoryError(f"matmul limit: rate {R.min() if R.size else R}, expected bits per entry of at least 0")
    critical = matmul_critical_rate_bits()

    def above(rate: Float64Array | float) -> Float64Array:
        x = np.exp2(-2.0 * np.asarray(rate))
        return np.asarray(x * (2.0 - x))

    return np.asarray(np.where(critical <= R, above(R), 1.0 - (1.0 - above(critical)) * R / critical))
