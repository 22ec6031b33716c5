"""Entropy models of integer codes: integer frequency tables, and the ideal length of codes under them.

An alphabet is a window of consecutive integers and, last, an escape symbol for codes outside it. Frequencies are integers, or
come from a stored float32 through `rdtools.portable`, so that every machine decodes the same codes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from rdtools.coding.scales import round_to_float32
from rdtools.portable import normal_cdf

Float64Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: The coder works with probabilities in multiples of 2⁻²⁴; no symbol is less likely than one of them.
PRECISION_BITS = 24
#: Window half-width of a normal law in standard deviations, and its limit in symbols; what lies outside is escaped.
WINDOW_STDS = 6.0
WINDOW_LIMIT = 2**15
#: Bits charged for an escaped code besides its escape symbol: a variable-length integer in the container.
ESCAPE_BITS = 40


@dataclass(frozen=True)
class FrequencyTable:
    """Frequencies of the codes lowest, lowest + 1, …, and of the escape symbol last where there is one.

    Attributes
    ----------
    lowest : code of the first entry
    frequencies : (K,) or (K + 1,) int64, ≥ 0
    escape : whether the last entry is the escape symbol
    """

    lowest: int
    frequencies: IntArray
    escape: bool

    @property
    def window(self) -> int:
        """Number of codes that need no escape."""
        return len(self.frequencies) - int(self.escape)


@dataclass(frozen=True)
class CodeCounts:
    """Sparse histogram of codes by column: `counts[j]` codes in column `columns[j]` have value `values[j]`."""

    columns: IntArray
    values: IntArray
    counts: IntArray
    shape: tuple[int, int]


def count_codes(codes: NDArray[np.int32]) -> CodeCounts:
    """Histogram of each column of codes, shape (m, r)."""
    m, r = codes.shape
    if codes.size == 0:
        empty = np.zeros(0, dtype=np.int64)
        return CodeCounts(empty, empty, empty, (m, r))
    lowest = int(codes.min())
    width = int(codes.max()) - lowest + 1
    keys = codes.astype(np.int64) - lowest + np.arange(r, dtype=np.int64) * width
    if r * width <= max(4 * codes.size, 2**20):
        dense = np.bincount(keys.ravel(), minlength=r * width)
        found = np.flatnonzero(dense)
        counts = dense[found]
    else:  # outliers make the dense table huge
        found, counts = np.unique(keys, return_counts=True)
    return CodeCounts(found // width, found % width + lowest, counts.astype(np.int64), (m, r))


def _entropy_bits(counts: IntArray) -> float:
    """Plug-in entropy of a histogram in bits per symbol."""
    total = int(counts.sum())
    p = counts[counts > 0] / total
    return float(-(p * np.log2(p)).sum()) if total else 0.0


def pooled_entropy(counts: CodeCounts) -> float:
    """Plug-in entropy of all codes in one histogram, bits per code."""
    _, index = np.unique(counts.values, return_inverse=True)
    return _entropy_bits(np.bincount(index, weights=counts.counts).astype(np.int64))


def mean_column_entropy(counts: CodeCounts) -> float:
    """Mean over columns of the plug-in entropy with the Miller–Madow correction (K − 1)/(2 m ln 2), bits per code.

    References
    ----------
    Miller, Note on the bias of information estimates (1955).
    """
    m, r = counts.shape
    if m * r == 0:
        return 0.0
    plug_in = -(counts.counts * np.log2(counts.counts / m)).sum() / (m * r)
    correction = (len(counts.counts) - r) / (2 * m * np.log(2)) / r
    return float(plug_in + correction)


def shared_table(counts: CodeCounts) -> FrequencyTable:
    """The histogram of all codes, on a window that holds all but far outliers.

    The window is every code if they span at most 2·WINDOW_LIMIT, else that many around the median; the rest is escaped.
    """
    values, index = np.unique(counts.values, return_inverse=True)
    totals = np.bincount(index, weights=counts.counts).astype(np.int64)
    lowest, highest = int(values[0]), int(values[-1])
    if highest - lowest >= 2 * WINDOW_LIMIT:
        median = int(values[np.searchsorted(np.cumsum(totals), totals.sum() / 2)])
        inside = np.abs(values - median) < WINDOW_LIMIT
        lowest, highest = int(values[inside][0]), int(values[inside][-1])
    frequencies = np.zeros(highest - lowest + 2, dtype=np.int64)
    inside = (values >= lowest) & (values <= highest)
    frequencies[values[inside] - lowest] = totals[inside]
    frequencies[-1] = totals[~inside].sum()
    return FrequencyTable(lowest, frequencies, escape=True)


def column_table(code_std: float) -> FrequencyTable:
    """Frequencies of a rounded normal variable of standard deviation `code_std`, escape symbol of frequency 1 last.

    ``f_z ∝ max(1, ⌊2²⁴ (Φ((z+½)/s) − Φ((z−½)/s)) + ½⌋)`` on |z| ≤ 6 s + 1.
    """
    half = int(min(np.floor(WINDOW_STDS * code_std) + 1, WINDOW_LIMIT))
    boundaries = np.arange(-half, half + 2, dtype=np.float64) - 0.5
    # a column that is never left at zero has a vanishing deviation: keep the quotient finite
    cdf = normal_cdf(boundaries / max(code_std, 1e-30))
    frequencies = np.maximum(1, np.floor(np.diff(cdf) * 2**PRECISION_BITS + 0.5)).astype(np.int64)
    return FrequencyTable(-half, np.append(frequencies, 1), escape=True)


def uniform_table(levels: int) -> FrequencyTable:
    """Equal frequencies for the K codes −⌊K/2⌋ … K−1−⌊K/2⌋."""
    return FrequencyTable(-(levels // 2), np.ones(levels, dtype=np.int64), escape=False)


def shared_code_length(counts: CodeCounts) -> float:
    """Ideal length of all codes under their own shared histogram, bits in all, the histogram itself not counted."""
    return pooled_entropy(counts) * counts.shape[0] * counts.shape[1]


def column_code_length(counts: CodeCounts, code_stds: Float64Array) -> float:
    """Ideal length of all codes when column i is coded as a rounded normal variable of deviation `code_stds[i]`, bits in all.

    Probabilities below 2⁻²⁴ are coded as 2⁻²⁴; codes outside the window of `column_table` cost ESCAPE_BITS more.
    """
    s = np.maximum(code_stds, 1e-30)[counts.columns]
    # the upper tail on the positive side, where it is accurate: Φ(b) − Φ(a) = Φ(−a) − Φ(−b)
    z = np.abs(counts.values)
    p = normal_cdf((0.5 - z) / s) - normal_cdf((-0.5 - z) / s)
    length = -np.log2(np.maximum(p, 2.0**-PRECISION_BITS))
    outside = z > np.minimum(np.floor(WINDOW_STDS * code_stds[counts.columns]) + 1, WINDOW_LIMIT)
    return float((counts.counts * (length + ESCAPE_BITS * outside)).sum())


def fit_weight_std(counts: CodeCounts, column_steps: Float64Array, *, start: float) -> float:
    """The float32 `weight_std` for which codes of deviation ``weight_std / column_steps`` are shortest.

    Maximum likelihood of one scale, to 0.1 %, where the length is flat. With outliers the length has several minima, so whole octaves
    around `start` are tried first, more of them above, because feedback widens codes and nothing narrows them.
    """
    if start <= 0:
        return 0.0

    def length(octaves: float) -> float:
        return column_code_length(counts, start * 2.0**octaves / column_steps)

    nearest = min(range(-2, 7), key=length)
    result = scipy.optimize.minimize_scalar(length, bounds=(nearest - 1, nearest + 1), method="bounded", options={"xatol": 1e-3})
    return round_to_float32(start * 2.0**result.x)
