"""Distortion and size of a layer as functions of a method's target rate, through the rates at which they are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import PchipInterpolator

from rdtools.arrays import Float64Array
from rdtools.errors import UsageError

#: Rates between the lowest and the highest that are known are offered in steps of so many bits per weight.
STEP_BITS = 1 / 128


@dataclass(frozen=True, eq=False)
class RateCurve:
    """Distortion and total rate of one layer by a method, at some target rates and between them.

    Between target rates ``log D`` is a monotone cubic (its slope is near −2 bits per bit at high rate) and what the total rate has beyond
    the target, scales and models, a broken line.

    Attributes
    ----------
    distortions : D/D₀ by target rate, which fall
    totals : bits per weight of the whole file by target rate; of a target that has no neighbours here, the nearest one's excess is taken
    continuous : True if the method has every rate between those, False if it has these alone

    Examples
    --------
    >>> curve = RateCurve({2.0: 0.04, 4.0: 0.0025}, {2.0: 2.1, 4.0: 4.3}, continuous=True)
    >>> curve.at(np.array([3.0]))
    (array([0.01]), array([3.2]))
    """

    distortions: Mapping[float, float]
    totals: Mapping[float, float]
    continuous: bool

    def __post_init__(self) -> None:
        values = [self.distortions[rate] for rate in sorted(self.distortions)]
        if not values or not (np.isfinite(values).all() and min(values) > 0) or (self.continuous and (np.diff(values) >= 0).any()):
            raise UsageError(f"distortions {values} at ascending rates: expected at least one, above 0, and falling")

    def with_total(self, target: float, total: float) -> RateCurve:
        """The same with a total rate that was measured."""
        return replace(self, totals={**self.totals, target: total})

    @property
    def targets(self) -> Float64Array:
        """Target rates on offer, ascending."""
        known = np.array(sorted(self.distortions))
        if not self.continuous or len(known) == 1:
            return known
        return np.unique(np.concatenate([np.arange(np.ceil(known[0] / STEP_BITS), np.floor(known[-1] / STEP_BITS) + 1) * STEP_BITS, known]))

    def at(self, targets: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Distortions and total rates at some target rates."""
        rates, logs = np.array(sorted(self.distortions)), np.log2([self.distortions[rate] for rate in sorted(self.distortions)])
        known = np.array(sorted(self.totals)) if self.totals else np.zeros(1)
        excess = np.array([self.totals[rate] - rate for rate in known]) if self.totals else np.zeros(1)
        between = PchipInterpolator(rates, logs)(targets) if len(rates) > 1 else np.full(len(targets), logs[0])
        return np.exp2(between), targets + np.interp(targets, known, excess)
