"""Quantizers run on iid normal weights under a layer's second moment: what the theorems on rates and gaps speak of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array
from rdtools.claims.evidence.base import Estimate
from rdtools.claims.evidence.case import MomentCase, budget
from rdtools.claims.evidence.coded import CodedPoint, coded_points
from rdtools.measure import weighted_error
from rdtools.moments.layer import Layer
from rdtools.ops import sic_sweep
from rdtools.theory.finite_rate import FINITE_RATE_COLUMNS

#: What is called high rate: every column adds at most this share of λ_min to the distortion.
HIGH_RATE_SHARE = 1 / 1024
#: Width of the bins, in standard deviations of the integers, in which the frequencies of fine integers are counted.
BIN_STDS = 1 / 6
#: Integers must stay within the precision of the sweep.
HIGHEST_RATE_BITS = 20.0
_FINITE_RATES = (1.5, 2.0, 3.0)
#: Of an empirical entropy: with fewer rows for each distinct code the correction of its bias is no longer enough.
_ROWS_A_VALUE = 16
_ABSMAX_BITS = 6


@dataclass(frozen=True, eq=False)
class SchemePoint:
    """One scheme on iid normal weights of variance one.

    Attributes
    ----------
    scheme : "watersic", "gptq", "rtn" or "rtn-columns" (steps inverse to the root of H_ii)
    steps : (r,) α
    distortion : per weight
    rate_bits : per weight, by column, under the empirical distribution of the integers, at high rate in bins of BIN_STDS
    """

    scheme: str
    steps: Float64Array
    distortion: Estimate
    rate_bits: Estimate


@dataclass(frozen=True, eq=False)
class AbsmaxPoint:
    """Rounding to nearest on a grid for each row: its largest magnitudes, number of levels and distortion per weight."""

    row_absmax: Float64Array
    levels: int
    distortion: Estimate


@dataclass(frozen=True, eq=False)
class NormalWeights:
    """Quantizers run on iid normal weights under the layer's H.

    Attributes
    ----------
    high_rate : points at HIGH_RATE_SHARE, by scheme; without those that this takes more than 20 bits
    finite_rate : points from about 1.5 to 3 bits, as far as prediction is quick and rows are enough to measure an entropy
    coded : files of real quantizers
    absmax : fixed-rate rounding
    """

    high_rate: Mapping[str, SchemePoint]
    finite_rate: tuple[SchemePoint, ...]
    coded: tuple[CodedPoint, ...]
    absmax: AbsmaxPoint


def gather_normal_weights(case: MomentCase) -> NormalWeights:
    """Run the schemes; with a singular H only those that do not speak of its factor."""
    n, factor = case.columns, case.factor
    W = case.generator("normal").standard_normal((budget(n), n))
    return NormalWeights(
        high_rate={} if factor is None else _high_rate(case, factor, W),
        finite_rate=() if factor is None or n > FINITE_RATE_COLUMNS else _finite_rate(case, factor, W),
        coded=coded_points(Layer.of(W, case.matrix, name=case.name)),
        absmax=_absmax(case, W),
    )


def _scheme_factors(factor: Float64Array, moment_diagonal: Float64Array) -> dict[str, tuple[Float64Array, Float64Array]]:
    """For each scheme the factor its feedback comes from, and its column steps up to a factor."""
    n = len(factor)
    return {
        "watersic": (factor, 1.0 / np.diagonal(factor)),
        "gptq": (factor, np.ones(n)),
        "rtn": (np.eye(n), np.ones(n)),
        "rtn-columns": (np.eye(n), 1.0 / np.sqrt(moment_diagonal)),
    }


def _distortion(W: Float64Array, reconstruction: Float64Array, case: MomentCase) -> Estimate:
    error = weighted_error(W, reconstruction, case.matrix)
    return Estimate(error.mean, error.stderr, len(W) - 1)


def _binned_code_length(integers: NDArray[np.int32]) -> Estimate:
    """Bits per weight of a code that knows each column's frequencies in bins of BIN_STDS, and nothing inside a bin.

    An upper bound on the entropy, whatever the distribution of the integers, and above it by w²/(24 σ² ln 2) for bins of width w and a
    normal distribution; fine integers have too many values for their frequencies to be known.
    """
    m, n = integers.shape
    rows, correction = np.zeros(m), 0.0
    for column in integers.T:
        width = max(1.0, math.floor(BIN_STDS * float(column.std())))
        bins, where, counts = np.unique(np.floor_divide(column, width), return_inverse=True, return_counts=True)
        rows += math.log2(width) - np.log2(counts / m)[where]
        correction += (len(bins) - 1) / (2 * m * math.log(2))
    estimate = Estimate.of(rows / n)
    return Estimate(estimate.value + correction / n, estimate.stderr, estimate.degrees)


def _high_rate(case: MomentCase, factor: Float64Array, W: Float64Array) -> dict[str, SchemePoint]:
    points = {}
    diagonal = np.diagonal(case.matrix)
    for name, (used, relative) in _scheme_factors(factor, diagonal).items():
        # the largest share that a column adds to the distortion: its error in y-space, or without feedback the mean
        added = np.mean(relative**2 * diagonal) if name.startswith("rtn") else np.max(relative**2 * np.diagonal(factor) ** 2)
        steps = relative * math.sqrt(12 * HIGH_RATE_SHARE * float(case.spectrum.eigenvalues[-1]) / float(added))
        rate = 0.5 * math.log2(2 * math.pi * math.e) - float(np.log2(steps).min())
        if rate > HIGHEST_RATE_BITS:
            continue
        integers, _ = sic_sweep(W, used, steps)
        points[name] = SchemePoint(name, steps, _distortion(W, integers * steps, case), _binned_code_length(integers))
    return points


def _empirical_code_length(integers: NDArray[np.int32]) -> Estimate | None:
    """Bits per weight under each column's own frequencies, with the Miller–Madow correction; None where a column has too many values."""
    m, n = integers.shape
    rows, correction = np.zeros(m), 0.0
    for column in integers.T:
        values, where, counts = np.unique(column, return_inverse=True, return_counts=True)
        if _ROWS_A_VALUE * len(values) > m:
            return None
        rows -= np.log2(counts / m)[where]
        correction += (len(values) - 1) / (2 * m * math.log(2))
    estimate = Estimate.of(rows / n)
    return Estimate(estimate.value + correction / n, estimate.stderr, estimate.degrees)


def _finite_rate(case: MomentCase, factor: Float64Array, W: Float64Array) -> tuple[SchemePoint, ...]:
    points = []
    for name, (used, relative) in _scheme_factors(factor, np.diagonal(case.matrix)).items():
        if name.startswith("rtn"):
            continue
        center = float(np.mean(np.log2(relative)))
        for rate in _FINITE_RATES:
            steps = relative * np.exp2(0.5 * math.log2(2 * math.pi * math.e) - rate - center)
            integers, _ = sic_sweep(W, used, steps)
            length = _empirical_code_length(integers)
            if length is not None:
                points.append(SchemePoint(name, steps, _distortion(W, integers * steps, case), length))
    return tuple(points)


def _absmax(case: MomentCase, W: Float64Array) -> AbsmaxPoint:
    levels = 2**_ABSMAX_BITS
    largest = np.abs(W).max(axis=1)
    step = 2 * largest[:, None] / levels
    integers = np.clip(np.floor(W / step), -levels // 2, levels // 2 - 1)
    return AbsmaxPoint(largest, levels, _distortion(W, (integers + 0.5) * step, case))
