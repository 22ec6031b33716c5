"""Fit Gaussian entropy models to integers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from rdtools.arrays import Float64Array, Matrix, row_dots
from rdtools.coding.entropy.exponents import exponent_bytes
from rdtools.coding.entropy.gaussians import Gaussians, count_by_gaussian, gaussian_code_length, gaussian_stds
from rdtools.coding.entropy.models import IntegerCounts
from rdtools.coding.scales import octave_exponents, round_to_float32
from rdtools.records import GaussianModel, ScalarSymbols


def row_exponents_if_shorter(weight: Matrix) -> NDArray[np.uint8] | None:
    """Deviations of the rows (m, r) in eighths of an octave; None where they would take more bits than they save.

    Gaussians that know the variances σ_k² of the rows save ½ log2(AM/GM of σ_k²) bits per weight where most integers are not zero. The rule
    looks at the weights and not at their integers, so that the rate is a continuous function of the step.
    """
    variances = row_dots(weight, weight) / max(weight.shape[1], 1)
    exponents = octave_exponents(np.sqrt(variances))
    active = variances[variances > 0]
    if active.size == 0:
        return None
    saved = weight.shape[1] * len(active) * 0.5 * (np.log2(active.mean()) - np.log2(active).mean())
    return exponents if saved > 8 * len(exponent_bytes(exponents)) else None


def fit_column_gaussians(
    symbols: ScalarSymbols, *, row_exponents: NDArray[np.uint8] | None = None, counts: IntegerCounts | None = None
) -> ScalarSymbols:
    """The same integers with the Gaussian models under which they are shortest.

    Parameters
    ----------
    symbols : integers and steps
    row_exponents : (m,) standard deviations of the rows in eighths of an octave, or None for equal rows
    counts : `count_integers` of the integers, if known
    """
    gaussians = Gaussians.of(symbols.integers.shape, symbols.grid, row_exponents)
    model = fit_gaussians(count_by_gaussian(symbols.integers, gaussians, counts), gaussians.steps)
    return replace(symbols, model=replace(model, row_exponents=row_exponents))


def _nothing(_: GaussianModel) -> float:
    return 0.0


def fit_gaussians(counts: IntegerCounts, steps: Float64Array, further_bits: Callable[[GaussianModel], float] = _nothing) -> GaussianModel:
    """The Gaussian models under which the integers are shortest: `weight_std` and `noise_variance` by descent of the code length, as
    float32.

    Errors that successive cancellation feeds back enlarge the variance of columns whose own share is small, and a ridge takes from it; with
    WaterSIC's steps by about the same number of squared steps in each, so that one number serves all. It is kept only where it pays.

    Parameters
    ----------
    counts : from `count_by_gaussian`
    steps : `Gaussians.steps`
    further_bits : of a model: what else in a file is coded under it
    """
    if counts.values.size == 0:
        return GaussianModel()
    plain = GaussianModel(weight_std=fit_weight_std(counts, steps, further_bits))
    if len(steps) == 1:
        return plain  # equal Gaussians: a second number would say the same

    def model(x: Float64Array) -> GaussianModel:
        return GaussianModel(weight_std=round_to_float32(plain.weight_std * math.exp(x[0])), noise_variance=round_to_float32(x[1]))

    def length(model: GaussianModel) -> float:
        return gaussian_code_length(counts, gaussian_stds(model, steps)) + further_bits(model)

    start = np.array([[0.0, 0.0], [-0.2, 0.0], [0.0, 0.2]])
    optimum = scipy.optimize.minimize(
        lambda x: length(model(x)),
        start[0],
        method="Nelder-Mead",
        options={"initial_simplex": start, "xatol": 3e-3, "fatol": 1e-5 * float(counts.counts.sum()), "maxfev": 120},
    )
    noisy = model(optimum.x)
    return noisy if length(noisy) < length(plain) else plain


def fit_weight_std(counts: IntegerCounts, steps: Float64Array, further_bits: Callable[[GaussianModel], float] = _nothing) -> float:
    """The float32 `weight_std` for which integers of standard deviation ``weight_std / steps``, and further bits, are shortest.

    Maximum likelihood of one scale, to 0.1 %, where the length is flat. The search starts at the root mean square of what the integers
    stand for, which outliers can only make too large, and walks whole octaves down and up first, past one that is no better, because
    escapes make small steps in the length.
    """
    if counts.values.size == 0:
        return 0.0
    squares = (counts.values * counts.steps_per_integer * steps[counts.columns]) ** 2
    start = float(np.sqrt((counts.counts * squares).sum() / counts.counts.sum())) or float(steps.min()) / 4

    def length(octaves: float) -> float:
        std = start * 2.0**octaves
        return gaussian_code_length(counts, std / steps) + further_bits(GaussianModel(weight_std=std))

    nearest, least = 0, length(0)
    for direction in (-1, 1):
        octave, misses = nearest, 0
        while misses < 2 and abs(octave) < 120:
            octave += direction
            trial = length(octave)
            misses = misses + 1 if trial >= least else 0
            if trial < least:
                nearest, least = octave, trial
    result = scipy.optimize.minimize_scalar(length, bounds=(nearest - 1, nearest + 1), method="bounded", options={"xatol": 1e-3})
    return round_to_float32(start * 2.0 ** float(result.x))
