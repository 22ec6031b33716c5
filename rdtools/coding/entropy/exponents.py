"""Exponents of scales in a container: as bytes, or under a Gaussian entropy model about their mean where that is shorter.

Layout::

    0, exponents                                          u8 each
    1, mean, standard deviation, words, escaped, payload           2×u8, f32, varints, u32 words
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdtools.coding import format_v2 as fmt
from rdtools.coding.entropy.coder import decode_runs, encode_runs
from rdtools.coding.entropy.gaussians import column_table
from rdtools.coding.fields import Reader, varint
from rdtools.coding.scales import round_to_float32

Exponents = NDArray[np.uint8]


def exponent_bytes(exponents: Exponents) -> bytes:
    """The shorter of the two forms."""
    plain = bytes([fmt.PLAIN_EXPONENTS]) + exponents.tobytes()
    if len(exponents) == 0:
        return plain
    mean = int(np.rint(exponents.mean()))
    offsets = exponents.astype(np.int64) - mean
    std = round_to_float32(max(float(np.sqrt(np.mean(offsets**2))), fmt.MIN_EXPONENT_STD))
    words, escaped = encode_runs([(offsets, column_table(std))])
    coded = fmt.EXPONENTS_HEAD.pack(fmt.CODED_EXPONENTS, mean, std) + b"".join(map(varint, (len(words), len(escaped), *escaped)))
    coded += words.astype(fmt.WORDS_DTYPE).tobytes()
    return min(plain, coded, key=len)


def read_exponents(reader: Reader, count: int) -> Exponents:
    """Read exponents as `exponent_bytes` writes them.

    Raises
    ------
    CorruptFile
    """
    if reader.ahead(1)[0] == fmt.PLAIN_EXPONENTS:
        return reader.bytes_array(1 + count)[1:]
    form, mean, std = fmt.EXPONENTS_HEAD.unpack(reader.take(fmt.EXPONENTS_HEAD.size))
    if form != fmt.CODED_EXPONENTS:
        raise reader.refusal(f"form of exponents {form}, expected {fmt.PLAIN_EXPONENTS} (plain) or {fmt.CODED_EXPONENTS} (coded)")
    if not fmt.MIN_EXPONENT_STD <= std + 1e-6 <= 256.0:
        raise reader.refusal(f"standard deviation of exponents {std:g}, expected {fmt.MIN_EXPONENT_STD:g} to 256")
    size = reader.count("words of exponents", reader.remaining)
    escaped = reader.escaped(count)
    (offsets,) = decode_runs(reader.words(size), escaped, [(count, column_table(std))], name=reader.name)
    exponents = offsets + mean
    if count and not 0 <= exponents.min() <= exponents.max() <= 255:
        raise reader.refusal(f"exponents from {exponents.min()} to {exponents.max()}, expected 0 to 255")
    return np.asarray(exponents, dtype=np.uint8)


def step_exponents(reader: Reader, count: int, before: Sequence[Any]) -> Exponents:
    """Step exponents of a matrix: those of the symbols before it in a file, where there are any, else those that are stored.

    Raises
    ------
    CorruptFile
    """
    if not before:
        return read_exponents(reader, count)
    exponents = before[-1].grid.exponents
    if exponents is None or len(exponents) != count:
        raise reader.refusal("a matrix with the step exponents of the one before it, which has none for as many columns")
    return np.array(exponents, dtype=np.uint8)
