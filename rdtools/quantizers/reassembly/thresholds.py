"""Thresholds of splitting, one for each number of copies that they add."""

from __future__ import annotations

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.transforms.links import Split


def distinct_thresholds(maxima: Float64Array, most: int) -> Float64Array:
    """The least threshold for each number of added copies up to `most`, descending, from max m on.

    The number ``r(θ) = Σ_j (max(1, ⌈m_j/θ⌉) − 1)`` of added copies is that of pairs (j, k), k ≥ 1, with ``m_j/k > θ``, so that it changes
    at these quotients only: splitting is D'Hondt's allocation of seats. An even grid of thresholds, as published, meets some of them,
    others twice.

    Parameters
    ----------
    maxima : (n,) m_j = max |x_j| ≥ 0, not all zero
    most : r at most, ≥ 0

    Examples
    --------
    >>> distinct_thresholds(np.array([12.0, 5.0, 1.0]), 3).tolist()
    [12.0, 6.0, 5.0, 4.0]
    """
    # the largest channel alone adds `most` copies at its (most + 1)th part
    per_channel = Split.within(maxima, float(maxima.max()) / (most + 1)).counts
    source = np.repeat(np.arange(len(maxima)), per_channel)
    k = np.arange(len(source)) - np.repeat(np.cumsum(per_channel) - per_channel, per_channel) + 1
    quotients = np.unique(maxima[source] / k)[::-1]
    quotients = quotients[quotients > 0][: most + 1]
    added = np.array([Split.within(maxima, float(quotient)).outputs - len(maxima) for quotient in quotients])
    # quotients that are equal but for rounding give one number of copies
    return np.asarray(quotients[(added <= most) & (np.diff(added, prepend=-1) > 0)])
