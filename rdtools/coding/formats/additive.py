"""Codes of additive codebooks, with the codebooks, the row scales and the places of the columns.

Layout::

    head: order, basic codebooks, bits, extended, bits    5×u8
          critical groups B, CRC-32 of the payload        2×u32
    payload, bit by bit, filled up to whole bytes:
          the critical columns of n = 8 ⌈r/8⌉             ⌈log2 C(n, 8B)⌉ bits, or all columns in their order n ⌈log2 n⌉ bits, or none
          row scales                                      m×bf16
          codebooks                                       f16 each
          codes, of each codebook by rows                 bits each
"""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np

from rdtools.arrays import Float64Array, panels
from rdtools.coding import format_v3 as v3
from rdtools.coding.bits import Bits, from_bits, index_width, subset_from_bits, subset_to_bits, subset_width, to_bits
from rdtools.coding.codec import Codec, Diagnostics, Map
from rdtools.coding.fields import Reader, narrowed, packed
from rdtools.coding.scales import stored_patterns
from rdtools.records import GROUP, AdditiveCodes, StoredOrder
from rdtools.records.additive_codes import MAX_SET_COLUMNS
from rdtools.records.stored import bfloat16_values


def _order_bits(symbols: AdditiveCodes) -> Bits:
    n = len(symbols.order)
    if symbols.stored == "permutation":
        return to_bits(symbols.order, index_width(n))
    return subset_to_bits(symbols.order[: GROUP * symbols.critical], n) if symbols.stored == "set" else np.zeros(0, dtype=np.uint8)


def _order_width(stored: StoredOrder, columns: int, critical: int) -> int:
    if stored == "permutation":
        return columns * index_width(columns)
    return subset_width(columns, GROUP * critical) if stored == "set" else 0


def payload_bits(symbols: AdditiveCodes) -> int:
    """Bits of the payload before it is filled up to whole bytes."""
    order = _order_width(symbols.stored, len(symbols.order), symbols.critical)
    return order + 16 * (len(symbols.scales) + sum(book.size for book in symbols.codebooks)) + int(length_bits(symbols))


def encode(symbols: AdditiveCodes) -> tuple[bytes, bytes]:
    """Side information and payload."""
    parts = [_order_bits(symbols), to_bits(stored_patterns(symbols.scales), 16)]
    for book in symbols.codebooks:
        parts.append(to_bits(narrowed(book, v3.CODEWORDS_DTYPE).view("<u2"), 16))
    slots, bits = symbols.slots, symbols.book_bits
    parts += [to_bits(symbols.codes[:, slots[:, 1] == b], width) for b, width in enumerate(bits)]
    payload = np.packbits(np.concatenate(parts)).tobytes()
    extended = len(bits) - symbols.basic
    head = packed(
        v3.ADDITIVE_HEAD, v3.ADDITIVE_ORDERS.index(symbols.stored), symbols.basic, bits[0], extended, bits[-1] if extended else 0,
        symbols.critical, zlib.crc32(payload),
    )  # fmt: skip
    return head, payload


class _BitReader:
    def __init__(self, data: Reader, count: int) -> None:
        stored = np.unpackbits(data.bytes_array(-(-count // 8)))
        if stored[count:].any():
            raise data.refusal("bits after the last code that are not zero")
        self._bits, self._at = stored, 0

    def take(self, count: int) -> Bits:
        self._at += count
        return self._bits[self._at - count : self._at]


def decode(side: Reader, payload: Reader, rows: int, columns: int, _: Map) -> AdditiveCodes:
    """Read what `encode` writes, for m rows and r columns.

    Raises
    ------
    CorruptFile
    """
    order_tag, basic, bits, extended, extended_bits, critical, checksum = v3.ADDITIVE_HEAD.unpack(side.take(v3.ADDITIVE_HEAD.size))
    stored = side.choice("order of columns", v3.ADDITIVE_ORDERS, order_tag)
    groups = -(-columns // GROUP)
    n = GROUP * groups
    if not (1 <= bits <= 16 and basic >= 1 and basic + extended <= 255 and critical <= groups):
        raise side.refusal(
            f"{basic} codebooks of {bits} bits and {extended} more, {critical} of {groups} groups critical, expected 1 to 255 codebooks of "
            "1 to 16 bits"
        )
    if stored == "set" and n > MAX_SET_COLUMNS:
        raise side.refusal(f"a set of critical columns of {n}, expected at most {MAX_SET_COLUMNS}")
    if (extended > 0) != (critical > 0) or (extended_bits == 0) != (extended == 0) or extended_bits > 16:
        raise side.refusal(f"{extended} extended codebooks of {extended_bits} bits for {critical} critical groups, expected all or none")
    widths = [bits] * basic + [extended_bits] * extended
    order_width, words = _order_width(stored, n, critical), GROUP * sum(2**e for e in widths)
    codes_width = rows * (groups * basic * bits + critical * extended * extended_bits)
    total = order_width + 16 * (rows + words) + codes_width
    reader = _BitReader(payload.checked(-(-total // 8), checksum), total)
    order_bits, order = reader.take(order_width), np.arange(n)
    if stored == "permutation":
        order = from_bits(order_bits, index_width(n)).astype(np.int64) if n > 1 else order
    elif stored == "set":
        first = subset_from_bits(order_bits, n, GROUP * critical)
        if first is None:
            raise side.refusal(f"a set of critical columns that {GROUP * critical} of {n} do not have")
        order = np.concatenate([first, np.setdiff1d(order, first)])
    patterns = from_bits(reader.take(16 * rows), 16).astype(np.uint16)
    if patterns.size and patterns.max() >= 0x7F80:
        raise side.refusal("row scales that are negative or not finite, expected finite numbers of at least 0")
    books = [from_bits(reader.take(16 * GROUP * 2**e), 16).astype("<u2").view(v3.CODEWORDS_DTYPE).reshape(-1, GROUP) for e in widths]
    if not all(np.isfinite(book).all() for book in books):
        raise side.refusal("a codeword that is not finite")
    counts = [groups] * basic + [critical] * extended
    integers = [from_bits(reader.take(rows * count * e), e).reshape(rows, count) for count, e in zip(counts, widths, strict=True)]
    return side.build(
        AdditiveCodes,
        np.concatenate(integers, axis=1).astype(np.uint16),
        tuple(book.astype(np.float64) for book in books),
        bfloat16_values(patterns),
        order,
        stored,
        basic,
        critical,
    )


def values(symbols: AdditiveCodes, _: int) -> Float64Array:
    """(m, 8 ⌈r/8⌉) the numbers that codes stand for; codewords of a group are added in the order of the codebooks."""
    slots, (m, n) = symbols.slots, (len(symbols.scales), len(symbols.order))
    matrix = np.empty((m, n))
    for rows in panels(m, n):
        placed = np.zeros((rows.stop - rows.start, n))
        for b, book in enumerate(symbols.codebooks):
            part = symbols.codes[rows, slots[:, 1] == b]
            placed[:, : GROUP * part.shape[1]] += book[part].reshape(len(part), -1)
        matrix[rows, symbols.order] = symbols.scales[rows, None] * placed
    return matrix


def length_bits(symbols: AdditiveCodes) -> float:
    """Bits of all codes."""
    return float(len(symbols.scales) * sum(symbols.book_bits[b] for b in symbols.slots[:, 1]))


CODEC = Codec(
    type=AdditiveCodes,
    encode=encode,
    decode=decode,
    fits=lambda symbols, rows, columns: (len(symbols.scales), len(symbols.order)) == (rows, GROUP * -(-columns // GROUP)),
    values=values,
    part_values=lambda symbols, columns, rows, some: values(
        replace(symbols, codes=symbols.codes[rows], scales=symbols.scales[rows]), columns
    )[:, some],
    length_bits=length_bits,
    rate_kind=lambda _: "fixed",
    diagnostics=lambda symbols: Diagnostics(length_bits(symbols)),
)
