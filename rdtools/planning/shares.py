"""Methods and rates of the layers of a model that share one budget of bytes, from their rate–distortion curves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.errors import NoChoices, RateUnreachable
from rdtools.planning.rate_curves import RateCurve
from rdtools.theory.byte_budget import Choices, choose, choose_exactly

#: Share of the budget that must be used, and that is aimed at where sizes of files are interpolated.
LEAST, AIM = 0.998, 0.9995
#: Steps of a target rate that is the same for all layers.
_EQUAL_STEP = 1 / 4096


@dataclass(frozen=True)
class Pick:
    """A choice of a layer.

    Attributes
    ----------
    method, target : name and target rate
    bits : of the file
    distortion : D/D₀
    """

    method: str
    target: float
    bits: float
    distortion: float


@dataclass(eq=False)
class Shares:
    """A budget, and what layers can be; what becomes known of files is added on the way.

    Attributes
    ----------
    curves : by layer and method; each layer has the same methods
    weights : by layer, m n
    losses : by layer, what D/D₀ is multiplied by
    bits : budget in bits per weight over all layers
    equal : True for one target rate of one method in all layers, where losses do not count
    failed : layer, method and target rate of what was found not to exist
    """

    curves: dict[str, dict[str, RateCurve]]
    weights: Mapping[str, int]
    losses: Mapping[str, float]
    bits: float
    equal: bool = False
    failed: set[tuple[str, str, float]] = field(default_factory=set)

    @property
    def budget(self) -> float:
        """B, bits of all files."""
        return self.bits * sum(self.weights.values())

    @property
    def continuous(self) -> bool:
        """True if a method has rates between those that are known, whose sizes are not those of files yet."""
        return any(curve.continuous for by_method in self.curves.values() for curve in by_method.values())

    def fits(self, picks: Iterable[Pick]) -> bool:
        """True if files take at most the budget, and at least 99.8 % of it."""
        return LEAST * self.budget <= sum(pick.bits for pick in picks) <= self.budget

    def learn(self, layer: str, pick: Pick) -> None:
        """Note the size of a file."""
        curve = self.curves[layer][pick.method]
        self.curves[layer][pick.method] = curve.with_total(pick.target, pick.bits / self.weights[layer])

    def is_known(self, layer: str, pick: Pick) -> bool:
        """True if the size of the file is one that was measured."""
        return pick.target in self.curves[layer][pick.method].totals

    def choose(self) -> dict[str, Pick]:
        """Methods and targets of least summed loss; a little of the budget is left where sizes of files are interpolated.

        Raises
        ------
        RateUnreachable
            If no choices have the budget.
        """
        options = {name: self._options(name) for name in self.curves}
        low, high = (sum(end(pick.bits for pick in some) for some in options.values()) for end in (min, max))
        if low > self.budget or high < LEAST * self.budget:
            raise RateUnreachable(
                f"a budget of {self.bits:g} bits per weight: known rates reach from {self._rate(low):.4f} to {self._rate(high):.4f}; "
                "ask for a budget between, or report other rates into the run first"
            )
        if self.equal:
            return self._equal()
        if not self.continuous:
            return self.choose_known(options)
        chosen = choose([self._of(name, some) for name, some in options.items()], AIM * self.budget)
        return {name: some[k] for (name, some), k in zip(options.items(), chosen, strict=True)}

    def choose_known(self, options: Mapping[str, Sequence[Pick]]) -> dict[str, Pick]:
        """The best of options whose sizes are those of files.

        Raises
        ------
        RateUnreachable
            If none have the budget; the message has the nearest.
        """
        layers = [self._of(name, some) for name, some in options.items()]
        try:
            chosen = choose_exactly(layers, self.budget, least=LEAST * self.budget)
        except NoChoices as error:
            nearest = " and ".join(map(self._above, error.nearest))
            raise RateUnreachable(
                f"no choices take {LEAST:.1%} to 100 % of {self.bits:g} bits per weight; the nearest take {nearest}; ask for one of these, "
                "or for a method that has every rate"
            ) from error
        return {name: some[k] for (name, some), k in zip(options.items(), chosen, strict=True)}

    def known(self, layer: str) -> list[Pick]:
        """Options whose files were measured, with the distortions of the curves."""
        widths = []
        for method, curve in self.curves[layer].items():
            low, high = min(curve.distortions), max(curve.distortions)
            widths += self._picks(layer, method, np.array([target for target in sorted(curve.totals) if low <= target <= high]))
        return widths

    def _rate(self, bits: float) -> float:
        return bits / sum(self.weights.values())

    def _above(self, bits: float) -> str:
        """A budget of four decimals that holds so many bits."""
        return f"{np.ceil(self._rate(bits) * 1e4) / 1e4:.4f}"

    def _of(self, name: str, some: Sequence[Pick]) -> Choices:
        return Choices(np.array([pick.bits for pick in some]), self.losses[name] * np.array([pick.distortion for pick in some]))

    def _options(self, name: str) -> list[Pick]:
        picks = [pick for method, curve in self.curves[name].items() for pick in self._picks(name, method, curve.targets)]
        return [pick for pick in picks if (name, pick.method, pick.target) not in self.failed]

    def _picks(self, name: str, method: str, targets: Float64Array) -> list[Pick]:
        if not len(targets):
            return []
        distortions, totals = self.curves[name][method].at(targets)
        return [Pick(method, float(t), float(b), float(d)) for t, b, d in zip(targets, self._bytes(name, totals), distortions, strict=True)]

    def _bytes(self, name: str, totals: Float64Array) -> Float64Array:
        """Bits of whole bytes."""
        return np.asarray(8 * np.ceil(np.round(totals * self.weights[name] / 8, 6)))

    def _equal(self) -> dict[str, Pick]:
        """One method at the greatest target rate whose files fit."""
        (method,) = next(iter(self.curves.values()))
        curves = {name: by_method[method] for name, by_method in self.curves.items()}
        targets = sorted(set.intersection(*(set(curve.distortions) for curve in curves.values())))
        if self.continuous:
            ends: tuple[tuple[Callable[..., float], Callable[..., float]], ...] = ((max, min), (min, max))
            low, high = (outer(inner(curve.distortions) for curve in curves.values()) for outer, inner in ends)
            targets = np.arange(low, high, _EQUAL_STEP).tolist()
        refused = {target for _, _, target in self.failed}
        rates = np.array([target for target in targets if target not in refused])
        sums = np.sum([self._bytes(name, curve.at(rates)[1]) for name, curve in curves.items()], axis=0)
        inside = np.flatnonzero(sums <= (AIM if self.continuous else 1.0) * self.budget)
        if not len(inside) or sums[inside[-1]] < LEAST * self.budget:
            near = [self._above(sums[k]) for k in (*inside[-1:], *(inside[-1:] + 1)) if k < len(sums)]
            raise RateUnreachable(
                f"{method} at one rate takes {' or '.join(near or [self._above(sums[0])])} bits per weight, not "
                f"{LEAST:.1%} to 100 % of {self.bits:g}; ask for one of these, or for a method that has every rate"
            )
        return {name: self._picks(name, method, rates[inside[-1:]])[0] for name in self.curves}
