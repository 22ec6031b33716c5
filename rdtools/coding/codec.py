"""The record that holds everything special about one kind of symbols; `rdtools.coding.formats.CODECS` is the table of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from rdtools.arrays import Matrix

#: ``map`` of whoever decodes blocks: the built-in one, or that of an executor.
Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True)
class Diagnostics:
    """Statistics of symbols, nan where a kind of symbols has none.

    Attributes
    ----------
    length_bits : ideal length in all, bits
    symbols : number of entropy-coded integers
    entropy_shared_bits, entropy_column_bits : plug-in entropies, bits per integer
    clipped_fraction : share of the integers of a fixed-rate grid that are its minimum or maximum
    """

    length_bits: float
    symbols: int = 0
    entropy_shared_bits: float = float("nan")
    entropy_column_bits: float = float("nan")
    clipped_fraction: float = float("nan")


@dataclass(frozen=True)
class Sample:
    """Symbols of which some blocks of columns were coded, decoded and found to be the same, and the rest counted by their model.

    Attributes
    ----------
    share : coded integers over all
    side : side information but for the heads of blocks that are not coded
    payload : of the coded blocks
    left_side_bits : heads of the other blocks, without escaped integers as large as those of the coded ones in the mean
    left_payload_bits : minus log2 of the probabilities of the other integers, those that are escaped included, and what a coded block
        takes beyond its own, for each
    """

    share: float
    side: bytes
    payload: bytes
    left_side_bits: float
    left_payload_bits: float


@dataclass(frozen=True)
class Codec:
    """One kind of symbols: how it is stored, decoded and measured.

    Attributes
    ----------
    type : record of the symbols
    encode : side information and payload of the symbols; with `exponents` also given the symbols of the matrices that they follow
    decode : symbols from readers of side information and payload, rows, columns and a `Map`, and these symbols; everything that it reads
        is checked
    fits : True if symbols are those of so many rows and columns
    values : (≥ m, ≥ r) float64, the numbers that symbols stand for, from symbols and number of columns r
    length_bits : ideal length of the symbols under their model, histograms included
    rate_kind : rate kind that `length_bits` is, see `rdtools.units`
    diagnostics : statistics of the symbols
    part_values : the same for some rows and columns of the symbols alone, slices that begin at multiples of 16, from symbols, r and the two
        slices; None where there is no way but to decode all
    values_on_device : `values` takes symbols whose integers are a tensor, and leaves the values where these are
    sample : a `Sample` of symbols, or None where they have too few blocks; None for a kind that is always coded whole
    exponents : step exponents of symbols, or None where they have none: a matrix with those of the one before it in a file may follow it;
        None for symbols that never follow others
    """

    type: type[Any]
    encode: Callable[..., tuple[bytes, bytes]]
    decode: Callable[..., Any]
    fits: Callable[[Any, int, int], bool]
    values: Callable[[Any, int], Matrix]
    length_bits: Callable[[Any], float]
    rate_kind: Callable[[Any], str]
    diagnostics: Callable[[Any], Diagnostics]
    part_values: Callable[[Any, int, slice, slice], Matrix] | None = None
    values_on_device: bool = False
    sample: Callable[[Any], Sample | None] | None = None
    exponents: Callable[[Any], Any] | None = None
