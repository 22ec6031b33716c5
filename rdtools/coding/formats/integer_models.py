"""Entropy models of integers on a grid: the table of what is special about each kind."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdtools.coding import format_v2 as fmt
from rdtools.coding.entropy import blocks
from rdtools.coding.entropy.adaptive import adaptive_code_length
from rdtools.coding.entropy.gaussians import Gaussians, count_by_gaussian, gaussian_code_length, gaussian_stds
from rdtools.coding.entropy.models import (
    FrequencyTable,
    IntegerCounts,
    column_tables,
    count_integers,
    entropy_bits,
    histogram_bytes,
    read_histogram,
    shared_table,
    uniform_table,
)
from rdtools.coding.fields import Reader, packed
from rdtools.coding.formats import learnt
from rdtools.records import ENTROPY_MODELS, AdaptiveModel, CodeModelKind, EntropyModel, GaussianModel, ScalarSymbols, Uniform

RowExponents = NDArray[np.uint8] | None


@dataclass(frozen=True, eq=False)
class StoredModel:
    """A model as it is read.

    Attributes
    ----------
    model : of the integers
    levels : of the grid, which are stored with a uniform model; 0 beside others
    tables : histograms
    past : symbols of matrices before this one, from whose rows the model goes on to learn
    """

    model: EntropyModel
    levels: int = 0
    tables: Sequence[FrequencyTable] = ()
    past: learnt.Before = ()


@dataclass(frozen=True)
class ModelCoder:
    """One kind of entropy model: how it is stored, in what order integers are coded under it, and how long they are.

    Attributes
    ----------
    rate_kind : of the integers, see `rdtools.units`
    numbers : what is stored of the model, from symbols and model, and its histograms
    read : a `StoredModel` from a reader, rows, columns, row exponents and the symbols before
    sequences : order and tables of the integers of each block, from symbols, model, histograms and the blocks' columns
    length : bits of the integers, and of histograms, from symbols that are not empty, model, and `count_integers` if known
    """

    rate_kind: str
    numbers: Callable[[ScalarSymbols, Any], tuple[bytes, Sequence[FrequencyTable]]]
    read: Callable[[Reader, int, int, RowExponents, learnt.Before], StoredModel]
    sequences: Callable[[ScalarSymbols, Any, Sequence[FrequencyTable], list[tuple[int, int]]], list[blocks.Sequence]]
    length: Callable[[ScalarSymbols, Any, IntegerCounts | None], tuple[float, float]]


def _read_uniform(side: Reader, rows: int, columns: int, row_exponents: RowExponents, before: learnt.Before) -> StoredModel:
    return StoredModel(Uniform(), levels=fmt.LEVELS.unpack(side.take(fmt.LEVELS.size))[0])


def _uniform_sequences(
    symbols: ScalarSymbols, model: Uniform, tables: Sequence[FrequencyTable], spans: list[tuple[int, int]]
) -> list[blocks.Sequence]:
    levels = symbols.grid.column_levels(symbols.integers.shape[1]).tolist()
    by_levels = {k: uniform_table(k) for k in set(levels)}
    return blocks.by_column(symbols, [by_levels[k] for k in levels], spans)


def _uniform_length(symbols: ScalarSymbols, model: Uniform, counts: IntegerCounts | None) -> tuple[float, float]:
    m, r = symbols.integers.shape
    return m * math.fsum(np.log2(symbols.grid.column_levels(r))), 0.0


def _histogram_coder(kind: CodeModelKind, tables_of: Callable[[IntegerCounts], list[FrequencyTable]], *, shared: bool) -> ModelCoder:
    """The entry of a model with one histogram, or one per column."""

    def numbers(symbols: ScalarSymbols, model: EntropyModel) -> tuple[bytes, Sequence[FrequencyTable]]:
        tables = tables_of(count_integers(symbols.integers)) if symbols.integers.size else []
        return b"".join(map(histogram_bytes, tables)), tables

    def read(side: Reader, rows: int, columns: int, row_exponents: RowExponents, before: learnt.Before) -> StoredModel:
        number, total = (1, rows * columns) if shared else (columns, rows)
        return StoredModel(ENTROPY_MODELS[kind](), tables=[read_histogram(side, total) for _ in range(number)] if rows * columns else ())

    def sequences(
        symbols: ScalarSymbols, model: EntropyModel, tables: Sequence[FrequencyTable], spans: list[tuple[int, int]]
    ) -> list[blocks.Sequence]:
        return blocks.by_column(symbols, list(tables) * (symbols.integers.shape[1] if shared else 1), spans)

    def length(symbols: ScalarSymbols, model: EntropyModel, counts: IntegerCounts | None) -> tuple[float, float]:
        tables = tables_of(count_integers(symbols.integers) if counts is None else counts)
        bits = math.fsum(int(t.frequencies.sum()) * entropy_bits(t) for t in tables)
        return bits, 8.0 * sum(len(histogram_bytes(t)) for t in tables)

    return ModelCoder("entropy_" + kind, numbers, read, sequences, length)


def _gaussian_numbers(symbols: ScalarSymbols, model: GaussianModel) -> tuple[bytes, Sequence[FrequencyTable]]:
    return packed(fmt.GAUSSIAN, model.weight_std, model.noise_variance), ()


def _read_gaussian(side: Reader, rows: int, columns: int, row_exponents: RowExponents, before: learnt.Before) -> StoredModel:
    weight_std, noise_variance = fmt.GAUSSIAN.unpack(side.take(fmt.GAUSSIAN.size))
    return StoredModel(side.build(GaussianModel, weight_std, noise_variance, row_exponents))


def _gaussian_sequences(
    symbols: ScalarSymbols, model: GaussianModel, tables: Sequence[FrequencyTable], spans: list[tuple[int, int]]
) -> list[blocks.Sequence]:
    return blocks.by_gaussian(symbols, model, spans)


def _gaussian_length(symbols: ScalarSymbols, model: GaussianModel, counts: IntegerCounts | None) -> tuple[float, float]:
    gaussians = Gaussians.of(symbols.integers.shape, symbols.grid, model.row_exponents)
    return gaussian_code_length(count_by_gaussian(symbols.integers, gaussians, counts), gaussian_stds(model, gaussians.steps)), 0.0


def _adaptive_numbers(symbols: ScalarSymbols, model: AdaptiveModel) -> tuple[bytes, Sequence[FrequencyTable]]:
    """Fields of the plain model; the strength is written with the integers where these are learnt, as it says what they go on from."""
    return _gaussian_numbers(symbols, model)[0] + (b"" if model.learns else learnt.head_bytes(model)), ()


def _read_adaptive(side: Reader, rows: int, columns: int, row_exponents: RowExponents, before: learnt.Before) -> StoredModel:
    weight_std, noise_variance = fmt.GAUSSIAN.unpack(side.take(fmt.GAUSSIAN.size))
    plain = side.build(GaussianModel, weight_std, noise_variance, row_exponents)
    model, past = learnt.read_head(side, plain, rows, before)
    return StoredModel(model, past=past)


def _adaptive_length(symbols: ScalarSymbols, model: AdaptiveModel, counts: IntegerCounts | None) -> tuple[float, float]:
    return (adaptive_code_length(symbols, model), 0.0) if model.learns else _gaussian_length(symbols, model, counts)


#: By kind; the only place that tells them apart.
MODEL_CODERS: dict[CodeModelKind, ModelCoder] = {
    "fixed": ModelCoder(
        "fixed", lambda symbols, model: (packed(fmt.LEVELS, symbols.grid.levels), ()), _read_uniform, _uniform_sequences, _uniform_length
    ),
    "shared": _histogram_coder("shared", lambda counts: [shared_table(counts)], shared=True),
    "histogram": _histogram_coder("histogram", column_tables, shared=False),
    "column": ModelCoder("entropy_column", _gaussian_numbers, _read_gaussian, _gaussian_sequences, _gaussian_length),
    "adaptive": ModelCoder("entropy_adaptive", _adaptive_numbers, _read_adaptive, _gaussian_sequences, _adaptive_length),
}


def scalar_code_length(symbols: ScalarSymbols, counts: IntegerCounts | None = None) -> tuple[float, float]:
    """Bits that integers take under their model, and bits of the histograms that the model needs.

    fixed: log2 of the levels of each; shared and histogram: size times plug-in entropy, of all or by columns; column: minus log2 of the
    probabilities of each Gaussian model, escapes included; adaptive: the same under the models as learnt. Without its histogram the entropy
    of few integers would be below that of their Gaussian, so that the two belong together.

    Parameters
    ----------
    symbols : integers and their model
    counts : `count_integers` of them, if known
    """
    if 0 in symbols.integers.shape:
        return 0.0, 0.0
    return MODEL_CODERS[symbols.model.kind].length(symbols, symbols.model, counts)
