"""Gaussian entropy models: frequencies of rounded normal variables, the integers that share one, and ideal lengths under them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array, Int64Array, Matrix, is_tensor
from rdtools.coding import format_v2 as fmt
from rdtools.coding.entropy.models import FrequencyTable, IntegerCounts, count_integers, varint_bytes
from rdtools.normal import cell_probability, normal_cdf
from rdtools.records import GaussianModel, UniformGrid, power_of_eighths


def column_table(integer_std: float, offset: float = 0.0) -> FrequencyTable:
    """Frequencies of a rounded normal variable of standard deviation `integer_std`, escape symbol of frequency 1 last.

    With an offset of ½ the integer z stands for ``z + ½``, and there is one more, so that the table is symmetric.

    ``f_z ∝ max(1, ⌊2²⁴ (Φ((z+½)/s) − Φ((z−½)/s)) + ½⌋)`` on |z| ≤ 6 s + 1.
    """
    half = int(_window(np.array(integer_std)))
    lowest = -half - (offset > 0)
    boundaries = np.arange(lowest, half + 2, dtype=np.float64) + (offset - 0.5)
    # a column that is never left at zero has a vanishing deviation: keep the quotient finite
    boundaries /= max(integer_std, fmt.MIN_STD)
    for first in range(0, len(boundaries), 2**14):  # in place and in the cache: wide tables take a third of the time
        boundaries[first : first + 2**14] = normal_cdf(boundaries[first : first + 2**14])
    cdf = boundaries
    frequencies = np.maximum(1, np.floor(np.diff(cdf) * 2**fmt.PRECISION_BITS + 0.5)).astype(np.int64)
    return FrequencyTable(np.arange(lowest, half + 1), np.append(frequencies, 1))


@dataclass(frozen=True)
class Gaussian:
    """A rounded normal variable, whose table is made when it is needed: wide ones take megabytes."""

    std: float
    offset: float = 0.0

    @property
    def size(self) -> int:
        """Frequencies that the table computes."""
        return 2 * int(_window(np.array(self.std))) + 2 + (self.offset > 0)

    def table(self) -> FrequencyTable:
        """Its `column_table`."""
        return column_table(self.std, self.offset)


def _window(integer_stds: Float64Array) -> Float64Array:
    """Largest |z| that the table of a column of this standard deviation holds."""
    return np.asarray(np.minimum(np.floor(fmt.WINDOW_STDS * integer_stds) + 1, fmt.WINDOW_LIMIT))


def gaussian_code_length(counts: IntegerCounts, integer_stds: Float64Array) -> float:
    """Ideal length of all integers when those of Gaussian i are coded as a rounded normal variable of standard deviation `integer_stds[i]`,
    bits in all.

    No frequency is below one, and the coder adds one to each, so that no probability is below 2·2⁻²⁴; a code outside the window of
    `column_table` costs an escape symbol and a variable-length integer.
    """
    stds = integer_stds[counts.columns]
    s = np.maximum(stds, fmt.MIN_STD)
    z = np.abs(counts.values) * counts.steps_per_integer
    p = cell_probability(z, s)
    outside = z > (_window(stds) + 0.5 if math.isinf(counts.fine_std) else np.floor(fmt.WINDOW_STDS * stds) + 1)
    unit = 2.0**-fmt.PRECISION_BITS / np.maximum(1.0, s / counts.fine_std)
    length = -np.log2(np.minimum(np.maximum(np.where(outside, 0.0, p), unit) + unit, 1.0))
    if outside.any():
        length[outside] += 8 * varint_bytes(counts.values[outside])
    return float((counts.counts * length).sum())


def gaussian_stds(model: GaussianModel, steps: Float64Array) -> Float64Array:
    """Deviation of Gaussian models, ``√((weight_std / step)² + noise_variance)``, the same on every machine.

    With a negative noise variance it is at least 1/64.
    """
    variances = (model.weight_std / steps) ** 2 + model.noise_variance
    return np.sqrt(np.maximum(variances, fmt.MIN_VARIANCE) if model.noise_variance < 0 else variances)


@dataclass(frozen=True)
class Gaussians:
    """Groups of integers that share a Gaussian model: those whose row exponent less column exponent is the same.

    Attributes
    ----------
    rows, columns : (m,) and (r,) exponents
    distinct : (K,) int64 ascending, the differences that occur
    steps : (K,) the step, in units of the row's standard deviation
    """

    rows: Int64Array
    columns: Int64Array
    distinct: Int64Array
    steps: Float64Array

    @classmethod
    def of(cls, shape: tuple[int, int], grid: UniformGrid, row_exponents: NDArray[np.uint8] | None) -> Gaussians:
        """Groups of (m, r) integers on a grid, with rows of unequal standard deviations or equal ones."""
        m, r = shape
        rows = np.zeros(m, dtype=np.int64) if row_exponents is None else row_exponents.astype(np.int64)
        columns = np.zeros(r, dtype=np.int64) if grid.exponents is None else grid.exponents.astype(np.int64)
        distinct = np.unique(np.unique(rows)[:, None] - np.unique(columns)) if m * r else np.zeros(0, dtype=np.int64)
        return cls(rows, columns, distinct, grid.step * power_of_eighths(-distinct))

    @property
    def lookup(self) -> tuple[Int64Array, Int64Array]:
        """Exponents of the rows less the least difference, and which of the distinct Gaussians is at such an exponent less a column's."""
        lowest, size = (int(self.distinct[0]), int(np.ptp(self.distinct)) + 1) if self.distinct.size else (0, 0)
        index = np.zeros(size, dtype=np.int64)
        index[self.distinct - lowest] = np.arange(len(self.distinct))
        return self.rows - lowest, index

    def index(self, first: int, stop: int) -> NDArray[np.int16]:
        """(stop − first, m) which of the distinct Gaussians, for a span of columns."""
        rows, index = self.lookup
        return np.asarray(index.astype(np.int16)[rows[None, :] - self.columns[first:stop, None]])


#: Integers whose Gaussians are looked up at a time, at least.
_BLOCK = 2**17


def count_by_gaussian(integers: Matrix, gaussians: Gaussians, counts: IntegerCounts | None = None) -> IntegerCounts:
    """Histogram of the integers of each Gaussian; `columns` are places among the distinct ones.

    Parameters
    ----------
    integers : (m, r)
    gaussians : of them
    counts : `count_integers` of them, if known
    """
    m, r = integers.shape
    if m * r == 0 or not gaussians.rows.any():
        counts = count_integers(integers) if counts is None else counts
        if counts.values.size == 0:
            return counts
        gaussian = np.searchsorted(gaussians.distinct, -gaussians.columns)
        lowest = int(counts.values.min())
        width = int(counts.values.max()) - lowest + 1
        keys, index = np.unique(gaussian[counts.columns] * width + (counts.values - lowest), return_inverse=True)
        pooled = np.bincount(index, weights=counts.counts).astype(np.int64)
        return IntegerCounts(keys // width, keys % width + lowest, pooled, (m, r))
    if is_tensor(integers):
        return _counted_on_device(integers, gaussians)
    lowest = int(integers.min())
    width = int(integers.max()) - lowest + 1
    size = len(gaussians.distinct) * width
    dense, sparse = np.zeros(size if size <= 2**22 else 0, dtype=np.int64), []
    stride = max(1, max(_BLOCK, size if dense.size else 0) // m)
    for first in range(0, r, stride):
        part = integers[:, first : first + stride]
        keys = gaussians.index(first, first + part.shape[1]).astype(np.int64) * width + (part.T - np.int64(lowest))
        if dense.size:
            dense += np.bincount(keys.ravel(), minlength=size)
        else:  # outliers make the dense table huge
            sparse.append(np.unique(keys, return_counts=True))
    if dense.size:
        occurring = np.flatnonzero(dense)
        key_counts = dense[occurring]
    else:
        occurring, index = np.unique(np.concatenate([keys for keys, _ in sparse]), return_inverse=True)
        key_counts = np.bincount(index, weights=np.concatenate([c for _, c in sparse])).astype(np.int64)
    return IntegerCounts(occurring // width, occurring % width + lowest, key_counts, (m, r))


def _counted_on_device(integers: Matrix, gaussians: Gaussians) -> IntegerCounts:
    """`count_by_gaussian` of a tensor, by its columns in blocks of one exponent: what crosses to the host are counts."""
    import torch

    (m, r), device = integers.shape, integers.device
    lowest = int(integers.min())
    width = int(integers.max()) - lowest + 1
    rows = torch.from_numpy(gaussians.rows).to(device)
    columns = torch.from_numpy(gaussians.columns).to(device)
    first = int(gaussians.distinct[0])
    pairs = torch.zeros(0, dtype=torch.int64, device=device)
    counts = torch.zeros(0, dtype=torch.int64, device=device)
    stride = max(1, 16 * _BLOCK // m)
    for start in range(0, r, stride):
        part = slice(start, start + stride)
        keys = (rows[:, None] - columns[None, part] - first) * width + (integers[:, part].to(torch.int64) - lowest)
        new, new_counts = torch.unique(keys, return_counts=True)
        pairs, index = torch.unique(torch.cat([pairs, new]), return_inverse=True)
        both = torch.cat([counts, new_counts])
        counts = torch.zeros(len(pairs), dtype=torch.int64, device=device).scatter_add_(0, index, both)
    gaussian = np.searchsorted(gaussians.distinct - first, np.asarray(pairs.cpu().numpy()) // width)
    return IntegerCounts(gaussian, pairs.cpu().numpy() % width + lowest, counts.cpu().numpy(), (m, r))
