"""From what a decoder has to Ŵ."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdtools.portable import lmmse_gain
from rdtools.records import QuantizedWeight
from rdtools.transforms import rotate_back


def reconstruction_gains(column_steps: NDArray[np.float64], gain_std: float) -> NDArray[np.float64]:
    """Gain of each column: ``lmmse_gain(step / gain_std)``, or 1 where `gain_std` is 0."""
    return lmmse_gain(column_steps / gain_std) if gain_std > 0 else np.ones_like(column_steps)


def reconstruct(weight: QuantizedWeight) -> NDArray[np.float64]:
    """Ŵ, shape (m, n) float64; the formula is that of `QuantizedWeight`."""
    steps = weight.column_steps
    scales = reconstruction_gains(steps, weight.gain_std) * steps
    values = (weight.codes + weight.offset) * scales
    if weight.row_scales is not None:
        values *= weight.row_scales[:, None]
    if weight.rotation is not None:
        values = rotate_back(values, weight.rotation)
    rebuilt = np.zeros(weight.shape)
    rebuilt[:, weight.live] = values
    return rebuilt
