"""Replace an input channel by several smaller copies of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rdtools.arrays import Float64Array
from rdtools.errors import UsageError
from rdtools.records.link import Link, integer_array
from rdtools.records.stored import finished


@dataclass(frozen=True, eq=False, repr=False)
class Split(Link):
    """Channel i becomes ``counts[i]`` adjacent copies of ``x_i / counts[i]``, each with the weight column w_i.

    ``W′ x′ = W x`` for every x; the range of a large channel, and with it the step of an activation quantizer, becomes smaller.
    ``pull_back(V)`` is the mean of the columns of a channel's copies. `bits` are ``s (⌈log2 n⌉ + ⌈log2 max T⌉)``: each of the s channels
    that are split is named with its count.

    Equal copies share one rounding error, so that together they are x_i rounded to a grid of step T Δ. Staggered copies are shifted by
    ``(k − (T − 1)/2)/T`` steps, k = 0 … T − 1, before they are rounded; the shifts of a channel add up to 0, and without clipping its
    rounded copies add up to x_i rounded to one grid of step Δ, because ``Σ_{k<T} ⌊v + k/T⌋ = ⌊T v⌋``.

    Attributes
    ----------
    counts : (n,) int64, T_i ≥ 1
    staggered : whether copies are shifted; a constant of a file's header

    Raises
    ------
    UsageError
        For a count below 1.
    ShapeMismatch
        If `counts` is not a list of integers.

    References
    ----------
    QLLM, arXiv 2310.08041, channel disassembly. Staggered copies derived for this project, by Hermite's identity.

    Examples
    --------
    >>> link = Split(np.array([1, 2]))
    >>> link.apply(np.array([5.0, 6.0])).tolist(), link.weight(np.array([[1.0, 2.0]])).tolist(), link.bits
    ([5.0, 3.0, 3.0], [[1.0, 2.0, 2.0]], 2.0)
    """

    counts: NDArray[np.int64]
    staggered: bool = False

    @classmethod
    def within(cls, maxima: ArrayLike, threshold: float, *, staggered: bool = False) -> Split:
        """The fewest copies of every channel that stay within ±θ: ``T_i = max(1, ⌈m_i/θ⌉)``; one of each from ``θ = max m`` on.

        Parameters
        ----------
        maxima : (n,) m_i = max |x_i| over tokens
        threshold : θ > 0
        staggered : whether copies are shifted

        Raises
        ------
        UsageError
            For no channels, maxima that are negative or not finite, a threshold that is not positive, or one so low that a channel would
            become more than 2^31 copies.

        Examples
        --------
        >>> Split.within([0.0, 1.0, 2.0, 7.0], 2.0).counts.tolist()
        [1, 1, 1, 4]
        """
        m = np.asarray(maxima, dtype=np.float64)
        if m.ndim != 1 or m.size == 0 or not (np.isfinite(m).all() and m.min() >= 0):
            raise UsageError(f"split: channel maxima of shape {m.shape}, expected one finite max|x| ≥ 0 for each channel")
        if not threshold > 0 or not m.max() / threshold <= 2**31:
            raise UsageError(f"split: threshold {threshold} beside a largest activation of {m.max():.3g}, expected one above 2^−31 of that")
        # a threshold m/T gives T copies, whatever the rounding of both quotients
        return cls(np.maximum(1, np.ceil(m / threshold * (1 - 2.0**-50))).astype(np.int64), staggered)

    def __post_init__(self) -> None:
        counts = integer_array(self.counts, name="split: counts", expected="a whole number of copies for each channel")
        if counts.min() < 1:
            i = int(counts.argmin())
            raise UsageError(f"split: channel {i} in {counts[i]} copies, expected at least 1; leave out a channel by Select")
        object.__setattr__(self, "counts", finished(counts))

    @property
    def inputs(self) -> int:  # noqa: D102
        return len(self.counts)

    @property
    def outputs(self) -> int:  # noqa: D102
        return int(self.counts.sum())

    @property
    def lossless(self) -> bool:  # noqa: D102
        return True

    @property
    def bits(self) -> float:  # noqa: D102
        # ⌈log2 k⌉ is the bit length of k − 1
        name, count = (self.inputs - 1).bit_length(), (int(self.counts.max()) - 1).bit_length()
        return float(np.count_nonzero(self.counts > 1) * (name + count))

    @property
    def copies(self) -> NDArray[np.int64] | None:  # noqa: D102
        return self.counts

    @property
    def shifts(self) -> Float64Array | None:  # noqa: D102
        if not self.staggered:
            return None
        each = self.counts[self._source]
        return np.asarray((np.arange(self.outputs) - self._starts[self._source] - (each - 1) / 2) / each)

    @cached_property
    def _source(self) -> NDArray[np.int64]:
        return np.repeat(np.arange(self.inputs), self.counts)

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        return np.cumsum(self.counts) - self.counts

    def _apply(self, x: Float64Array) -> Float64Array:
        return (x / self.counts)[..., self._source]

    def _weight(self, weight: Float64Array) -> Float64Array:
        return weight[:, self._source]

    def _moment(self, moment: Float64Array) -> Float64Array:
        # products of counts are exact, so that both triangles are rounded alike
        shares = moment / np.multiply.outer(self.counts, self.counts)
        return np.asarray(shares[np.ix_(self._source, self._source)])

    def _pull_back(self, weight: Float64Array) -> Float64Array:
        return np.asarray(np.add.reduceat(weight, self._starts, axis=1) / self.counts)
