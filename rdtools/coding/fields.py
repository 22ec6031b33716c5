"""Fields of a container: variable-length integers, scales and histograms, written and read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdtools.coding.models import FrequencyTable
from rdtools.coding.scales import unpack_bfloat16
from rdtools.errors import CorruptFile


def varint(value: int) -> bytes:
    """Variable-length integer: zigzag sign, seven bits a byte, low first."""
    u = (value << 1) if value >= 0 else ((-value) << 1) - 1
    out = bytearray()
    while u > 127:
        out.append(u & 127 | 128)
        u >>= 7
    out.append(u)
    return bytes(out)


def histogram_bytes(table: FrequencyTable) -> bytes:
    """A histogram as variable-length integers: number of runs of consecutive codes; of each its distance, length and frequencies.

    The distance is that of the first code from zero, then from the end of the run before; so an outlier costs a few bytes.
    """
    starts = [0, *(np.flatnonzero(np.diff(table.values) > 1) + 1).tolist()]
    out = [varint(len(starts))]
    previous = 0
    for first, stop in zip(starts, [*starts[1:], len(table.values)], strict=True):
        out += [varint(int(table.values[first]) - previous), varint(stop - first)]
        out += map(varint, table.frequencies[first:stop].tolist())
        previous = int(table.values[stop - 1])
    return b"".join(out)


class Reader:
    """Reads a container from front to back, naming the file when it ends too soon."""

    def __init__(self, data: bytes, name: str) -> None:
        self._data, self.position, self.name = memoryview(data), 0, name

    def take(self, count: int) -> memoryview:
        """The next bytes."""
        if count > len(self._data) - self.position:
            raise CorruptFile(f"{self.name}: ends inside a field; the file was not written by this version of rdtools")
        self.position += count
        return self._data[self.position - count : self.position]

    def ahead(self, count: int) -> memoryview:
        """The next bytes, which stay the next ones."""
        part = self.take(count)
        self.position -= count
        return part

    def finish(self) -> None:
        """Refuse what is left over."""
        if self.position != len(self._data):
            raise CorruptFile(f"{self.name}: {len(self._data) - self.position} bytes after the payload; the file is damaged")

    def u8(self) -> int:
        """One byte."""
        return self.take(1)[0]

    def u32(self) -> int:
        """Four bytes."""
        return int.from_bytes(self.take(4), "little")

    def f32(self) -> float:
        """A float32."""
        return float(np.frombuffer(self.take(4), "<f4")[0])

    def bytes_array(self, *shape: int) -> NDArray[np.uint8]:
        """Bytes in an array of that shape."""
        return np.frombuffer(self.take(int(np.prod(shape))), np.uint8).reshape(shape).copy()

    def bfloat16(self, *shape: int) -> NDArray[np.float64]:
        """Scales in an array of that shape."""
        return unpack_bfloat16(np.frombuffer(self.take(2 * int(np.prod(shape))), "<u2")).reshape(shape)

    def varint(self) -> int:
        """What `varint` wrote."""
        u = shift = 0
        while True:
            byte = self.u8()
            u |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return u >> 1 if u % 2 == 0 else -((u + 1) >> 1)
            if shift > 63:
                raise CorruptFile(f"{self.name}: an integer of more than 63 bits; the file is damaged")

    def histogram(self) -> FrequencyTable:
        """What `histogram_bytes` wrote."""
        values: list[int] = []
        frequencies: list[int] = []
        for _ in range(self.varint()):
            first = (values[-1] if values else 0) + self.varint()
            length = self.varint()
            values += range(first, first + length)
            frequencies += (self.varint() for _ in range(length))
        return FrequencyTable(np.array(values, dtype=np.int64), np.array(frequencies, dtype=np.int64))
