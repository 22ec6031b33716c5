"""Successive interference cancellation (SIC), written like the paper."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]


def sic_sweep(
    weight: Float64Array,  # (m, n)
    factor: Float64Array,  # (n, n), lower triangular
    steps: Float64Array,  # (n,)
    gains: Float64Array,  # (n,)
    *,
    offset: float = 0.0,
    code_min: int,
    code_max: int,
) -> tuple[NDArray[np.int32], Float64Array]:
    """Quantize columns from the last to the first, each against what those before it left over.

    With ``Y = W L``, for i = n … 1::

        z_i = clamp(rint(Y_:i / (α_i ℓ_ii) − offset), code_min, code_max)
        Y  ← Y − γ_i α_i (z_i + offset) L_i,:

    so that finally ``Y = (W − Ŵ) L`` with ``Ŵ_:i = γ_i α_i (z_i + offset)``, and ``‖Y‖²/(mn)`` is the distortion under L Lᵀ.
    α_i = c/ℓ_ii is WaterSIC, α_i = α is GPTQ, L = I is rounding to nearest. Rows do not interact.

    Parameters
    ----------
    weight : (m, n) float64, W
    factor : (n, n) float64, L, positive diagonal
    steps : (n,) float64, α, positive
    gains : (n,) float64, γ
    offset : 0, or ½ for a mid-rise grid
    code_min, code_max : range of the codes, within int32

    Returns
    -------
    codes : (m, n) int32
    residual : (m, n) float64, the final Y

    References
    ----------
    WaterSIC, arXiv 2603.04956 v1, Algorithm 1 (ZSIC), with the reconstruction gain γ of its section 4.
    """
    n = weight.shape[1]
    Y = weight @ factor
    codes = np.empty(weight.shape, dtype=np.int32)
    for i in range(n - 1, -1, -1):
        z = np.clip(np.rint(Y[:, i] / (steps[i] * factor[i, i]) - offset), code_min, code_max)
        codes[:, i] = z
        Y[:, : i + 1] -= np.outer(gains[i] * steps[i] * (z + offset), factor[i, : i + 1])
    return codes, Y
