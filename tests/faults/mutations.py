"""Bytes that something has damaged, or that someone has forged."""

from __future__ import annotations

import struct

import numpy as np

#: Numbers that break a reader that trusts them: ends of integer types, and floats that are no numbers or nearly none.
_EXTREMES = (
    *(struct.pack("<I", n) for n in (0, 1, 2**16, 2**20, 2**24, 2**31 - 1, 2**31, 2**32 - 1)),
    *(struct.pack("<f", x) for x in (0.0, -1.0, 1e-45, 1e30, 3.4e38, float("inf"), float("nan"))),
    *(bytes([0xFF] * n + [0x7F]) for n in (1, 3, 4, 7, 9)),
    *(bytes([0xFE] * n + [0x7F]) for n in (3, 7)),
)


def mutated(data: bytes, generator: np.random.Generator) -> bytes:
    """The bytes with one thing done to them: a bit, a byte, a number, or a stretch that is lost, repeated, moved, zeroed or cut off."""
    out = bytearray(data)
    place = int(generator.integers(len(out)))
    length = int(generator.integers(1, 9))
    match int(generator.integers(9)):
        case 0 | 1:
            out[place] ^= 1 << int(generator.integers(8))
        case 2:
            out[place] = int(generator.integers(256))
        case 3:
            number = _EXTREMES[int(generator.integers(len(_EXTREMES)))]
            out[place : place + len(number)] = number
        case 4:
            del out[place : place + length]
        case 5:
            out[place:place] = out[place : place + length]
        case 6:
            out[place : place + length] = generator.bytes(length)
        case 7:
            out[place : place + length] = bytes(len(out[place : place + length]))
        case _:
            del out[place:]
    return bytes(out)


def with_one_byte(data: bytes, generator: np.random.Generator) -> bytes:
    """The bytes with another value in one place."""
    out = bytearray(data)
    out[int(generator.integers(len(out)))] ^= int(generator.integers(1, 256))
    return bytes(out)
