"""Blocks of columns that decode apart from each other, and the order in which the integers of a block are coded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdtools.coding import format_v2 as fmt
from rdtools.coding.entropy.coder import Model, decode_runs
from rdtools.coding.entropy.gaussians import Gaussian, Gaussians, gaussian_stds
from rdtools.coding.entropy.models import FrequencyTable
from rdtools.records import GaussianModel, ScalarSymbols


@dataclass(frozen=True)
class Sequence:
    """In what order the integers of a block are coded, and under what entropy models.

    Attributes
    ----------
    columns : (p,) columns of the block in the order in which they are read
    runs : (number of integers, entropy model), in order
    first : of the columns, for `gaussians`
    gaussians : of integers that are coded by Gaussian, wherever they are; None for one after another
    """

    columns: NDArray[np.intp]
    runs: list[tuple[int, Model]]
    first: int = 0
    gaussians: Gaussians | None = None

    @property
    def order(self) -> NDArray[np.intp] | None:
        """(m p,) places in those columns, one after another, in the order in which they are coded; made anew, as it is eight bytes each."""
        if self.gaussians is None:
            return None
        index = self.gaussians.index(self.first, self.first + len(self.columns))
        return np.argsort(index.ravel(), kind="stable")

    def read(self, integers: NDArray[np.int32]) -> list[tuple[NDArray[np.int32], Model]]:
        """The integers (m, p) of each run."""
        flat = integers.T[self.columns].ravel()
        flat = flat if (order := self.order) is None else flat[order]
        stops = np.cumsum([count for count, _ in self.runs])
        return [(flat[stop - count : stop], model) for (count, model), stop in zip(self.runs, stops.tolist(), strict=True)]

    def write(self, runs: list[NDArray[np.int64]], rows: int) -> NDArray[np.int32]:
        """The integers (m, p) from those of each run."""
        flat = np.concatenate(runs)
        if (order := self.order) is not None:
            flat[order] = flat.copy()
        integers = np.empty((rows, len(self.columns)), dtype=np.int32)
        integers[:, self.columns] = flat.reshape(-1, rows).T
        return integers


@dataclass(frozen=True)
class Block:
    """Entropy model of one block of columns, which decodes by itself.

    Attributes
    ----------
    rows : m
    sequence : of its integers
    payload : u32 words
    escaped : the integers behind its escape symbols
    name : of the file, for messages
    """

    rows: int
    sequence: Sequence
    payload: NDArray[np.uint32]
    escaped: NDArray[np.int64]
    name: str


def spans(rows: int, columns: int) -> list[tuple[int, int]]:
    """First and past-the-last columns of the blocks."""
    width = max(1, fmt.BLOCK_SYMBOLS // max(rows, 1))
    return [(first, min(first + width, columns)) for first in range(0, columns, width)] if rows else []


def by_gaussian(symbols: ScalarSymbols, model: GaussianModel, spans: list[tuple[int, int]]) -> list[Sequence]:
    """The sequence of each block that has integers of one Gaussian model together: whole columns where rows are equal, else wherever they
    are. The integers themselves are not looked at.
    """
    gaussians = Gaussians.of(symbols.integers.shape, symbols.grid, model.row_exponents)
    models = [Gaussian(std) for std in gaussian_stds(model, gaussians.steps).tolist()]
    m = len(symbols.integers)
    sequences = []
    for first, stop in spans:
        if model.row_exponents is None:
            gaussian = np.searchsorted(gaussians.distinct, -gaussians.columns[first:stop])
            columns, by_row, counts = np.argsort(gaussian, kind="stable"), None, m * np.bincount(gaussian)
        else:
            columns, by_row, counts = np.arange(stop - first), gaussians, np.bincount(gaussians.index(first, stop).ravel())
        runs: list[tuple[int, Model]] = [(int(counts[k]), models[k]) for k in np.flatnonzero(counts)]
        sequences.append(Sequence(columns, runs, first, by_row))
    return sequences


def by_column(symbols: ScalarSymbols, tables: list[FrequencyTable], spans: list[tuple[int, int]]) -> list[Sequence]:
    """The sequence of each block, column after column, neighbours that share a table in one run.

    Parameters
    ----------
    symbols : of which only the shape is looked at
    tables : of each column
    spans : first and past-the-last columns of the blocks
    """
    m = len(symbols.integers)
    sequences = []
    for first, stop in spans:
        starts = [i for i in range(first, stop) if i == first or tables[i] is not tables[i - 1]]
        runs: list[tuple[int, Model]] = [(m * (j - i), tables[i]) for i, j in zip(starts, [*starts[1:], stop], strict=True)]
        sequences.append(Sequence(np.arange(stop - first), runs))
    return sequences


def decode_block(block: Block) -> NDArray[np.int32]:
    """The integers (m, p) of a block."""
    return block.sequence.write(decode_runs(block.payload, block.escaped, block.sequence.runs, name=block.name), block.rows)
