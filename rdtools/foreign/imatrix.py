"""Importance matrices of llama.cpp: mean squares of the inputs of each matrix, which are the diagonal of its Hessian and no more."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rdtools.errors import CorruptFile, DataError, UsageError
from rdtools.foreign.gguf_header import read_gguf
from rdtools.foreign.names import canonical, from_gguf
from rdtools.records import Hessian

ORIGIN = "llama.cpp's importance matrix"
_SUMS, _COUNTS = ".in_sum2", ".counts"


def _hessian(squares: NDArray[np.float64], tokens: int, name: str) -> Hessian:
    """The diagonal of mean squares.

    Raises
    ------
    DataError
    """
    if not (np.isfinite(squares).all() and (squares >= 0).all()):
        index = int(np.argmin(np.isfinite(squares) & (squares >= 0)))
        raise DataError(f"{name}: mean square {squares[index]} of input {index}, expected 0 or more; made with an overflow: make it again")
    return Hessian(np.diag(squares), tokens, name=name, origin=ORIGIN, diagonal=True)


def _without_tokens(name: str) -> DataError:
    return DataError(
        f"{name}: a count of zero: no token reached this matrix, so that it has no mean; make the file again with more, "
        "or more varied, text"
    )


def _gguf_entry(sums: NDArray[np.float32], count: float, name: str) -> Hessian:
    if not count > 0:
        raise _without_tokens(name)
    return _hessian(sums.astype(np.float64) / count, int(count), name)


def _of_gguf(path: Path) -> dict[str, Callable[[], Hessian]]:
    file, readers = read_gguf(path), dict[str, Callable[[], Hessian]]()
    for name, tensor in file.tensors.items():
        if not name.endswith(_SUMS):
            continue
        stem, counts = name.removesuffix(_SUMS), file.tensors.get(name.removesuffix(_SUMS) + _COUNTS)
        if counts is None or any(part.type is None or part.type.name != "F32" for part in (tensor, counts)):
            raise CorruptFile(f"{path}: {name} is not beside {stem}{_COUNTS}, both of type F32; copy the file again")
        values, number = file.raw(tensor).view("<f4").reshape(-1), file.raw(counts).view("<f4").reshape(-1)
        if number.size == 1:  # several for the experts of a stack
            readers[stem] = partial(_gguf_entry, values, float(number[0]), f"{path}: {stem}")
    return readers


class _Bytes:
    """Reads from bytes of which no more is looked at than there is."""

    def __init__(self, path: Path) -> None:
        self.path, self.data, self.at = path, path.read_bytes(), 0

    def take(self, size: int, field: str) -> bytes:
        if not 0 <= size <= len(self.data) - self.at:
            raise CorruptFile(
                f"{self.path}: {field} takes {size} bytes, {len(self.data) - self.at} are left; truncated or altered: copy it again"
            )
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, field: str) -> int:
        return int(struct.unpack("<i", self.take(4, field))[0])


def _dat_entry(values: bytes, calls: int, sample_tokens: int, name: str) -> Hessian:
    if calls <= 0:
        raise _without_tokens(name)
    return _hessian(np.frombuffer(values, "<f4").astype(np.float64) / calls, calls * sample_tokens, name)


def _of_dat(path: Path, sample_tokens: int | None) -> dict[str, Callable[[], Hessian]]:
    """The old format: entries of name, calls and values, which are mean squares times the number of calls."""
    if sample_tokens is None:
        raise UsageError(
            f"{path}: the old format counts chunks and not tokens; give the tokens of a chunk, llama.cpp's -c, as `sample_tokens`"
        )
    reader, readers = _Bytes(path), dict[str, Callable[[], Hessian]]()
    for number in range(max(0, reader.number("the number of entries"))):
        name = reader.take(reader.number(f"the name of entry {number}"), f"the name of entry {number}").decode("utf-8", "replace")
        calls, size = reader.number(f"the calls of {name[:60]}"), reader.number(f"the size of {name[:60]}")
        values = reader.take(4 * size, f"{name[:60]}")
        readers[name] = partial(_dat_entry, values, calls, sample_tokens, f"{path}: {name}")
    return readers


def imatrix_hessians(path: Path, *, sample_tokens: int | None = None) -> dict[str, Callable[[], Hessian]]:
    """Module, from its block on → the diagonal of its Hessian, read when it is called.

    Parameters
    ----------
    path : GGUF, or a file of the old format
    sample_tokens : tokens of a chunk, which the old format does not say

    Raises
    ------
    CorruptFile, DataError, UsageError
    """
    with path.open("rb") as file:
        is_gguf = file.read(4) == b"GGUF"
    entries = _of_gguf(path) if is_gguf else _of_dat(path, sample_tokens)
    named = {from_gguf(name): read for name, read in entries.items()}
    readers = {canonical(name): read for name, read in named.items() if name is not None}
    if not readers:
        raise DataError(
            f"{path}: no matrix of a Llama-like model in it, such as blk.0.attn_q.weight; give an importance matrix of llama.cpp"
        )
    return readers
