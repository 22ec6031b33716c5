"""Thresholds of splitting, one for each number of copies that they add."""

from __future__ import annotations

import numpy as np

from rdtools.arrays import Float64Array


def added_copies(maxima: Float64Array, threshold: float) -> int:
    """``r(θ) = Σ_j (max(1, ⌈m_j/θ⌉) − 1)``: copies that splitting adds."""
    return int((np.maximum(1, np.ceil(maxima / threshold)) - 1).sum())


def distinct_thresholds(maxima: Float64Array, most: int) -> Float64Array:
    """The least threshold for each number of added copies up to `most`, descending, from max m on.

    ``r(θ)`` is the number of pairs (j, k), k ≥ 1, with ``m_j/k > θ``, so that it changes at these quotients only: splitting is D'Hondt's
    allocation of seats. A grid of thresholds, as published, meets some of them, others twice.

    Parameters
    ----------
    maxima : (n,) m_j = max |x_j| ≥ 0, not all zero
    most : r at most, ≥ 0

    Examples
    --------
    >>> distinct_thresholds(np.array([12.0, 5.0, 1.0]), 3).tolist()
    [12.0, 6.0, 5.0, 4.0]
    """
    top = float(maxima.max())
    # the largest channel alone reaches `most` at top/(most + 1)
    least = top / (most + 1)
    per_channel = np.floor(maxima / least).astype(np.int64)
    source = np.repeat(np.arange(len(maxima)), per_channel)
    k = np.arange(len(source)) - np.repeat(np.cumsum(per_channel) - per_channel, per_channel) + 1
    quotients = np.unique(maxima[source] / k)[::-1]
    added = np.array([added_copies(maxima, float(q)) for q in quotients[: most + 1]])
    return np.asarray(quotients[: most + 1][added <= most])
