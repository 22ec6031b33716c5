"""Header of a GGUF file: metadata and the list of tensors, every count compared with the bytes that are there before it is used."""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdtools.errors import CorruptFile
from rdtools.foreign.gguf_types import TYPES, GGUFType

_MAGIC = b"GGUF"
#: Number of a kind of value → format of `struct`; 8 is a string and 9 a list.
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _LIST = 8, 9
#: Lists of strings up to this length are kept; vocabularies are longer and nothing here needs them.
_KEPT = 1024
#: Lists of lists up to this depth; no writer makes deeper ones.
_DEPTH = 4


@dataclass(frozen=True)
class GGUFTensor:
    """A tensor of a GGUF file: `shape` has the last dimension of NumPy last, `type` is None for one that is not known here."""

    name: str
    shape: tuple[int, ...]
    type_number: int
    type: GGUFType | None
    offset: int

    @property
    def bytes(self) -> int:
        """Size in the file; 0 for a type that is not known."""
        return 0 if self.type is None else math.prod(self.shape) // self.type.block * self.type.bytes


class _Cursor:
    """Reads from a file of which no more is looked at than there is."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path, self.data, self.at = path, data, 0

    def room(self, size: int, field: str) -> None:
        """Make sure that so many bytes are left."""
        remaining = len(self.data) - self.at
        if size > remaining:
            raise CorruptFile(
                f"{self.path}: {field} takes {size} bytes, {remaining} are left; truncated, or its counts are not its own: copy it again"
            )

    def take(self, size: int, field: str) -> bytes:
        self.room(size, field)
        self.at += size
        return self.data[self.at - size : self.at]

    def scalar(self, code: str, field: str) -> Any:
        return struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}"), field))[0]

    def string(self, field: str) -> str:
        return self.take(self.scalar("Q", field), field).decode("utf-8", "replace")

    def value(self, kind: int, field: str, depth: int = 0) -> Any:
        if kind in _SCALARS:
            return self.scalar(_SCALARS[kind], field)
        if kind == _STRING:
            return self.string(field)
        if kind != _LIST or depth == _DEPTH:
            raise CorruptFile(
                f"{self.path}: {field} is of kind {kind}, expected a number from 0 to 12; altered, or of a newer GGUF: copy it again"
            )
        inner, count = self.scalar("I", field), self.scalar("Q", field)
        if inner in _SCALARS:
            raw = self.take(count * struct.calcsize(f"<{_SCALARS[inner]}"), field)
            return np.frombuffer(raw, dtype=f"<{np.dtype(_SCALARS[inner]).str[1:]}")
        self.room(8 * count, field)  # the length of every entry, at least
        entries = []
        for _ in range(count):
            entry = self.value(inner, field, depth + 1)
            if count <= _KEPT:
                entries.append(entry)
        return entries if count <= _KEPT else None


@dataclass(frozen=True, eq=False)
class GGUFFile:
    """A GGUF file whose tensors all lie within it.

    Attributes
    ----------
    path : the file
    metadata : by key; None in place of long lists of strings
    tensors : by name
    size : of the file
    """

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, GGUFTensor]
    size: int

    def raw(self, tensor: GGUFTensor) -> NDArray[np.uint8]:
        """Bytes of a tensor of known type, (…, bytes per row), mapped from the file."""
        assert tensor.type is not None  # as the caller has seen
        per_row = tensor.shape[-1] // tensor.type.block * tensor.type.bytes
        return np.memmap(self.path, np.uint8, "r", tensor.offset, (*tensor.shape[:-1], per_row))


def read_gguf(path: Path) -> GGUFFile:
    """Header of a GGUF file of version 2 or 3.

    Raises
    ------
    CorruptFile
        If it is none, is truncated, or has counts that do not fit its size.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) != _MAGIC:
                raise CorruptFile(f"{path}: does not begin with GGUF; not a GGUF file, or altered: copy it again")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _read(path, _Cursor(path, data))
    except OSError as error:
        raise CorruptFile(f"{path}: cannot be read: {error.strerror}; check its permissions") from error


def _read(path: Path, cursor: _Cursor) -> GGUFFile:
    cursor.take(4, "the magic number")
    version = cursor.scalar("I", "the version")
    if version not in (2, 3):
        order = " in the other order of bytes" if version > 2**16 else ""
        raise CorruptFile(f"{path}: GGUF of version {version}{order}, expected 2 or 3; convert it with llama.cpp")
    tensors, keys = cursor.scalar("Q", "the number of tensors"), cursor.scalar("Q", "the number of keys")
    cursor.room(13 * keys + 24 * tensors, f"a list of {keys} keys and {tensors} tensors")
    metadata: dict[str, Any] = {}
    for number in range(keys):
        key = cursor.string(f"the name of key {number}")
        metadata[key] = cursor.value(cursor.scalar("I", f"the kind of {key[:60]!r}"), f"the value of {key[:60]!r}")
    listed = [_tensor(path, cursor, number) for number in range(tensors)]
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 1 <= alignment <= 2**20:
        raise CorruptFile(f"{path}: general.alignment {alignment!r:.40}, expected a power of two such as 32; copy it again")
    start, size, by_name = -(-cursor.at // alignment) * alignment, len(cursor.data), dict[str, GGUFTensor]()
    for tensor in listed:
        placed = GGUFTensor(tensor.name, tensor.shape, tensor.type_number, tensor.type, start + tensor.offset)
        if placed.offset + placed.bytes > size:
            raise CorruptFile(
                f"{path}: {tensor.name} ends at byte {placed.offset + placed.bytes} of {size}; truncated, or its shape "
                f"{tensor.shape} is not "
                "its own: copy it again"
            )
        if tensor.name in by_name:
            raise CorruptFile(f"{path}: {tensor.name} is listed twice; copy it again")
        by_name[tensor.name] = placed
    return GGUFFile(path, metadata, by_name, size)


def _tensor(path: Path, cursor: _Cursor, number: int) -> GGUFTensor:
    name = cursor.string(f"the name of tensor {number}")
    count = cursor.scalar("I", f"the number of dimensions of {name[:60]!r}")
    if count > 8:
        raise CorruptFile(f"{path}: {name[:60]!r} has {count} dimensions, expected at most 4; copy it again")
    shape = tuple(cursor.scalar("Q", f"the shape of {name[:60]!r}") for _ in range(count))[::-1]
    kind, offset = cursor.scalar("I", f"the type of {name[:60]!r}"), cursor.scalar("Q", f"the place of {name[:60]!r}")
    known = TYPES.get(kind)
    if known is not None and (not shape or 0 in shape or shape[-1] % known.block):
        raise CorruptFile(
            f"{path}: {name} of type {known.name} has shape {shape}, expected rows of a multiple of {known.block}; copy it again"
        )
    return GGUFTensor(name, shape, kind, known, offset)
