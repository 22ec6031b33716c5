"""Distortion of given weights rounded on given grids, with the error of later columns fed back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array


def stored_grid_distortion(
    weight: Float64Array,  # (m, n)
    scales: Float64Array,  # (m, n)
    shifts: Float64Array,  # (m, n)
    levels: NDArray[np.int64],  # (n,)
    noise_gains: Float64Array,  # (n,)
    *,
    active_fraction: float = 1.0,
) -> float:
    """``(1/n) Σ_i g_i mean_k (w_ki − q_ki(w_ki))²``: the rounding errors of the weights themselves, granular and overload.

    The points of row k and column i are ``s_ki (z + h_ki)``, z from −⌊K_i/2⌋ on; a single level is at zero. Feedback widens what is
    rounded, which is left out: with few levels more overloads than this says, on trained weights up to twice as much at 2 bits.

    Parameters
    ----------
    weight : as rounded, active columns
    scales : s, 0 for rows of zeros
    shifts : h, ½ for a mid-rise grid and minus the zero point for an asymmetric one
    levels : K
    noise_gains : distortion for a unit of squared error in a column, ``ℓ_ii²`` with feedback
    active_fraction : active columns over columns

    Examples
    --------
    One weight a third of a step off its point:

    >>> one = np.ones((1, 1))
    >>> round(stored_grid_distortion(one / 3, one, 0 * one, np.array([4]), np.array([2.0])), 4)
    0.2222
    """
    lowest = -(levels // 2)
    z = np.clip(np.rint(weight / np.where(scales > 0, scales, 1.0) - shifts), lowest, lowest + levels - 1)
    points = np.where(levels > 1, (z + shifts) * scales, 0.0)
    return active_fraction * float(np.mean(noise_gains * np.mean((weight - points) ** 2, axis=0)))
