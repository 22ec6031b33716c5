"""Words of lattice codebooks, of a fixed number of bits per weight, stored as they are.

Layout::

    bits, scale, residual scale, CRC-32 of the payload    u8, 2×f32, u32
    payload: each stage in turn                           u16 per word; u8 for the second stage of 3 bits
"""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import panels
from rdtools.coding import format_v2 as fmt
from rdtools.coding.codec import Codec, Diagnostics, Map
from rdtools.coding.fields import Reader, narrowed, packed
from rdtools.ops import rvq_decode
from rdtools.records import LatticeWords


def encode(symbols: LatticeWords) -> tuple[bytes, bytes]:
    """Side information and payload."""
    sizes = fmt.STAGE_BYTES[symbols.bits]
    payload = b"".join(narrowed(words, f"<u{size}").tobytes() for words, size in zip(symbols.words, sizes, strict=True))
    return packed(fmt.LATTICE_HEAD, symbols.bits, symbols.scale, symbols.residual_scale, zlib.crc32(payload)), payload


def decode(side: Reader, payload: Reader, rows: int, columns: int, _: Map) -> LatticeWords:
    """Read what `encode` writes, for m rows and r columns.

    Raises
    ------
    CorruptFile
    """
    bits, scale, residual_scale, checksum = fmt.LATTICE_HEAD.unpack(side.take(fmt.LATTICE_HEAD.size))
    if bits not in fmt.STAGE_BYTES:
        raise side.refusal(f"lattice words of {bits} bits per weight, expected one of {', '.join(map(str, fmt.STAGE_BYTES))}")
    shape = (rows, -(-columns // 8))
    data = payload.checked(shape[0] * shape[1] * sum(fmt.STAGE_BYTES[bits]), checksum)
    words = tuple(
        np.frombuffer(data.take(shape[0] * shape[1] * size), f"<u{size}").astype(np.uint16).reshape(shape) for size in fmt.STAGE_BYTES[bits]
    )
    return side.build(LatticeWords, words, bits, scale, residual_scale)


def values(symbols: LatticeWords, _: int) -> NDArray[np.float64]:
    """(m, 8 ⌈r/8⌉) the numbers that words stand for."""
    rows, groups = symbols.words[0].shape
    matrix = np.empty((rows, 8 * groups))
    for part in panels(rows, 8 * groups):
        vectors = rvq_decode(tuple(words[part].ravel() for words in symbols.words), symbols.bits, symbols.residual_scale or None)
        matrix[part] = vectors.reshape(-1, 8 * groups)
    matrix *= symbols.scale
    return matrix


def part_values(symbols: LatticeWords, columns: int, rows: slice, some: slice) -> NDArray[np.float64]:
    """`values` of some rows and columns."""
    groups = slice(some.start // 8, -(-min(some.stop, columns) // 8))
    return values(replace(symbols, words=tuple(words[rows, groups] for words in symbols.words)), columns)


def length_bits(symbols: LatticeWords) -> float:
    """Bits of all words as stored."""
    return 8.0 * sum(words.size * size for words, size in zip(symbols.words, fmt.STAGE_BYTES[symbols.bits], strict=True))


CODEC = Codec(
    type=LatticeWords,
    encode=encode,
    decode=decode,
    fits=lambda symbols, rows, columns: symbols.words[0].shape == (rows, -(-columns // 8)),
    values=values,
    part_values=part_values,
    length_bits=length_bits,
    rate_kind=lambda _: "fixed",
    diagnostics=lambda symbols: Diagnostics(length_bits(symbols)),
)
