"""Second moment of rows that both sides have, from which learnt models of another matrix go on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rdtools.kernels.adaptive_coder_reference import Gaussians, in_units, weighed

from rdtools.arrays import Float64Array


def adaptive_moment(
    integers: NDArray[np.int32],  # (m, p)
    rows: NDArray[np.int64],  # (m,)
    columns: NDArray[np.int64],  # (p,)
    gaussians: Gaussians,
    walks: bool,
) -> Float64Array:
    """``Σ_k û_k û_kᵀ`` (p, p) of rows that are known; arguments as of `adaptive_encode`, `walks` for integers half a step apart."""
    gaussian, _, roots = gaussians
    sums = np.zeros((len(columns), len(columns)))
    for first in range(0, len(rows), 256):
        part = slice(first, first + 256)
        values = integers[part].astype(np.float64) * (0.5 if walks else 1.0)
        units = in_units(values, roots[gaussian[rows[part, None] - columns]])
        units = np.array([weighed(row) for row in units]).reshape(units.shape)
        sums += units.T @ units
    return sums
