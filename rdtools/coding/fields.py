"""Fields of a container, written and read: variable-length integers, scales, and choices from a table."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from rdtools.coding import format_v2 as fmt
from rdtools.errors import CorruptFile, UsageError
from rdtools.records.stored import bfloat16_values

T = TypeVar("T")
P = ParamSpec("P")


def varint(value: int) -> bytes:
    """Variable-length integer: zigzag sign, seven bits per byte, low first."""
    u = (value << 1) if value >= 0 else ((-value) << 1) - 1
    more = 1 << fmt.VARINT_BITS
    out = bytearray()
    while u >= more:
        out.append(u & (more - 1) | more)
        u >>= fmt.VARINT_BITS
    out.append(u)
    return bytes(out)


def packed(layout: struct.Struct, *values: Any) -> bytes:
    """Numbers as a file stores them, which are these again when they are read.

    Raises
    ------
    UsageError
        For a number that the layout does not hold, such as one of float64 where float32 is stored.
    """
    try:
        data = layout.pack(*values)
    except (struct.error, OverflowError) as error:
        raise UsageError(f"encode: {values} cannot be stored ({error}); round them before") from error
    if layout.unpack(data) != values:
        raise UsageError(f"encode: {values} would be stored as {layout.unpack(data)}; round them before: a record holds what is read")
    return data


def narrowed(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Numbers in the dtype that a file stores, which holds them all.

    Raises
    ------
    UsageError
    """
    with np.errstate(over="ignore"):
        stored = values.astype(dtype)
    if not (np.array_equal(stored, values) and np.isfinite(values).all()):
        raise UsageError(f"encode: numbers that {np.dtype(dtype).name} does not hold, expected ones that it does; round them before")
    return stored


class Reader:
    """Reads a container from front to back. Every refusal is a `CorruptFile` that names the file and the field."""

    def __init__(self, data: bytes | memoryview, name: str) -> None:
        self._data, self.position, self.name = memoryview(data), 0, name

    @property
    def remaining(self) -> int:
        """Number of bytes that are not read yet."""
        return len(self._data) - self.position

    def refusal(self, fault: str) -> CorruptFile:
        """The error that says what is wrong with the file."""
        return CorruptFile(f"{self.name}: {fault}; the file is damaged, or a newer rdtools wrote it: write it again or upgrade rdtools")

    def take(self, count: int) -> memoryview:
        """The next bytes."""
        if count > self.remaining:
            raise self.refusal(f"ends inside a field: {self.remaining} bytes are left, expected {count}")
        self.position += count
        return self._data[self.position - count : self.position]

    def ahead(self, count: int) -> memoryview:
        """The next bytes, which stay the next ones."""
        part = self.take(count)
        self.position -= count
        return part

    def since(self, start: int) -> memoryview:
        """The bytes read since a position."""
        return self._data[start : self.position]

    def part(self, count: int) -> Reader:
        """A reader of the next bytes alone."""
        return Reader(self.take(count), self.name)

    def checked(self, count: int, checksum: int) -> Reader:
        """A reader of the next bytes alone, whose CRC-32 is the stored one."""
        data = self.take(count)
        if zlib.crc32(data) != checksum:
            raise CorruptFile(f"{self.name}: checksum mismatch in the payload; the file is damaged: write it again")
        return Reader(data, self.name)

    def finish(self, where: str = "the payload") -> None:
        """Refuse bytes that are left over."""
        if self.remaining:
            raise self.refusal(f"{self.remaining} bytes after {where}, expected none")

    def u8(self) -> int:
        """One byte."""
        return self.take(1)[0]

    def choice(self, field: str, table: Sequence[T] | Mapping[int, T], tag: int) -> T:
        """The entry of a table that a stored place stands for."""
        entries = table if isinstance(table, Mapping) else dict(enumerate(table))
        if tag not in entries:
            known = ", ".join(f"{i} {entry}" for i, entry in entries.items())
            raise self.refusal(f"{field} {tag}, expected one of {known}")
        return entries[tag]

    def flags(self, field: str, known: int, stored: int) -> int:
        """A byte of flags, all of which are known."""
        if stored & ~known:
            raise self.refusal(f"{field} {stored:#04x} with unknown options {stored & ~known:#04x}, expected only bits of {known:#04x}")
        return stored

    def bytes_array(self, *shape: int) -> NDArray[np.uint8]:
        """Bytes in an array of that shape."""
        return np.frombuffer(self.take(math.prod(shape)), np.uint8).reshape(shape).copy()

    def bfloat16(self, field: str, *shape: int) -> NDArray[np.float64]:
        """Scales in an array of that shape, finite and not negative."""
        patterns = np.frombuffer(self.take(2 * math.prod(shape)), fmt.SCALES_DTYPE)
        if patterns.size and patterns.max() >= 0x7F80:
            raise self.refusal(f"{field} that are negative or not finite, expected finite numbers of at least 0")
        return bfloat16_values(patterns).reshape(shape)

    def words(self, count: int) -> NDArray[np.uint32]:
        """32-bit words of a range coder."""
        return np.frombuffer(self.take(4 * count), fmt.WORDS_DTYPE).astype(np.uint32)

    def varint(self) -> int:
        """Read a number that `varint` wrote."""
        u = shift = 0
        while True:
            byte = self.u8()
            u |= (byte & ((1 << fmt.VARINT_BITS) - 1)) << shift
            shift += fmt.VARINT_BITS
            if byte < 1 << fmt.VARINT_BITS:
                return u >> 1 if u % 2 == 0 else -((u + 1) >> 1)
            if shift > fmt.VARINT_LIMIT:
                raise self.refusal(f"an integer of more than {fmt.VARINT_LIMIT} bits")

    def count(self, field: str, most: int) -> int:
        """A variable-length integer from 0 to `most`."""
        value = self.varint()
        if not 0 <= value <= most:
            raise self.refusal(f"{field} {value}, expected 0 to {most}")
        return value

    def int32(self, field: str) -> int:
        """A variable-length integer that an int32 holds."""
        value = self.varint()
        if not -(2**31) <= value < 2**31:
            raise self.refusal(f"{field} {value}, expected an integer of 32 bits")
        return value

    def escaped(self, most: int) -> NDArray[np.int64]:
        """The integers behind escape symbols: their number, then each."""
        number = self.count("number of escaped integers", min(most, self.remaining))
        return np.array([self.int32("escaped integer") for _ in range(number)], dtype=np.int64)

    def build(self, record: Callable[P, T], *args: P.args, **settings: P.kwargs) -> T:
        """A record of stored numbers, which checks them itself."""
        try:
            return record(*args, **settings)
        except ValueError as error:
            raise self.refusal(str(error)) from error
