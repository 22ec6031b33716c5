"""Quantizers run on iid normal weights under a layer's second moment: what the theorems on rates and gaps speak of."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from rdtools.hessians.layer import Layer
from rdtools.measure import measure, weighted_error
from rdtools.ops import sic_sweep
from rdtools.quantizers import GPTQ, RTN, WaterSIC
from rdtools.theory.claims.evidence import (
    HIGH_RATE_SHARE,
    AbsmaxPoint,
    CodedPoint,
    Estimate,
    Float64Array,
    NormalEvidence,
    SchemePoint,
)
from rdtools.verify.case import MomentCase, budget

#: Codes must stay within the precision of the sweep.
_HIGHEST_RATE_BITS = 20.0
_FINITE_RATES = (1.5, 2.0, 3.0)
#: Above so many columns the finite-rate prediction is no longer quick.
FINITE_RATE_COLUMNS = 1024
#: Of an empirical entropy: with fewer rows for each distinct code the correction of its bias is no longer enough.
_ROWS_A_VALUE = 16
_CODED_RATES = (2.0, 4.0)
_ABSMAX_BITS = 6


def normal_evidence(case: MomentCase) -> NormalEvidence:
    """Run the schemes; with a singular H only those that do not speak of its factor."""
    n, factor = case.columns, case.factor
    W = case.generator("normal").standard_normal((budget(n), n))
    return NormalEvidence(
        high_rate={} if factor is None else _high_rate(case, factor, W),
        finite_rate=() if factor is None or n > FINITE_RATE_COLUMNS else _finite_rate(case, factor, W),
        coded=_coded(case, W),
        absmax=_absmax(case, W),
    )


def _scheme_factors(factor: Float64Array) -> dict[str, tuple[Float64Array, Float64Array]]:
    """For each scheme the factor its feedback comes from, and its column steps up to a factor."""
    n = len(factor)
    return {
        "watersic": (factor, 1.0 / np.diagonal(factor)),
        "gptq": (factor, np.ones(n)),
        "rtn": (np.eye(n), np.ones(n)),
    }


def _distortion(W: Float64Array, reconstruction: Float64Array, case: MomentCase) -> Estimate:
    error = weighted_error(W, reconstruction, case.matrix)
    return Estimate(error.mean, error.stderr)


def _normal_code_length(codes: NDArray[np.int32], steps: Float64Array) -> Float64Array:
    """(m,) ``−log2 P(z)`` per weight of each row, z the rounding of N(0, 1) at each column's step."""
    # the far edge first, mirrored into the lower tail, where the logarithm of the distribution function keeps its digits
    far, near = (-(np.abs(codes) - 0.5) * steps, -(np.abs(codes) + 0.5) * steps)
    upper, lower = log_ndtr(far), log_ndtr(near)
    lengths = -(upper + np.log1p(-np.exp(lower - upper))) / math.log(2)
    return np.asarray(lengths.mean(axis=1))


def _high_rate(case: MomentCase, factor: Float64Array, W: Float64Array) -> dict[str, SchemePoint]:
    points = {}
    for name, (used, relative) in _scheme_factors(factor).items():
        # the largest share that a column adds to the distortion: its error in y-space, or without feedback the mean
        gains = np.diagonal(case.matrix).mean() if name == "rtn" else np.diagonal(factor) ** 2
        steps = relative * math.sqrt(12 * HIGH_RATE_SHARE * float(case.spectrum.eigenvalues[-1]) / float(np.max(relative**2 * gains)))
        rate = 0.5 * math.log2(2 * math.pi * math.e) - float(np.log2(steps).min())
        if rate > _HIGHEST_RATE_BITS:
            continue
        codes, _ = sic_sweep(W, used, steps)
        points[name] = SchemePoint(name, steps, _distortion(W, codes * steps, case), Estimate.of(_normal_code_length(codes, steps)))
    return points


def _empirical_code_length(codes: NDArray[np.int32]) -> Estimate | None:
    """Bits per weight under each column's own frequencies, with the Miller–Madow correction; None where a column has too many values."""
    m, n = codes.shape
    rows, correction = np.zeros(m), 0.0
    for column in codes.T:
        values, where, counts = np.unique(column, return_inverse=True, return_counts=True)
        if _ROWS_A_VALUE * len(values) > m:
            return None
        rows -= np.log2(counts / m)[where]
        correction += (len(values) - 1) / (2 * m * math.log(2))
    estimate = Estimate.of(rows / n)
    return Estimate(estimate.value + correction / n, estimate.stderr)


def _finite_rate(case: MomentCase, factor: Float64Array, W: Float64Array) -> tuple[SchemePoint, ...]:
    points = []
    for name, (used, relative) in _scheme_factors(factor).items():
        if name == "rtn":
            continue
        center = float(np.mean(np.log2(relative)))
        for rate in _FINITE_RATES:
            steps = relative * np.exp2(0.5 * math.log2(2 * math.pi * math.e) - rate - center)
            codes, _ = sic_sweep(W, used, steps)
            length = _empirical_code_length(codes)
            if length is not None:
                points.append(SchemePoint(name, steps, _distortion(W, codes * steps, case), length))
    return tuple(points)


def _coded(case: MomentCase, W: Float64Array) -> tuple[CodedPoint, ...]:
    layer = Layer.of(W, case.matrix, name=case.name)
    points = []
    for rate in _CODED_RATES:
        for quantizer in (RTN(rate_bits=rate), GPTQ(rate_bits=rate), WaterSIC(rate_bits=rate), WaterSIC(rate_bits=rate, lmmse=True)):
            point = measure(layer, quantizer.quantize(layer))
            points.append(CodedPoint(quantizer.method, point.coded_bits, Estimate(point.distortion, point.distortion_stderr)))
    return tuple(points)


def _absmax(case: MomentCase, W: Float64Array) -> AbsmaxPoint:
    levels = 2**_ABSMAX_BITS
    largest = np.abs(W).max(axis=1)
    step = 2 * largest[:, None] / levels
    codes = np.clip(np.floor(W / step), -levels // 2, levels // 2 - 1)
    return AbsmaxPoint(largest, levels, _distortion(W, (codes + 0.5) * step, case))
