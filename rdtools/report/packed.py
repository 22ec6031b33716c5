"""Tables for the page: columns of integers, deflated, in base64; ``page.js`` reads them.

A block is, before compression: the length of the header in four bytes, little-endian; the header, JSON in UTF-8; and for every column of
every table, in the order of the header, its integers. An integer k is written as the 32-bit word 2k or −2k − 1, so that small ones have
zeros in front, and a column as its words' lowest bytes, then their second ones, and so on. In a column with "delta" each integer is the
difference from the one before. What an integer means stands with its column in the header: the place in "values", or a number of
`rdtools.report.decimals.Decimals` with "digits" and "scientific".
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdtools.report.decimals import Decimals


@dataclass(frozen=True, eq=False)
class PackedColumn:
    """A column: its integers, and what they mean.

    Attributes
    ----------
    name : in the result table
    integers : one for each row
    values : texts that the integers count, in the order in which they sort; None for numbers
    decimals : of numbers
    heading, about : for readers
    delta : differences are stored, which are small where neighbours are alike
    """

    name: str
    integers: NDArray[np.int32]
    values: tuple[str, ...] | None = None
    decimals: Decimals = Decimals(0)  # noqa: RUF009 (frozen)
    heading: str = ""
    about: str = ""
    delta: bool = False

    def header(self) -> dict[str, Any]:
        """Entry of the column in the header of a block."""
        meaning: dict[str, Any] = {"digits": self.decimals.digits, "scientific": self.decimals.scientific}
        if self.values is not None:
            meaning = {"values": self.values}
        return {"name": self.name, "heading": self.heading, "about": self.about, "delta": self.delta, **meaning}


def text_column(
    name: str, texts: Sequence[str], *, values: Sequence[str] | None = None, heading: str = "", about: str = ""
) -> PackedColumn:
    """A column of texts; `values` are all of them in the order in which they sort, by default alphabetical."""
    ordered = tuple(sorted(set(texts)) if values is None else values)
    index_of = {text: index for index, text in enumerate(ordered)}
    return PackedColumn(name, np.array([index_of[text] for text in texts], dtype=np.int32), ordered, heading=heading, about=about)


def number_column(
    name: str, numbers: Sequence[float] | NDArray[Any], decimals: Decimals, *, heading: str = "", about: str = "", delta: bool = False
) -> PackedColumn:
    """A column of numbers as they are printed."""
    return PackedColumn(name, decimals.integers(numbers), None, decimals, heading, about, delta)


def _planes(column: PackedColumn) -> bytes:
    values = column.integers.astype(np.int64)
    if column.delta:
        values = np.diff(values, prepend=0)
    words = np.where(values >= 0, 2 * values, -2 * values - 1).astype("<u4")  # differences of printed numbers fit: they are far below 2³⁰
    return np.ascontiguousarray(words.view(np.uint8).reshape(-1, 4).T).tobytes()


def pack(tables: Mapping[str, Sequence[PackedColumn]]) -> str:
    """The block of these tables, the same text for the same tables."""
    header = {
        name: {"length": len(columns[0].integers) if columns else 0, "columns": [column.header() for column in columns]}
        for name, columns in tables.items()
    }
    head = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    body = b"".join(_planes(column) for columns in tables.values() for column in columns)
    return base64.b64encode(zlib.compress(struct.pack("<I", len(head)) + head + body, 9)).decode()
