"""Rounding to nearest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array


def nearest(
    weight: Float64Array, steps: Float64Array, gains: Float64Array, offset: float, integer_min: int, integer_max: int
) -> NDArray[np.int32]:
    """Integers nearest to ``w/Δ``, as a `rdtools.quantizers.grids.levels.Rounding`."""
    return np.clip(np.rint(weight / steps - offset), integer_min, integer_max).astype(np.int32)
