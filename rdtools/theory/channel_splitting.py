"""Channels of a quantized activation split into copies: QLLM's disassembly.

A token's activations share one step, so that a few large channels set the error of all. Channel j is replaced by T_j copies of x_j/T_j
that keep its weight column: nothing changes but the range, and with it the step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rdtools.arrays import Float64Array, Int64Array
from rdtools.errors import TheoryError
from rdtools.linalg import check_weight


@dataclass(frozen=True, eq=False)
class Disassembly:
    """The map from n channels to n' copies.

    Attributes
    ----------
    counts : (n,) int64, T_j ≥ 1
    source : (n',) int64, the channel that each copy is of, ascending
    scale : (n',) 1/T of its channel
    stagger : (n',) ``(i − (T − 1)/2)/T`` for copy i = 0 … T − 1: its shift, in steps; the shifts of a channel add up to 0
    """

    counts: Int64Array
    source: Int64Array
    scale: Float64Array
    stagger: Float64Array

    @property
    def expansion(self) -> float:
        """``γ = (n' − n)/n``."""
        return (len(self.source) - len(self.counts)) / len(self.counts)

    def activations(self, activations: ArrayLike, *, step: ArrayLike | None = None) -> Float64Array:
        """Copies x', (…, n'), of activations x, (…, n), with ``W' x' = W x``.

        With the step Δ of each token, (…), copy i of channel j is ``x_j/T + Δ (i − (T − 1)/2)/T``. Rounded to any grid of step Δ, without
        clipping, such copies add up to x_j rounded to one grid of step Δ, because ``Σ_{i<T} ⌊v + i/T⌋ = ⌊T v⌋``; equal copies add up to
        x_j rounded to a grid of step T Δ.
        """
        x = np.asarray(activations, dtype=np.float64)
        copies = x[..., self.source] * self.scale
        if step is not None:
            copies = copies + np.asarray(step, dtype=np.float64)[..., None] * self.stagger
        return np.asarray(copies)

    def weight(self, weight: ArrayLike) -> Float64Array:
        """W', (m, n'): the column of its channel for each copy of it."""
        return check_weight(weight, columns=len(self.counts))[:, self.source]


def disassembly_counts(channel_maxima: ArrayLike, threshold: float) -> Int64Array:
    """``T_j = max(1, ⌈m_j/θ⌉)``: the fewest copies of x_j/T that stay within ±θ.

    All 1 from ``θ = max m_j`` on.

    Parameters
    ----------
    channel_maxima : (n,), m_j = max|x_j| over tokens, ≥ 0
    threshold : θ > 0

    Returns
    -------
    (n,) int64

    Raises
    ------
    TheoryError
        For no channels, maxima that are negative or not finite, or a threshold that is not positive.

    References
    ----------
    QLLM, arXiv 2310.08041, channel disassembly.

    Examples
    --------
    >>> disassembly_counts([0.0, 1.0, 2.0, 7.0], 2.0).tolist()
    [1, 1, 1, 4]
    """
    m = np.asarray(channel_maxima, dtype=np.float64)
    if m.ndim != 1 or m.size == 0 or not (np.isfinite(m).all() and m.min() >= 0) or not threshold > 0:
        raise TheoryError(
            f"disassembly: maxima of shape {m.shape}, threshold {threshold}; "
            "expected one finite max|x_j| ≥ 0 per channel, and a threshold above 0"
        )
    return np.maximum(1, np.ceil(m / threshold)).astype(np.int64)


def disassemble(counts: ArrayLike) -> Disassembly:
    """The split of channel j into T_j copies x_j/T_j with the same weight column, exact before quantization.

    Parameters
    ----------
    counts : (n,) whole numbers, T_j ≥ 1

    Raises
    ------
    TheoryError
        For no channels, or counts that are not whole numbers of at least 1.

    References
    ----------
    QLLM, arXiv 2310.08041, channel disassembly. Staggered copies derived for this project, by Hermite's identity.

    Examples
    --------
    >>> split = disassemble([1, 2])
    >>> split.activations([5.0, 6.0]).tolist(), split.weight([[1.0, 2.0]]).tolist(), split.expansion
    ([5.0, 3.0, 3.0], [[1.0, 2.0, 2.0]], 0.5)
    """
    T = np.asarray(counts)
    if T.ndim != 1 or T.size == 0 or T.dtype.kind not in "iu" or T.min() < 1:
        raise TheoryError(
            f"disassembly: counts of shape {T.shape} and dtype {T.dtype}, expected a whole number of at least 1 for each channel"
        )
    T = T.astype(np.int64)
    source = np.repeat(np.arange(len(T)), T)
    copy = np.arange(len(source)) - np.repeat(np.cumsum(T) - T, T)
    each = T[source].astype(np.float64)
    return Disassembly(T, source, 1.0 / each, (copy - (each - 1) / 2) / each)
