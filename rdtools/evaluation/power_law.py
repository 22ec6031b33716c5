"""A power law of the divergence of a model on the distortion of its layers, with intervals."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import t as student_t

from rdtools.arrays import Float64Array
from rdtools.errors import UsageError
from rdtools.evaluation.intervals import CONFIDENCE, RESAMPLES, Estimate
from rdtools.evaluation.noise import NOISE
from rdtools.seeds import generator


@dataclass(frozen=True, eq=False)
class PowerLaw:
    """Least squares of ``ln y = ln a + b ln x``, and the same through points drawn again with replacement.

    Errors of layers partly cancel and partly add across depth, so that b is not assumed to be 1. Intervals of a and b are those of pairs
    (x, y) drawn again: they do not know what the points have in common, such as the tokens that all of them were measured on.

    Attributes
    ----------
    x, y : (k,) > 0, at least three with two different x
    seed : of the draws

    Examples
    --------
    >>> law = PowerLaw(np.array([1.0, 2.0, 4.0]), np.array([3.0, 6.0, 12.0]), seed=0)
    >>> round(law.power.value, 12), round(law.factor.value, 12), round(law.at(8.0).high, 9)
    (1.0, 3.0, 24.0)
    """

    x: Float64Array
    y: Float64Array
    seed: int

    def __post_init__(self) -> None:
        x, y = np.asarray(self.x, dtype=np.float64), np.asarray(self.y, dtype=np.float64)
        if x.shape != y.shape or x.ndim != 1 or len(x) < 3 or len(np.unique(x)) < 2 or not (x > 0).all() or not (y > 0).all():
            raise UsageError(f"power law: {x.size} and {y.size} values; expected at least three pairs above 0, of two different x")

    @staticmethod
    def _fit(x: Float64Array, y: Float64Array) -> Float64Array:
        return np.polyfit(np.log(x), np.log(y), 1)

    @cached_property
    def _coefficients(self) -> Float64Array:
        return self._fit(self.x, self.y)

    @cached_property
    def _again(self) -> Float64Array:
        """(r, 2) coefficients of resamples."""
        rng, k = generator(self.seed, "bootstrap of a power law"), len(self.x)
        draws = [rng.integers(0, k, k) for _ in range(RESAMPLES)]
        return np.array([self._fit(self.x[draw], self.y[draw]) for draw in draws if len(np.unique(self.x[draw])) > 1])

    def _estimate(self, value: float, again: Float64Array) -> Estimate:
        low, high = np.quantile(again, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        return Estimate(value, float(np.std(again, ddof=1)), float(low), float(high))

    @property
    def power(self) -> Estimate:
        """Exponent b."""
        return self._estimate(float(self._coefficients[0]), self._again[:, 0])

    @property
    def factor(self) -> Estimate:
        """Factor a."""
        return self._estimate(float(np.exp(self._coefficients[1])), np.exp(self._again[:, 1]))

    def at(self, x: ArrayLike) -> Estimate:
        """Estimate of y at a new x, with Student's prediction interval for another point like those of the fit.

        ``ln y ± t s √(1 + 1/k + (ln x − m)²/S)``, m and S the mean of ln x and the sum of squares about it, s² that of the residuals over
        k − 2, t the quantile of k − 2 degrees of freedom: exact for any k if errors of ln y are independent Gaussian ones of one variance.
        Intervals of resampled points hold the truth in two of three cases for k = 3. A point of another kind, such as a plan that gives
        layers other shares of the distortion than the points have, is beyond what the interval knows.
        """
        logs, log, k = np.log(self.x), float(np.log(x)), len(self.x)
        residuals = np.log(self.y) - np.polyval(self._coefficients, logs)
        spread = 1 + 1 / k + (log - logs.mean()) ** 2 / np.sum((logs - logs.mean()) ** 2)
        deviation = float(np.sqrt(residuals @ residuals / (k - 2) * spread))
        value, width = float(np.polyval(self._coefficients, log)), deviation * float(student_t.ppf((1 + CONFIDENCE) / 2, k - 2))
        return Estimate(float(np.exp(value)), float(np.exp(value)) * deviation, float(np.exp(value - width)), float(np.exp(value + width)))


def with_power_law(rows: pd.DataFrame) -> pd.DataFrame:
    """Evaluated rows with ``kl_power`` b and ``kl_factor`` a of ``KL = a (Σ D/D₀)^b`` through all but the noise floor.

    Both are nan for fewer than two different Σ D/D₀.
    """
    measured = rows[(rows["method"] != NOISE) & rows["kl_nats"].gt(0) & rows["summed_relative_distortion"].gt(0)]
    power, level = np.nan, np.nan
    if measured["summed_relative_distortion"].nunique() > 1:
        power, level = np.polyfit(np.log(measured["summed_relative_distortion"]), np.log(measured["kl_nats"]), 1)
    return rows.assign(kl_power=float(power), kl_factor=float(np.exp(level)))
