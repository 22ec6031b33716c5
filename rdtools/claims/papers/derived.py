"""Statements that were derived for this project, and textbook ones on the weights: none of the papers has them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from weakref import WeakKeyDictionary

import numpy as np

from rdtools.claims.evidence.base import Estimate, Evidence
from rdtools.claims.evidence.coded import CodedPoint
from rdtools.claims.evidence.mismatch import Mismatch
from rdtools.claims.evidence.moment import Moment
from rdtools.claims.evidence.normal_weights import NormalWeights, SchemePoint
from rdtools.claims.evidence.weights import Weights
from rdtools.claims.papers.terms import (
    REGULAR,
    factor,
    factor_rounding,
    ours,
    summing,
    trace_h,
)
from rdtools.claims.record import FALSE_ALARM, Assumption, Source, Statement
from rdtools.linalg import log2_am_over_gm
from rdtools.theory.calibration import calibration_penalty_bits, logdet_bias_bits
from rdtools.theory.finite_rate import FINITE_RATE_COLUMNS, FiniteRatePoint, sic_at_finite_rate
from rdtools.theory.mismatch import damped_noise_gains
from rdtools.theory.mixture import mixture_loss_bits
from rdtools.theory.shannon import shannon_lower_bound_bits
from rdtools.theory.sic import absmax_distortion, gptq_gap_bits
from rdtools.theory.waterfilling import distortion_rate, joint_components

#: What the finite-rate prediction is good to, from this rate on.
_FINITE_RATE_ACCURACY = 0.01
_FINITE_RATE_ACCURACY_BITS = 0.01
_LOWEST_FINITE_RATE = 1.5
_MAX_FEEDBACK_BITS = 1.0
#: Rate at which the limits for equal and for measured row variances are compared.
_JOINT_RATE = 2.0

_PREDICTED: WeakKeyDictionary[SchemePoint, FiniteRatePoint] = WeakKeyDictionary()

_FINITE = Assumption(
    f"a point of at least {_LOWEST_FINITE_RATE} bits with less than {_MAX_FEEDBACK_BITS:g} bit of feedback, on at most "
    f"{FINITE_RATE_COLUMNS} columns, with 16 rows for each value of a code",
    lambda e: bool(_points(e)),
)


def _points(e: Evidence) -> list[SchemePoint]:
    return [
        point
        for point in e[NormalWeights].finite_rate
        if point.rate_bits.value >= _LOWEST_FINITE_RATE and _predict(e, point).feedback_bits < _MAX_FEEDBACK_BITS
    ]


def _predict(e: Evidence, point: SchemePoint) -> FiniteRatePoint:
    if point not in _PREDICTED:
        _PREDICTED[point] = sic_at_finite_rate(factor(e), point.steps, lmmse=False)
    return _PREDICTED[point]


def _farthest(estimates: list[Estimate], target: float) -> Estimate:
    """The estimate farthest from the target beyond its error; five standard errors are about what is granted."""
    return max(estimates, key=lambda estimate: abs(estimate.value - target) - 5 * estimate.stderr)


def _farthest_distortion(e: Evidence) -> Estimate:
    return _farthest([point.distortion.scaled(1 / _predict(e, point).distortion) for point in _points(e)], 1.0)


def _farthest_rate(e: Evidence) -> Estimate:
    return _farthest([replace(p.rate_bits, value=p.rate_bits.value - _predict(e, p).rate_bits) for p in _points(e)], 0.0)


def _of_several(e: Evidence) -> float:
    """Chance of the points beside the one counted anyway: the farthest of several is looked at."""
    return FALSE_ALARM * (len(_points(e)) - 1)


def _ratio(e: Evidence) -> float:
    return e[Moment].columns / e[Mismatch].tokens


def _bound_distance(e: Evidence) -> float:
    """The penalty is a limit in n: its arithmetic mean is N/(N−n−1) and not 1/(1−y), its geometric mean has a bias of its own."""
    y = _ratio(e)
    n, N = e[Moment].columns, e[Mismatch].tokens
    exact = 0.5 * math.log2(N / (N - n - 1)) + logdet_bias_bits(n, N)
    # the mean of the logarithm of the arithmetic mean is below the logarithm of its mean by half its relative variance, 2y/((1−y) n²)
    return abs(exact - calibration_penalty_bits(y)) + 0.5 * math.log2(math.e) * 2 * y / (1 - y) / n**2


_CALIBRATED = Assumption(
    "16 to 1024 active columns, for which calibrations are drawn", lambda e: e[Moment].columns >= 16 and e[Mismatch].penalties_bits.size > 0
)


def _mean_of(draws: Callable[[Mismatch], np.ndarray[tuple[int], np.dtype[np.float64]]]) -> Callable[[Evidence], Estimate]:
    return lambda e: Estimate.of(draws(e[Mismatch]))


_DENSITY = Assumption("no value makes up more than 1 % of the weights", lambda e: e[Weights].entropy is not None)


def _entropy(e: Evidence) -> Estimate:
    entropy = e[Weights].entropy
    assert entropy is not None  # an assumption of the claim
    return entropy


def _shannon(e: Evidence, point: CodedPoint) -> Estimate:
    if point.distortion.value == 0:
        return Estimate(-math.inf, 0.0)
    entropy = _entropy(e)
    active = replace(e[Moment].spectrum, columns=e[Moment].columns)
    bound = shannon_lower_bound_bits(active, point.distortion.value, entropy.value) - 0.5 * log2_am_over_gm(e[Weights].row_variances)
    slope = 1 / (2 * math.log(2) * point.distortion.value)
    return Estimate(bound, entropy.stderr + point.distortion.stderr * slope, point.distortion.degrees)


def _tightest(e: Evidence) -> CodedPoint:
    return min(e[Weights].coded, key=lambda point: point.total_bpw - _shannon(e, point).value)


def _absmax(e: Evidence) -> float:
    point = e[NormalWeights].absmax
    return absmax_distortion(np.diagonal(e[Moment].matrix), point.row_absmax, point.levels, feedback=False)


CLAIMS = (
    Statement(
        "mixture.shared-histogram",
        "I = h(mixture of N(0, ℓ_ii²)) − mean h ≤ ½ log2(AM/GM of ℓ_ii²) = G",
        ours("negentropy of a shared histogram; WaterSIC 2603.04956 v1 Table 6 shows the loss"),
    ).at_most(
        lambda e: mixture_loss_bits(np.sqrt(e[Moment].pivots)),
        lambda e: gptq_gap_bits(e[Moment].spectrum) * e[Moment].spectrum.columns / e[Moment].spectrum.active,
        "bit",
        *REGULAR,
        # the quadrature of the mixture's entropy
        tolerance=lambda e: 1e-8 + factor_rounding(e, 1.0),
    ),
    Statement(
        "finite-rate.distortion",
        "measured/predicted D = 1 within 1 % from 1.5 bits on (the farthest of WaterSIC and GPTQ points)",
        ours("covariance recursion"),
    ).equal(_farthest_distortion, 1.0, "relative", *REGULAR, _FINITE, tolerance=_FINITE_RATE_ACCURACY, chance=_of_several),
    Statement(
        "finite-rate.rate",
        "measured − predicted rate = 0 within 0.01 bit from 1.5 bits on (the farthest of WaterSIC and GPTQ points)",
        ours("covariance recursion"),
    ).equal(_farthest_rate, 0.0, "bit", *REGULAR, _FINITE, tolerance=_FINITE_RATE_ACCURACY_BITS, chance=_of_several),
    Statement(
        "mismatch.damped",
        "D = Σ α_i² ℓ̃_ii² [L̃⁻¹ H L̃⁻ᵀ]_ii/(12 n) when columns are decided under H + δI = L̃ L̃ᵀ",
        ours("mismatched successive cancellation"),
    ).equal(
        lambda e: e[Mismatch].distortion,
        lambda e: (
            float(
                np.mean(
                    e[Mismatch].steps ** 2
                    * damped_noise_gains(e[Mismatch].damped_factor, e[Mismatch].damping * trace_h(e) / e[Moment].columns)
                )
            )
            / 12
        ),
        "distortion",
        # the share of ℓ̃² that counts is 1 minus a number up to 1
        tolerance=summing(
            lambda e: float(np.mean(e[Mismatch].steps ** 2 * np.diagonal(e[Mismatch].damped_factor) ** 2)) / e[Mismatch].damping
        ),
    ),
    Statement(
        "mismatch.calibration",
        "½ log2(AM/GM of eig(Σ̃⁻¹Σ)) = ½ log2(1/(1−y)) + (−1 + ((y−1)/y) ln(1−y))/(2 ln 2), y = n/N (mean of those drawn)",
        ours("Marchenko–Pastur limit of the mismatch penalty"),
    ).equal(
        _mean_of(lambda m: m.penalties_bits),
        lambda e: calibration_penalty_bits(_ratio(e)),
        "bit",
        *REGULAR,
        _CALIBRATED,
        tolerance=_bound_distance,
    ),
    Statement(
        "mismatch.determinant-bias",
        "E (1/n) log2 |Σ̃|/|Σ| = (Σ ψ((N−i+1)/2)/n − ln(N/2))/ln 2 (mean of those drawn)",
        Source("Wishart distribution", "", "Anderson, 3rd ed., section 7.5"),
    ).equal(
        _mean_of(lambda m: m.log_determinants),
        lambda e: 2 * logdet_bias_bits(e[Moment].columns, e[Mismatch].tokens),
        "bit",
        *REGULAR,
        _CALIBRATED,
    ),
    Statement(
        "mismatch.holdout",
        "E tr(Σ̃⁻¹Σ')/n = N/(N−n−1), Σ' from other tokens (mean of those drawn)",
        Source("inverse Wishart distribution", "", "Anderson, 3rd ed., Lemma 7.7.1"),
    ).equal(
        _mean_of(lambda m: m.holdout_means),
        lambda e: e[Mismatch].tokens / (e[Mismatch].tokens - e[Moment].columns - 1),
        "ratio",
        *REGULAR,
        _CALIBRATED,
    ),
    Statement(
        "fixed-rate.absmax",
        "D = mean Δ_k²/12 · tr H/n · (1 + 2/n), Δ_k = 2 max|w_k|/K, K = 64, within 1 %",
        ours("absmax grids, the edge cell counted; WaterSIC 2603.04956 v1 baselines"),
    ).equal(
        lambda e: e[NormalWeights].absmax.distortion.scaled(1 / _absmax(e)),
        1.0,
        "relative",
        Assumption("at least eight active columns, so that the largest of a row is far out", lambda e: e[Moment].columns >= 8),
        tolerance=0.01,
    ),
    Statement("weights.entropy", "h(W) ≤ ½ log2(2πe σ²)", Source("Cover and Thomas, 2nd ed.", "", "Theorem 8.6.5")).at_most(
        _entropy,
        lambda e: 0.5 * math.log2(2 * math.pi * math.e * e[Weights].variance),
        "bit",
        _DENSITY,
        tolerance=lambda e: e[Weights].entropy_bias_bits,
    ),
    Statement(
        "weights.shannon-lower-bound",
        "coded rate ≥ h(W) + ½ log2 |H|^{1/n} − ½ log2(2πe D) − ½ log2(AM/GM of σ_k²) for the layer's own weights (the tightest file)",
        ours("Shannon lower bound, less what rows of unequal variance may gain"),
    ).at_least(
        lambda e: _tightest(e).total_bpw,
        lambda e: _shannon(e, _tightest(e)),
        "bit",
        *REGULAR,
        _DENSITY,
        tolerance=lambda e: e[Weights].entropy_bias_bits,
    ),
    Statement(
        "waterfilling.rows-of-unequal-variance",
        f"R(D) for the measured row variances ≤ that for their mean, at {_JOINT_RATE:g} bits",
        ours("joint waterfilling over rows; concavity of R(D) in log σ_k²"),
    ).at_most(
        lambda e: float(
            distortion_rate(_JOINT_RATE, joint_components(e[Weights].row_variances, e[Moment].spectrum.eigenvalues)).distortion
        ),
        lambda e: float(distortion_rate(_JOINT_RATE, e[Weights].variance * e[Moment].spectrum.eigenvalues).distortion),
        "distortion",
        tolerance=summing(lambda e: e[Weights].variance * trace_h(e)),
    ),
)
