"""Gaussian entropy models of integers whose parity a trellis of cosets knows: tables, ideal length, fit.

An integer q of known parity is on a grid of step α, two spacings, about a point that the parity moves by half a step::

    P(q | parity) = Φ((q + 1)/(2 s)) − Φ((q − 1)/(2 s)),    s² = (weight_std / α)² + noise_variance

Of a Gaussian with a wide s the low bits of ``⌊q/2⌋`` are coded as equally likely, so that no table has more than some 6 k numbers.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Int64Array
from rdtools.coding import format_v2 as v2
from rdtools.coding import format_v3 as v3
from rdtools.coding.entropy.adaptive import adaptive_code_length
from rdtools.coding.entropy.fit import fit_gaussians
from rdtools.coding.entropy.gaussians import Gaussians, count_by_gaussian, gaussian_code_length, gaussian_stds
from rdtools.coding.entropy.models import IntegerCounts
from rdtools.normal import normal_cdf
from rdtools.ops.coset_coder import Tables
from rdtools.records import CosetSymbols


def coset_gaussians(symbols: CosetSymbols) -> Gaussians:
    """The Gaussians of the integers, which are not looked at."""
    return Gaussians.of(symbols.integers.shape, symbols.grid, symbols.model.row_exponents)


def gaussian_shift(std: float) -> int:
    """Low bits of ``⌊q/2⌋`` that are coded as equally likely: as many as leave FINE_STD steps or fewer in a standard deviation."""
    shift = 0
    while std > v3.FINE_STD * 2.0**shift and shift < v3.MAX_SHIFT:
        shift += 1
    return shift


def parity_table(std: float, parity: int) -> tuple[NDArray[np.uint32], int, int]:
    """Cumulative frequencies of a Gaussian given the parity, half their number without the escape symbol, and low bits.

    ``⌊(2²⁴ − K) Φ⌋ + place`` at the lower boundary of each of K symbols, so that none has a frequency of 0; the outermost have the tails.
    """
    shift = gaussian_shift(std)
    widest = min(std, v3.FINE_STD * 2.0**shift)
    half = (int(np.floor(v2.WINDOW_STDS * widest)) + 1 >> shift) + 1
    numbers = np.arange(-half, half + 1, dtype=np.float64) * 2.0**shift
    cdf = normal_cdf((numbers + 0.5 * (parity - 1)) / max(std, v2.MIN_STD))
    cdf[0] = 0.0
    symbols = 2 * half + 1
    cumulative = np.floor(cdf * (2**v2.PRECISION_BITS - symbols)) + np.arange(symbols)
    return np.append(cumulative, 2**v2.PRECISION_BITS).astype(np.uint32), half, shift


def coset_tables(symbols: CosetSymbols) -> tuple[Int64Array, Int64Array, Int64Array, Tables]:
    """Exponents of rows and columns, places of Gaussians by their difference, and the tables, as in `rdtools.ops.coset_encode`."""
    gaussians = coset_gaussians(symbols)
    rows, index = gaussians.lookup
    parts = [parity_table(std, parity) for std in gaussian_stds(symbols.model, gaussians.steps).tolist() for parity in (0, 1)]
    starts = np.cumsum([0, *(len(cumulative) for cumulative, _, _ in parts)], dtype=np.int64)
    flat = np.concatenate([cumulative for cumulative, _, _ in parts]) if parts else np.zeros(0, dtype=np.uint32)
    halves, shifts = (np.array([part[k] for part in parts[::2]], dtype=np.int64) for k in (1, 2))
    return rows, gaussians.columns, index, (flat, starts, halves, shifts)


def _counts(symbols: CosetSymbols, gaussians: Gaussians) -> IntegerCounts:
    return replace(count_by_gaussian(symbols.integers, gaussians), steps_per_integer=0.5, fine_std=v3.FINE_STD)


def coset_code_length(symbols: CosetSymbols) -> float:
    """Ideal length of the integers under their model, bits in all, escapes included."""
    model: Any = symbols.model
    if model.learns:
        return adaptive_code_length(symbols, model)
    gaussians = coset_gaussians(symbols)
    return (
        gaussian_code_length(_counts(symbols, gaussians), gaussian_stds(symbols.model, gaussians.steps))
        if math.prod(symbols.integers.shape)
        else 0.0
    )


def fit_coset_gaussians(symbols: CosetSymbols, row_exponents: NDArray[np.uint8] | None) -> tuple[CosetSymbols, float]:
    """The same integers with the Gaussian models under which they are shortest, and their length, bits in all.

    Parameters
    ----------
    symbols : integers and steps
    row_exponents : (m,) standard deviations of the rows in eighths of an octave, or None for equal rows
    """
    gaussians = Gaussians.of(symbols.integers.shape, symbols.grid, row_exponents)
    counts = _counts(symbols, gaussians)
    model = replace(fit_gaussians(counts, gaussians.steps), row_exponents=row_exponents)
    length = gaussian_code_length(counts, gaussian_stds(model, gaussians.steps)) if math.prod(symbols.integers.shape) else 0.0
    return replace(symbols, model=model), length
