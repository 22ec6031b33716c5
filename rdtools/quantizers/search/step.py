"""The scale of an unbounded grid at which its integers have the rate that was asked for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Matrix, largest, mean_square, row_dots
from rdtools.errors import RateUnreachable
from rdtools.ops import INTEGER_MAX
from rdtools.quantizers.search.rate import (
    RATE_TOLERANCE_BITS,
    SEARCH_TOLERANCE_BITS,
    Candidate,
    octaves_of_rate,
    search_step,
)
from rdtools.records import CosetSymbols, LatticePoints, ScalarSymbols

Symbols = TypeVar("Symbols", ScalarSymbols, CosetSymbols, LatticePoints)


class ScaledGrid(Protocol[Symbols]):
    """Grids of columns but for their common scale: target (m, r), step exponents or None, a name for messages, and integers at a scale."""

    @property
    def target(self) -> Matrix: ...  # noqa: D102
    @property
    def exponents(self) -> NDArray[np.uint8] | None: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102

    def at(self, log2_step: float, rows: NDArray[np.intp] | None = None) -> Candidate[Symbols]:
        """Integers of some rows, or of all, where the finest step is so wide, and their rate."""


#: Weights up to which the rate is searched on all rows, and about how many the sample has beyond that.
SAMPLED_FROM, SAMPLE = 2**20, 2**19
#: Trials on the sample at most, and on all rows before a search on all rows begins.
SAMPLE_TRIALS, WHOLE_TRIALS = 6, 3


def sample_rows(weight: Matrix) -> NDArray[np.intp] | None:
    """(k,) rows on which the rate of a large matrix is searched, in ascending order; None for all rows.

    Evenly spaced among the rows in order of energy, so that the sample has large and small rows as the matrix has them: evenly spaced in
    the matrix they would miss its rate by more than the search is allowed to.
    """
    size = math.prod(weight.shape)
    if size <= SAMPLED_FROM:
        return None
    every = max(1, size // SAMPLE)
    by_energy = np.argsort(row_dots(weight, weight), kind="stable")
    return np.sort(by_energy[every // 2 :: every])


def _secants(
    evaluate: Callable[[float], Candidate[Symbols]],
    *,
    rate_bits: float,
    start: float,
    slope: float,
    trials: int,
    tolerance: float,
) -> tuple[Candidate[Symbols] | None, float, float]:
    """So many secants at most on log2(step), in the coordinate of `octaves_of_rate`.

    Returns
    -------
    the candidate within the tolerance, or None; where it is, or where the next trial would have been; and the last slope
    """
    x = start
    before: tuple[float, float] | None = None
    for _ in range(trials):
        candidate = evaluate(x)
        if abs(candidate.rate_bits - rate_bits) <= tolerance:
            return candidate, x, slope
        error = octaves_of_rate(candidate.rate_bits) - octaves_of_rate(rate_bits)
        del candidate  # before the next one takes its memory
        if before is not None and abs(x - before[0]) > 1e-6:
            # within reason, whatever a jump of the rate makes of it
            slope = min(max((error - before[1]) / (x - before[0]), -2.0), -0.25)
        before = (x, error)
        x += min(max(-error / slope, -4.0), 4.0)
    return None, x, slope


def _search_by_sample(grid: ScaledGrid[Symbols], rows: NDArray[np.intp], rate_bits: float, start: float) -> Candidate[Symbols]:
    """All rows at the step where the sample has the rate; from there on, all rows until they have it."""
    _, x, slope = _secants(
        lambda x: grid.at(x, rows),
        rate_bits=rate_bits,
        start=start,
        slope=-1.0,
        trials=SAMPLE_TRIALS,
        tolerance=SEARCH_TOLERANCE_BITS,
    )
    candidate, x, _ = _secants(grid.at, rate_bits=rate_bits, start=x, slope=slope, trials=WHOLE_TRIALS, tolerance=RATE_TOLERANCE_BITS)
    return candidate or search_step(grid.at, rate_bits=rate_bits, start=x, name=grid.name, tolerance=RATE_TOLERANCE_BITS)


def search_rate(grid: ScaledGrid[Symbols], weight_std: float, rate_bits: float) -> Candidate[Symbols]:
    """The integers that have the rate.

    Large matrices are searched on a sample of rows, and then quantized once: again only where that misses the rate by more than
    RATE_TOLERANCE_BITS.

    Parameters
    ----------
    grid : what is scaled
    weight_std : root mean square of the weights, where the search starts
    rate_bits : bits per active weight

    Raises
    ------
    RateUnreachable
        If no step has the rate, or one weight is so far out that its code needs more than 32 bits.
    ScaleOutOfRange
        If the step is outside the normal range of float32.
    """
    W = grid.target
    if not W.any():  # nothing to code: zeros at rate 0, whatever was asked for
        return grid.at(0.0)
    weight_std = weight_std or math.sqrt(mean_square(W))
    # entropy of a finely quantized normal: ½ log2(2πe σ²) − mean log2(step)
    spread = 0.0 if grid.exponents is None else float(np.mean(grid.exponents)) / 8
    start = math.log2(weight_std) - spread - octaves_of_rate(rate_bits)
    rows = sample_rows(W)
    if rows is None:
        candidate = search_step(grid.at, rate_bits=rate_bits, start=start, name=grid.name)
    else:
        candidate = _search_by_sample(grid, rows, rate_bits, start)
    # on a trellis the largest integers are up to ten below R(D), by coset
    if largest(candidate.result.integers) >= INTEGER_MAX - 10:
        raise RateUnreachable(
            f"{grid.name}: {rate_bits:g} bits per weight cannot be reached: a weight (largest {largest(W):.3g}, rms {weight_std:.3g}) "
            "would need a code of more than 32 bits; remove the outlier or ask for less"
        )
    return candidate
