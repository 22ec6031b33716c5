"""Entropy models of integers: integer frequency tables, their stored form, and plug-in entropies.

An alphabet is a sorted list of integers and, for Gaussian models, an escape symbol at the end for those outside it. Frequencies are
integers, or come from a stored float32 through `rdtools.normal`, so that every machine decodes the same integers.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rdtools.arrays import Int64Array, Matrix, on_host
from rdtools.coding import format_v2 as fmt
from rdtools.coding.fields import Reader, varint
from rdtools.ops import column_histogram


@dataclass(frozen=True)
class FrequencyTable:
    """Frequencies of integers.

    Attributes
    ----------
    values : (K,) int64, ascending, the integers of the alphabet
    frequencies : (K,) int64, ≥ 0, or (K + 1,) with that of the escape symbol last
    """

    values: Int64Array
    frequencies: Int64Array

    #: Frequencies that `table` computes.
    size: ClassVar[int] = 0

    @property
    def escapes(self) -> bool:
        """True where there is an escape symbol."""
        return len(self.frequencies) > len(self.values)

    def table(self) -> FrequencyTable:
        """The table itself, as a `Gaussian` makes one."""
        return self


@dataclass(frozen=True)
class IntegerCounts:
    """Sparse histogram of integers by column: `counts[j]` integers in column `columns[j]` have value `values[j]`.

    `steps_per_integer` is 1, or ½ where the parity of each integer is known: neighbours of a parity are a step apart. Above `fine_std`, the
    standard deviation of a Gaussian model in steps, low bits are coded as equally likely, so that no table has a limit.
    """

    columns: Int64Array
    values: Int64Array
    counts: Int64Array
    shape: tuple[int, int]
    steps_per_integer: float = 1.0
    fine_std: float = math.inf


def count_integers(integers: Matrix) -> IntegerCounts:
    """Histogram of each column of integers, shape (m, r); those on a device are counted there."""
    m, r = integers.shape
    if m * r == 0:
        empty = np.zeros(0, dtype=np.int64)
        return IntegerCounts(empty, empty, empty, (m, r))
    lowest = int(integers.min())
    width = int(integers.max()) - lowest + 1
    if r * width <= max(4 * m * r, 2**20):
        dense = on_host(column_histogram(integers, low=lowest, width=width)).ravel()
        occurring = np.flatnonzero(dense)
        counts = dense[occurring]
    else:  # outliers make the dense table huge
        keys = on_host(integers).astype(np.int64) - lowest + np.arange(r, dtype=np.int64) * width
        occurring, counts = np.unique(keys, return_counts=True)
    return IntegerCounts(occurring // width, occurring % width + lowest, counts.astype(np.int64), (m, r))


def shared_table(counts: IntegerCounts) -> FrequencyTable:
    """The histogram of all integers, on the integers that occur."""
    values, index = np.unique(counts.values, return_inverse=True)
    return FrequencyTable(values, np.bincount(index, weights=counts.counts).astype(np.int64))


def column_tables(counts: IntegerCounts) -> list[FrequencyTable]:
    """The histogram of each column, on the integers that occur in it."""
    starts = np.searchsorted(counts.columns, np.arange(counts.shape[1] + 1))
    return [FrequencyTable(counts.values[i:j], counts.counts[i:j]) for i, j in itertools.pairwise(starts)]


def uniform_table(levels: int) -> FrequencyTable:
    """Equal frequencies for the K integers −⌊K/2⌋ … K−1−⌊K/2⌋."""
    return FrequencyTable(np.arange(levels) - levels // 2, np.ones(levels, dtype=np.int64))


def varint_bytes(values: Int64Array) -> Int64Array:
    """Length of signed variable-length integers, as the container writes escaped integers."""
    zigzag = np.where(values >= 0, 2 * values, -2 * values - 1)
    return np.asarray(1 + sum((zigzag >> k) > 0 for k in range(fmt.VARINT_BITS, fmt.VARINT_LIMIT + 1, fmt.VARINT_BITS)), dtype=np.int64)


def entropy_bits(table: FrequencyTable) -> float:
    """Plug-in entropy of a histogram in bits per code."""
    p = table.frequencies[table.frequencies > 0] / table.frequencies.sum()
    return abs(float((p * np.log2(p)).sum()))


def _corrected(plug_in: float, distinct: int, groups: int, samples: int) -> float:
    """Miller–Madow: plus (K − 1)/(2 m ln 2) a group of m samples with K different integers; nan where K is on average above m/4."""
    if distinct > max(groups, samples / 4):
        return float("nan")
    return plug_in + (distinct - groups) / (2 * samples * math.log(2))


def pooled_entropy(counts: IntegerCounts) -> float:
    """Entropy of all integers in one histogram, bits per code, corrected as `mean_column_entropy`."""
    if counts.values.size == 0:
        return 0.0
    table = shared_table(counts)
    return _corrected(entropy_bits(table), len(table.values), 1, counts.shape[0] * counts.shape[1])


def mean_column_entropy(counts: IntegerCounts) -> float:
    """Mean over columns of the plug-in entropy with the Miller–Madow correction (K − 1)/(2 m ln 2), bits per code.

    nan where columns have on average more than m/4 different integers: there the correction is no longer small and the entropy is
    that of the sample and not of its Gaussian.

    References
    ----------
    Miller, Note on the bias of information estimates (1955).
    """
    m, r = counts.shape
    if m * r == 0:
        return 0.0
    plug_in = abs(float((counts.counts * np.log2(counts.counts / m)).sum())) / (m * r)
    return _corrected(plug_in, len(counts.counts), r, m * r)


def histogram_bytes(table: FrequencyTable) -> bytes:
    """A histogram as variable-length integers: number of runs of consecutive integers; of each its distance, length and frequencies.

    The distance is that of the first integer from zero, then from the end of the run before; so an outlier costs a few bytes.
    """
    starts = [0, *(np.flatnonzero(np.diff(table.values) > 1) + 1).tolist()]
    out = [varint(len(starts))]
    previous = 0
    for first, stop in zip(starts, [*starts[1:], len(table.values)], strict=True):
        out += [varint(int(table.values[first]) - previous), varint(stop - first)]
        out += map(varint, table.frequencies[first:stop].tolist())
        previous = int(table.values[stop - 1])
    return b"".join(out)


def read_histogram(reader: Reader, total: int) -> FrequencyTable:
    """The histogram of so many integers that `histogram_bytes` wrote.

    Raises
    ------
    CorruptFile
        For integers beyond 32 bits or out of order, and for frequencies that do not sum to the total.
    """
    values: list[int] = []
    frequencies: list[int] = []
    for _ in range(reader.count("number of runs of a histogram", reader.remaining)):
        distance, length = reader.varint(), reader.count("length of a run of a histogram", reader.remaining)
        first = (values[-1] if values else 0) + distance
        if length == 0 or (values and distance < 1) or not -(2**31) <= first <= 2**31 - length:
            raise reader.refusal(f"a histogram with a run of {length} integers from {first}, expected ascending integers of 32 bits")
        values += range(first, first + length)
        frequencies += (reader.count("frequency of a histogram", total) for _ in range(length))
    if sum(frequencies) != total or 0 in frequencies:
        raise reader.refusal(f"a histogram of {sum(frequencies)} integers, expected {total} with frequencies of at least 1")
    return FrequencyTable(np.array(values, dtype=np.int64), np.array(frequencies, dtype=np.int64))
