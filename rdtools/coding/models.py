"""Entropy models of integer codes: integer frequency tables, and the ideal length of codes under them.

An alphabet is a sorted list of codes and, for the normal laws, an escape symbol at the end for codes outside it. Frequencies are
integers, or come from a stored float32 through `rdtools.normal`, so that every machine decodes the same codes.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from rdtools.coding.scales import round_to_float32
from rdtools.normal import normal_cdf
from rdtools.ops import column_histogram
from rdtools.records import CodeModel, ScalarCodes, power_of_eighths

Float64Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: The coder works with probabilities in multiples of 2⁻²⁴; no symbol is less likely than one of them.
PRECISION_BITS = 24
#: Window half-width of a normal law in standard deviations, and its limit in symbols; what lies outside is escaped.
WINDOW_STDS = 6.0
WINDOW_LIMIT = 2**18


@dataclass(frozen=True)
class FrequencyTable:
    """Frequencies of codes.

    Attributes
    ----------
    values : (K,) int64, ascending, the codes of the alphabet
    frequencies : (K,) int64, ≥ 0, or (K + 1,) with that of the escape symbol last
    """

    values: IntArray
    frequencies: IntArray

    @property
    def escapes(self) -> bool:
        """Whether there is an escape symbol."""
        return len(self.frequencies) > len(self.values)


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
    if r * width <= max(4 * codes.size, 2**20):
        dense = column_histogram(codes, low=lowest, width=width).ravel()
        found = np.flatnonzero(dense)
        counts = dense[found]
    else:  # outliers make the dense table huge
        keys = codes.astype(np.int64) - lowest + np.arange(r, dtype=np.int64) * width
        found, counts = np.unique(keys, return_counts=True)
    return CodeCounts(found // width, found % width + lowest, counts.astype(np.int64), (m, r))


def shared_table(counts: CodeCounts) -> FrequencyTable:
    """The histogram of all codes, on the codes that occur."""
    values, index = np.unique(counts.values, return_inverse=True)
    return FrequencyTable(values, np.bincount(index, weights=counts.counts).astype(np.int64))


def column_tables(counts: CodeCounts) -> list[FrequencyTable]:
    """The histogram of each column, on the codes that occur in it."""
    starts = np.searchsorted(counts.columns, np.arange(counts.shape[1] + 1))
    return [FrequencyTable(counts.values[i:j], counts.counts[i:j]) for i, j in itertools.pairwise(starts)]


def column_table(code_std: float) -> FrequencyTable:
    """Frequencies of a rounded normal variable of standard deviation `code_std`, escape symbol of frequency 1 last.

    ``f_z ∝ max(1, ⌊2²⁴ (Φ((z+½)/s) − Φ((z−½)/s)) + ½⌋)`` on |z| ≤ 6 s + 1.
    """
    half = int(_window(np.array(code_std)))
    boundaries = np.arange(-half, half + 2, dtype=np.float64) - 0.5
    # a column that is never left at zero has a vanishing deviation: keep the quotient finite
    cdf = normal_cdf(boundaries / max(code_std, 1e-30))
    frequencies = np.maximum(1, np.floor(np.diff(cdf) * 2**PRECISION_BITS + 0.5)).astype(np.int64)
    return FrequencyTable(np.arange(-half, half + 1), np.append(frequencies, 1))


def uniform_table(levels: int) -> FrequencyTable:
    """Equal frequencies for the K codes −⌊K/2⌋ … K−1−⌊K/2⌋."""
    return FrequencyTable(np.arange(levels) - levels // 2, np.ones(levels, dtype=np.int64))


def column_levels(codes: ScalarCodes) -> IntArray:
    """Levels of each column of a fixed-rate grid: those of the finest, halved with every octave of step begun; (r,)."""
    if codes.step_exponents is None:
        return np.full(codes.integers.shape[1], codes.model.levels)
    return np.asarray(np.maximum(codes.model.levels >> -(-codes.step_exponents.astype(np.int64) // 8), 1), dtype=np.int64)


def _window(code_stds: Float64Array) -> Float64Array:
    """Largest |z| that the table of a column of this deviation holds."""
    return np.asarray(np.minimum(np.floor(WINDOW_STDS * code_stds) + 1, WINDOW_LIMIT))


def varint_bytes(values: IntArray) -> IntArray:
    """Length of signed variable-length integers of seven bits a byte, as the container writes escaped codes."""
    zigzag = np.where(values >= 0, 2 * values, -2 * values - 1)
    return np.asarray(1 + sum((zigzag >> (7 * k)) > 0 for k in range(1, 10)), dtype=np.int64)


def entropy_bits(table: FrequencyTable) -> float:
    """Plug-in entropy of a histogram in bits per code."""
    p = table.frequencies[table.frequencies > 0] / table.frequencies.sum()
    return abs(float((p * np.log2(p)).sum()))


def _corrected(plug_in: float, distinct: int, groups: int, samples: int) -> float:
    """Miller–Madow: plus (K − 1)/(2 m ln 2) a group of m samples with K different codes; nan where K is on average above m/4."""
    if distinct > max(groups, samples / 4):
        return float("nan")
    return plug_in + (distinct - groups) / (2 * samples * math.log(2))


def pooled_entropy(counts: CodeCounts) -> float:
    """Entropy of all codes in one histogram, bits per code, corrected as `mean_column_entropy`."""
    if counts.values.size == 0:
        return 0.0
    table = shared_table(counts)
    return _corrected(entropy_bits(table), len(table.values), 1, counts.shape[0] * counts.shape[1])


def mean_column_entropy(counts: CodeCounts) -> float:
    """Mean over columns of the plug-in entropy with the Miller–Madow correction (K − 1)/(2 m ln 2), bits per code.

    nan where columns have on average more than m/4 different codes: there the correction is no longer small and the entropy is
    that of the sample and not of its law.

    References
    ----------
    Miller, Note on the bias of information estimates (1955).
    """
    m, r = counts.shape
    if m * r == 0:
        return 0.0
    plug_in = abs(float((counts.counts * np.log2(counts.counts / m)).sum())) / (m * r)
    return _corrected(plug_in, len(counts.counts), r, m * r)


def law_code_length(counts: CodeCounts, code_stds: Float64Array) -> float:
    """Ideal length of all codes when those of law i are coded as a rounded normal variable of deviation `code_stds[i]`, bits in all.

    No frequency is below one, and the coder adds one to each, so that no probability is below 2·2⁻²⁴; a code outside the window of
    `column_table` costs an escape symbol and a variable-length integer.
    """
    s = np.maximum(code_stds, 1e-30)[counts.columns]
    # the upper tail on the positive side, where it is accurate: Φ(b) − Φ(a) = Φ(−a) − Φ(−b)
    z = np.abs(counts.values)
    p = normal_cdf((0.5 - z) / s) - normal_cdf((-0.5 - z) / s)
    outside = z > _window(code_stds[counts.columns])
    unit = 2.0**-PRECISION_BITS
    length = -np.log2(np.minimum(np.maximum(np.where(outside, 0.0, p), unit) + unit, 1.0))
    if outside.any():
        length[outside] += 8 * varint_bytes(counts.values[outside])
    return float((counts.counts * length).sum())


#: Least variance of a normal law, squared steps: of a column that nothing but zeros is expected in.
_LEAST_VARIANCE = 2.0**-12


def law_stds(model: CodeModel, steps: Float64Array) -> Float64Array:
    """Deviation of normal laws, ``√((weight_std / step)² + noise_variance)``, the same on every machine.

    With a negative noise variance it is at least 1/64.
    """
    variances = (model.weight_std / steps) ** 2 + model.noise_variance
    return np.sqrt(np.maximum(variances, _LEAST_VARIANCE) if model.noise_variance < 0 else variances)


@dataclass(frozen=True)
class Laws:
    """Which integers share a normal law: those whose row exponent less column exponent is the same.

    Attributes
    ----------
    rows, columns : (m,) and (r,) exponents
    distinct : (K,) int64 ascending, the differences that occur
    steps : (K,) the step, in units of the row's deviation
    """

    rows: IntArray
    columns: IntArray
    distinct: IntArray
    steps: Float64Array

    @classmethod
    def of(cls, codes: ScalarCodes) -> Laws:
        """Those of integers on a grid."""
        m, r = codes.integers.shape
        rows = np.zeros(m, dtype=np.int64) if codes.row_exponents is None else codes.row_exponents.astype(np.int64)
        columns = np.zeros(r, dtype=np.int64) if codes.step_exponents is None else codes.step_exponents.astype(np.int64)
        distinct = np.unique(np.unique(rows)[:, None] - np.unique(columns)) if m * r else np.zeros(0, dtype=np.int64)
        return cls(rows, columns, distinct, codes.step * power_of_eighths(-distinct))

    def index(self, first: int, stop: int) -> NDArray[np.int16]:
        """(stop − first, m) which of the distinct laws, for a span of columns."""
        place = np.zeros(self.distinct[-1] - self.distinct[0] + 1, dtype=np.int16)
        place[self.distinct - self.distinct[0]] = np.arange(len(self.distinct))
        return np.asarray(place[self.rows[None, :] - self.columns[first:stop, None] - self.distinct[0]])


#: Integers whose laws are looked up at a time.
_AT_A_TIME = 2**20


def count_by_law(integers: NDArray[np.int32], laws: Laws, counts: CodeCounts | None = None) -> CodeCounts:
    """Histogram of the integers of each law; `columns` are places among the distinct ones.

    Parameters
    ----------
    integers : (m, r)
    laws : of them
    counts : `count_codes` of them, if known
    """
    m, r = integers.shape
    if m * r == 0 or not laws.rows.any():
        counts = count_codes(integers) if counts is None else counts
        if counts.values.size == 0:
            return counts
        place = np.searchsorted(laws.distinct, -laws.columns)
        lowest = int(counts.values.min())
        width = int(counts.values.max()) - lowest + 1
        keys, index = np.unique(place[counts.columns] * width + (counts.values - lowest), return_inverse=True)
        pooled = np.bincount(index, weights=counts.counts).astype(np.int64)
        return CodeCounts(keys // width, keys % width + lowest, pooled, (m, r))
    lowest = int(integers.min())
    width = int(integers.max()) - lowest + 1
    size = len(laws.distinct) * width
    dense, sparse = np.zeros(size if size <= 2**22 else 0, dtype=np.int64), []
    stride = max(1, _AT_A_TIME // m)
    for first in range(0, r, stride):
        part = integers[:, first : first + stride]
        keys = laws.index(first, first + part.shape[1]).astype(np.int64) * width + (part.T - np.int64(lowest))
        if dense.size:
            dense += np.bincount(keys.ravel(), minlength=size)
        else:  # outliers make the dense table huge
            sparse.append(np.unique(keys, return_counts=True))
    if dense.size:
        found = np.flatnonzero(dense)
        found_counts = dense[found]
    else:
        found, index = np.unique(np.concatenate([keys for keys, _ in sparse]), return_inverse=True)
        found_counts = np.bincount(index, weights=np.concatenate([c for _, c in sparse])).astype(np.int64)
    return CodeCounts(found // width, found % width + lowest, found_counts, (m, r))


def fit_laws(counts: CodeCounts, steps: Float64Array) -> CodeModel:
    """The normal laws under which the codes are shortest: `weight_std` and `noise_variance` by descent of the code length, as float32.

    Errors that successive cancellation feeds back enlarge the variance of columns whose own share is small, and a ridge takes from it; with
    WaterSIC's steps by about the same number of squared steps in each, so that one number serves all. It is kept only where it pays.

    Parameters
    ----------
    counts : from `count_by_law`
    steps : `Laws.steps`
    """
    if counts.values.size == 0:
        return CodeModel("column")
    plain = CodeModel("column", weight_std=fit_weight_std(counts, steps))
    if len(steps) == 1:
        return plain  # equal laws: a second number would say the same

    def model(x: Float64Array) -> CodeModel:
        return CodeModel("column", weight_std=round_to_float32(plain.weight_std * math.exp(x[0])), noise_variance=round_to_float32(x[1]))

    def length(model: CodeModel) -> float:
        return law_code_length(counts, law_stds(model, steps))

    start = np.array([[0.0, 0.0], [-0.2, 0.0], [0.0, 0.2]])
    found = scipy.optimize.minimize(
        lambda x: length(model(x)),
        start[0],
        method="Nelder-Mead",
        options={"initial_simplex": start, "xatol": 3e-3, "fatol": 1e-5 * float(counts.counts.sum()), "maxfev": 120},
    )
    noisy = model(found.x)
    return noisy if length(noisy) < length(plain) else plain


def fit_weight_std(counts: CodeCounts, steps: Float64Array) -> float:
    """The float32 `weight_std` for which codes of deviation ``weight_std / steps`` are shortest.

    Maximum likelihood of one scale, to 0.1 %, where the length is flat. The search starts at the root mean square of what the codes
    stand for, which outliers can only make too large, and walks whole octaves down and up first, past one that is no better, because
    escapes make small steps in the length.
    """
    if counts.values.size == 0:
        return 0.0
    squares = (counts.values * steps[counts.columns]) ** 2
    start = float(np.sqrt((counts.counts * squares).sum() / counts.counts.sum())) or float(steps.min()) / 4

    def length(octaves: float) -> float:
        return law_code_length(counts, start * 2.0**octaves / steps)

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
