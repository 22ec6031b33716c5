"""Means and tails over tokens, and bootstrap intervals that draw whole clusters again: tokens of one text are not independent."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array
from rdtools.seeds import generator

RESAMPLES, CONFIDENCE = 1000, 0.95


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error and the ends of its percentile interval, nan for fewer than three clusters.

    Attributes
    ----------
    value : over all tokens
    stderr : standard deviation over resamples
    low, high : 2.5 % and 97.5 % quantiles over resamples
    """

    value: float
    stderr: float
    low: float
    high: float


def upper_tail(values: Float64Array, weights: Float64Array, share: float) -> tuple[Float64Array, Float64Array]:
    """Quantile at 1 − share, and mean of what is above it, of weighted values sorted from the greatest to the smallest.

    The tail is exactly the share of the whole weight: of the value at its end only a part counts.

    Parameters
    ----------
    values : (t,) descending
    weights : (r, t), a row for each resample

    Examples
    --------
    >>> quantile, mean = upper_tail(np.array([9.0, 4.0, 1.0, 0.0]), np.ones((1, 4)), 0.5)
    >>> quantile.tolist(), mean.tolist()
    ([4.0], [6.5])
    """
    tail = share * weights.sum(axis=1, keepdims=True)
    before = np.cumsum(weights, axis=1) - weights
    inside = np.clip(tail - before, 0.0, weights)
    last = np.argmax(before + weights >= tail * (1 - 1e-12), axis=1)
    return values[last], (inside @ values) / tail[:, 0]


@dataclass(frozen=True, eq=False)
class Resamples:
    """Draws of clusters with replacement, as often as there are clusters.

    Attributes
    ----------
    clusters : (t,) cluster of every token
    seed : of the draws

    Examples
    --------
    >>> same = Resamples(np.repeat(np.arange(4), 5), seed=0).mean(np.ones(20))
    >>> same.value, same.low, same.high
    (1.0, 1.0, 1.0)
    """

    clusters: NDArray[np.int64]
    seed: int

    @cached_property
    def _numbers(self) -> NDArray[np.int64]:
        return np.unique(self.clusters, return_inverse=True)[1].astype(np.int64)

    @property
    def count(self) -> int:
        """Number of clusters."""
        return int(self._numbers.max(initial=-1)) + 1

    @cached_property
    def _draws(self) -> Float64Array:
        """(RESAMPLES, clusters), how often each cluster was drawn."""
        rng = generator(self.seed, "bootstrap of clusters")
        return rng.multinomial(self.count, np.full(self.count, 1 / self.count), size=RESAMPLES).astype(np.float64)

    def _estimate(self, value: float, again: Float64Array) -> Estimate:
        if self.count < 3:
            return Estimate(value, np.nan, np.nan, np.nan)
        low, high = np.quantile(again, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        return Estimate(value, float(np.std(again, ddof=1)), float(low), float(high))

    def mean(self, values: Float64Array) -> Estimate:
        """Mean over tokens: sums of the clusters drawn over their numbers of tokens."""
        sums, counts = (np.bincount(self._numbers, weights=of, minlength=self.count) for of in (values, np.ones(len(values))))
        return self._estimate(float(values.mean()), (self._draws @ sums) / (self._draws @ counts))

    def tail(self, values: Float64Array, share: float) -> tuple[Estimate, Estimate]:
        """Quantile at 1 − share over tokens, and the mean of the tokens above it."""
        order = np.argsort(-values, kind="stable")
        ordered, of = values[order], self._numbers[order]
        quantile, mean = upper_tail(ordered, np.ones((1, len(values))), share)
        again = [upper_tail(ordered, draw[of][None], share) for draw in self._draws]
        quantiles, means = (np.concatenate(part) for part in zip(*again, strict=True))
        return self._estimate(float(quantile[0]), quantiles), self._estimate(float(mean[0]), means)
