"""Successive interference cancellation (SIC), written like the paper."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdtools.kernels.philox_reference import uniform

from rdtools.arrays import Float64Array, FloatArray


def integer_range(integer_min: int, integer_max: int, dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """The range of the integers as floating-point numbers, the nearest inside it where an end has no exact one."""
    lowest, highest = dtype.type(integer_min), dtype.type(integer_max)
    if int(lowest) < integer_min:
        lowest = np.nextafter(lowest, dtype.type(0))
    if int(highest) > integer_max:
        highest = np.nextafter(highest, dtype.type(0))
    return lowest, highest


def _round(x: FloatArray, column: int, seed: int | None) -> FloatArray:
    """``rint(x)``, or ``⌊x + u⌋`` with u uniform in [0, 1) if there is a seed, so that the mean is x."""
    if seed is None:
        return np.asarray(np.rint(x))
    return np.asarray(np.floor(x + uniform(seed, np.arange(len(x)), column).astype(x.dtype)))


def sic_sweep(
    weight: FloatArray,  # (m, n)
    factor: FloatArray,  # (n, n), lower triangular
    steps: Float64Array,  # (n,)
    gains: Float64Array,  # (n,)
    *,
    offset: float = 0.0,
    integer_min: int,
    integer_max: int,
    seed: int | None = None,
    residual: bool = True,
) -> tuple[NDArray[np.int32], FloatArray | None]:
    """Quantize columns from the last to the first, each against what those before it left over.

    With ``Y = W L``, for i = n … 1::

        z_i = clamp(rint(Y_:i / (α_i ℓ_ii) − offset), integer_min, integer_max)
        Y  ← Y − γ_i α_i (z_i + offset) L_i,:

    so that finally ``Y = (W − Ŵ) L`` with ``Ŵ_:i = γ_i α_i (z_i + offset)``, and ``‖Y‖²/(mn)`` is the distortion under L Lᵀ.
    α_i = c/ℓ_ii is WaterSIC, α_i = α is GPTQ, L = I is rounding to nearest. Rows do not interact. Any target may stand for W.

    Parameters
    ----------
    weight : (m, n) float64 or float32, W; everything is computed in its dtype
    factor : (n, n) float64 or float32, L, positive diagonal
    steps : (n,) float64, α, positive
    gains : (n,) float64, γ
    offset : 0, or ½ for a mid-rise grid
    integer_min, integer_max : range of the integers, within int32
    seed : None to round to nearest; else ``⌊x + u⌋`` takes the place of rint, u by `rdtools.kernels.philox_reference.uniform`
    residual : whether the final Y is wanted

    Returns
    -------
    integers : (m, n) int32
    residual : (m, n), the final Y in W's dtype, or None

    References
    ----------
    WaterSIC, arXiv 2603.04956 v1, Algorithm 1 (ZSIC), with the reconstruction gain γ of its section 4.
    """
    n = weight.shape[1]
    factor, steps, gains = (x.astype(weight.dtype, copy=False) for x in (factor, steps, gains))
    lowest, highest = integer_range(integer_min, integer_max, weight.dtype)
    Y = weight @ factor
    integers = np.empty(weight.shape, dtype=np.int32)
    for i in range(n - 1, -1, -1):
        z = np.clip(_round(Y[:, i] / (steps[i] * factor[i, i]) - offset, i, seed), lowest, highest)
        integers[:, i] = z
        Y[:, : i + 1] -= np.outer(gains[i] * steps[i] * (z + offset), factor[i, : i + 1])
    return integers, Y if residual else None


def sic_sweep_sample_gains(
    weight: FloatArray,  # (m, n)
    factor: FloatArray,  # (n, n), lower triangular
    steps: Float64Array,  # (n,)
    *,
    offset: float = 0.0,
    integer_min: int,
    integer_max: int,
    seed: int | None = None,
    residual: bool = True,
    gain_curve: Float64Array | None = None,  # (2, K)
    overwrite: bool = False,
) -> tuple[NDArray[np.int32], Float64Array, FloatArray | None]:
    """`sic_sweep` with the gain of each column fitted to its integers before they are fed back.

    With p = z_i + offset and c = α_i ℓ_ii::

        γ_i = ⟨p, Y_:i⟩ / (c ‖p‖²),   1 where p ≡ 0

    the least squares fit of ``Y_:i`` by ``γ c p``, so that ``‖Y_:i‖²`` after the column is the least that its integers allow. The sum
    over rows makes them interact: γ_i must be known before column i − 1 is decided. With a curve, mean squares in ascending order and their
    gains, γ_i is instead the gain at ‖p‖²/m, on the line between two of them; ``1 − m/(12 ‖p‖²)`` beyond the last. `overwrite` allows a
    backend to use W's memory; this one does not.

    Returns
    -------
    integers : (m, n) int32
    gains : (n,) float64, γ
    residual : (m, n), the final Y in W's dtype, or None

    References
    ----------
    WaterSIC, arXiv 2603.04956 v1, section 4 (LMMSE correction).
    """
    n = weight.shape[1]
    factor, steps = (x.astype(weight.dtype, copy=False) for x in (factor, steps))
    lowest, highest = integer_range(integer_min, integer_max, weight.dtype)
    Y = weight @ factor
    integers = np.empty(weight.shape, dtype=np.int32)
    gains = np.ones(n)
    for i in range(n - 1, -1, -1):
        c = steps[i] * factor[i, i]
        z = np.clip(_round(Y[:, i] / c - offset, i, seed), lowest, highest)
        integers[:, i] = z
        p = (z + offset).astype(np.float64)
        if gain_curve is not None:
            q = (p @ p) / max(len(p), 1)
            gains[i] = np.interp(q, *gain_curve) if q <= gain_curve[0, -1] else 1 - 1 / (12 * q)
        elif p.any():
            gains[i] = (p @ Y[:, i].astype(np.float64)) / (np.float64(c) * (p @ p))
        Y[:, : i + 1] -= np.outer(weight.dtype.type(gains[i]) * steps[i] * (z + offset), factor[i, : i + 1])
    return integers, gains, Y if residual else None
