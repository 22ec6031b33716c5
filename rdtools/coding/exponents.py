"""Exponents of scales in a container: as bytes, or by a rounded normal law about their mean where that is shorter.

Layout::

    0, exponents                                          u8 each
    1, mean, deviation, words, escaped, payload           2×u8, f32, varints, u32 words
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from rdtools.coding.coder import decode_runs, encode_runs
from rdtools.coding.fields import Reader, varint
from rdtools.coding.models import column_table
from rdtools.coding.scales import round_to_float32

Exponents = NDArray[np.uint8]

#: Least deviation of the law: of exponents that are all the same.
_LEAST_STD = 0.05


def exponent_bytes(exponents: Exponents) -> bytes:
    """The shorter of the two forms."""
    plain = b"\0" + exponents.tobytes()
    if len(exponents) == 0:
        return plain
    mean = int(np.rint(exponents.mean()))
    offsets = exponents.astype(np.int64) - mean
    std = round_to_float32(max(float(np.sqrt(np.mean(offsets**2))), _LEAST_STD))
    words, escaped = encode_runs([(offsets, column_table(std))])
    coded = struct.pack("<BBf", 1, mean, std) + b"".join(map(varint, (len(words), len(escaped), *escaped))) + words.astype("<u4").tobytes()
    return min(plain, coded, key=len)


def read_exponents(reader: Reader, count: int) -> Exponents:
    """What `exponent_bytes` wrote.

    Raises
    ------
    CorruptFile
    """
    if reader.u8() == 0:
        return reader.bytes_array(count)
    mean, std = reader.u8(), reader.f32()
    size, escapes = reader.varint(), reader.varint()
    escaped = np.array([reader.varint() for _ in range(escapes)], dtype=np.int64)
    words = np.frombuffer(reader.take(4 * size), "<u4").astype(np.uint32)
    (offsets,) = decode_runs(words, escaped, [(count, column_table(std))], name=reader.name)
    return (offsets + mean).astype(np.uint8)
