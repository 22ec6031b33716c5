"""Runs of symbols through a range coder, each under a frequency table of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import constriction
import numpy as np
from numpy.typing import NDArray

from rdtools.coding.entropy.gaussians import Gaussian
from rdtools.coding.entropy.models import FrequencyTable
from rdtools.errors import CodingError, CorruptFile, RdtoolsError

#: An entropy model, whose `table` gives the frequencies.
Model = FrequencyTable | Gaussian
#: Integers, and the model that they are coded under.
Run = tuple[NDArray[np.integer], Model]


def _model(table: FrequencyTable) -> constriction.stream.model.Categorical:
    return constriction.stream.model.Categorical(table.frequencies / table.frequencies.sum(), perfect=False)


@contextmanager
def _panics_as(error: RdtoolsError) -> Iterator[None]:
    """An error in place of a panic of constriction, which is no `Exception` and would end a whole run."""
    try:
        yield
    except BaseException as panic:
        if type(panic).__name__ != "PanicException":
            raise
        raise error from panic


def encode_runs(runs: Iterable[Run]) -> tuple[NDArray[np.uint32], list[int]]:
    """Words of the coder, and the integers that tables have only an escape symbol for."""
    encoder = constriction.stream.queue.RangeEncoder()
    escaped: list[int] = []
    for values, model in runs:
        table = model.table()
        if len(table.values) == table.values[-1] - table.values[0] + 1:
            symbols = values.astype(np.int64) - table.values[0]
        else:
            symbols = np.searchsorted(table.values, values)
        if table.escapes:
            outside = (values < table.values[0]) | (values > table.values[-1])
            escaped += values[outside].tolist()
            symbols[outside] = len(table.values)
        if len(table.frequencies) > 1:  # a single code needs no bits
            with _panics_as(
                CodingError(f"{symbols.size} symbols cannot be coded under the frequencies given for them; a fault of rdtools")
            ):
                encoder.encode(symbols.astype(np.int32), _model(table))
    return np.asarray(encoder.get_compressed()), escaped


def runs_length_bits(runs: Iterable[Run]) -> float:
    """``Σ −log2 p`` of the symbols of runs under their frequencies, without what escaped integers take beside their escape symbols."""
    bits = 0.0
    for values, model in runs:
        table = model.table()
        lengths = -np.log2(table.frequencies / table.frequencies.sum())
        known, counts = np.unique(values, return_counts=True)
        index = np.searchsorted(table.values, known)
        if table.escapes:
            index[(known < table.values[0]) | (known > table.values[-1])] = len(table.values)
        bits += float(counts @ lengths[index])
    return bits


def decode_runs(
    words: NDArray[np.uint32],
    escaped: NDArray[np.int64],
    runs: Iterable[tuple[int, Model]],
    *,
    name: str,
    decoded: list[NDArray[np.int64]] | None = None,
) -> list[NDArray[np.int64]]:
    """The integers of runs of so many symbols; appended to `decoded`, so that later runs may depend on earlier ones.

    Raises
    ------
    CorruptFile
        For words that no encoder writes under these tables, and for a number of escape symbols that is not that of escaped integers; the
        message starts with `name`.
    """
    decoder = constriction.stream.queue.RangeDecoder(words)
    decoded = [] if decoded is None else decoded
    used = 0
    for count, model in runs:
        table = model.table()
        single = len(table.frequencies) == 1
        impossible = CorruptFile(f"{name}: coded symbols that no frequencies of this file give; the file is damaged: write it again")
        try:
            with _panics_as(impossible):
                symbols = np.zeros(count, dtype=np.int64) if single else decoder.decode(_model(table), count)
        except AssertionError as error:  # constriction's word for impossible data
            raise impossible from error
        values = np.append(table.values, 0)[symbols]
        outside = np.flatnonzero(symbols == len(table.values))
        if used + len(outside) > len(escaped):
            raise CorruptFile(f"{name}: {len(escaped)} escaped integers, fewer than escape symbols; the file is damaged: write it again")
        values[outside] = escaped[used : used + len(outside)]
        used += len(outside)
        decoded.append(values)
    if used < len(escaped):
        raise CorruptFile(f"{name}: {len(escaped)} escaped integers for {used} escape symbols; the file is damaged: write it again")
    return decoded
