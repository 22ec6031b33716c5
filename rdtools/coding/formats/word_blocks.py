"""A block of range-coded words and its escaped integers, as codecs store it: words in the payload, the rest in the side information.

Layout in the side information::

    words of payload, escaped integers (their number, then each), CRC-32 of the payload      varints, u32
"""

from __future__ import annotations

import zlib
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from rdtools.coding import format_v2 as v2
from rdtools.coding.fields import Reader, varint
from rdtools.errors import CorruptFile


def block_bytes(words: NDArray[np.uint32], escaped: Collection[int]) -> tuple[bytes, bytes]:
    """Side information and payload of a block."""
    data = words.astype(v2.WORDS_DTYPE).tobytes()
    side = varint(len(words)) + b"".join(map(varint, (len(escaped), *escaped))) + v2.BLOCK_CHECKSUM.pack(zlib.crc32(data))
    return side, data


def read_block(side: Reader, payload: Reader, integers: int, *, name: str) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The words and escaped integers that `block_bytes` wrote of a block of so many integers.

    Parameters
    ----------
    side, payload : at the block
    integers : number of them in the block
    name : for messages, such as "block 0 of 2"

    Raises
    ------
    CorruptFile
    """
    kind = name.partition(" ")[0]
    count = side.count(f"words of a {kind}", payload.remaining // 4)
    escaped = side.escaped(integers)
    (checksum,) = v2.BLOCK_CHECKSUM.unpack(side.take(v2.BLOCK_CHECKSUM.size))
    if zlib.crc32(payload.ahead(4 * count)) != checksum:
        raise CorruptFile(f"{payload.name}: checksum mismatch in {name}; the file is damaged: write it again")
    return payload.words(count), escaped
