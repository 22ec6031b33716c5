"""Gaussian entropy models of integers whose parity a trellis of cosets knows: tables, ideal length, fit.

An integer q of known parity is on a grid of step α, two spacings, about a point that the parity moves by half a step::

    P(q | parity) = Φ((q + 1)/(2 s)) − Φ((q − 1)/(2 s)),    s² = (weight_std / α)² + noise_variance

Of a law with a wide s the low bits of ``⌊q/2⌋`` are coded as equally likely, so that no table has more than some 6 k numbers.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Int64Array
from rdtools.coding import format_v2 as v2
from rdtools.coding import format_v3 as v3
from rdtools.coding.entropy.adaptive import adaptive_code_length
from rdtools.coding.entropy.fit import fit_laws
from rdtools.coding.entropy.laws import Laws, count_by_law, law_code_length, law_stds
from rdtools.coding.entropy.models import CodeCounts
from rdtools.normal import normal_cdf
from rdtools.ops.coset_coder import Tables
from rdtools.records import AdaptiveModel, CosetCodes


def coset_laws(codes: CosetCodes) -> Laws:
    """The laws of the integers, which are not looked at."""
    return Laws.of(codes.integers.shape, codes.grid, codes.model.row_exponents)


def law_shift(std: float) -> int:
    """Low bits of ``⌊q/2⌋`` that are coded as equally likely: as many as leave FINE_STD steps or fewer in a standard deviation."""
    shift = 0
    while std > v3.FINE_STD * 2.0**shift and shift < v3.MOST_SHIFT:
        shift += 1
    return shift


def parity_table(std: float, parity: int) -> tuple[NDArray[np.uint32], int, int]:
    """Cumulative frequencies of a law given the parity, half their number without the escape symbol, and low bits.

    ``⌊(2²⁴ − K) Φ⌋ + place`` at the lower boundary of each of K symbols, so that none has a frequency of 0; the outermost have the tails.
    """
    shift = law_shift(std)
    widest = min(std, v3.FINE_STD * 2.0**shift)
    half = (int(np.floor(v2.WINDOW_STDS * widest)) + 1 >> shift) + 1
    numbers = np.arange(-half, half + 1, dtype=np.float64) * 2.0**shift
    cdf = normal_cdf((numbers + 0.5 * (parity - 1)) / max(std, v2.LEAST_STD))
    cdf[0] = 0.0
    symbols = 2 * half + 1
    cumulative = np.floor(cdf * (2**v2.PRECISION_BITS - symbols)) + np.arange(symbols)
    return np.append(cumulative, 2**v2.PRECISION_BITS).astype(np.uint32), half, shift


def coset_tables(codes: CosetCodes) -> tuple[Int64Array, Int64Array, Int64Array, Tables]:
    """Exponents of rows and columns, places of laws by their difference, and tables of all laws, as `rdtools.ops.coset_encode` has them."""
    laws = coset_laws(codes)
    lowest = int(laws.distinct[0]) if laws.distinct.size else 0
    place = np.zeros(int(laws.distinct[-1]) - lowest + 1 if laws.distinct.size else 0, dtype=np.int64)
    place[laws.distinct - lowest] = np.arange(len(laws.distinct))
    parts = [parity_table(std, parity) for std in law_stds(codes.model, laws.steps).tolist() for parity in (0, 1)]
    starts = np.cumsum([0, *(len(cumulative) for cumulative, _, _ in parts)], dtype=np.int64)
    flat = np.concatenate([cumulative for cumulative, _, _ in parts]) if parts else np.zeros(0, dtype=np.uint32)
    halves, shifts = (np.array([part[k] for part in parts[::2]], dtype=np.int64) for k in (1, 2))
    return laws.rows - lowest, laws.columns, place, (flat, starts, halves, shifts)


def _counts(codes: CosetCodes, laws: Laws) -> CodeCounts:
    return replace(count_by_law(codes.integers, laws), steps_per_integer=0.5, fine_std=v3.FINE_STD)


def coset_code_length(codes: CosetCodes) -> float:
    """Ideal length of the integers under their model, bits in all, escapes included."""
    if isinstance(codes.model, AdaptiveModel) and codes.model.strength:
        return adaptive_code_length(codes, codes.model)
    laws = coset_laws(codes)
    return law_code_length(_counts(codes, laws), law_stds(codes.model, laws.steps)) if codes.integers.size else 0.0


def fit_coset_laws(codes: CosetCodes, row_exponents: NDArray[np.uint8] | None) -> tuple[CosetCodes, float]:
    """The same integers with the Gaussian models under which they are shortest, and their length, bits in all.

    Parameters
    ----------
    codes : integers and steps
    row_exponents : (m,) standard deviations of the rows in eighths of an octave, or None for equal rows
    """
    laws = Laws.of(codes.integers.shape, codes.grid, row_exponents)
    counts = _counts(codes, laws)
    model = replace(fit_laws(counts, laws.steps), row_exponents=row_exponents)
    length = law_code_length(counts, law_stds(model, laws.steps)) if codes.integers.size else 0.0
    return replace(codes, model=model), length
