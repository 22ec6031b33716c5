"""Numbers as they are stored, and arrays that nobody changes after they were checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array
from rdtools.errors import ScaleOutOfRange, UsageError
from rdtools.linalg import as_float64

StoredDtype = Literal["bfloat16", "float16", "float32", "float64"]
Scalar = TypeVar("Scalar", bound=np.generic)


def bfloat16_patterns(values: Float64Array) -> NDArray[np.uint32]:
    """Bits of the nearest bfloat16 of each number, ties to even; those of infinity beyond its range."""
    with np.errstate(over="ignore"):
        bits = np.asarray(values, dtype=np.float64).astype(np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint32)


def bfloat16_values(patterns: NDArray[np.unsignedinteger]) -> Float64Array:
    """The numbers behind bits of bfloat16."""
    return (patterns.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


@dataclass(frozen=True)
class _Format:
    bits: int
    nearest: Callable[[Float64Array], Float64Array]


_FORMATS: dict[str, _Format] = {
    "bfloat16": _Format(16, lambda values: bfloat16_values(bfloat16_patterns(values))),
    "float16": _Format(16, lambda values: values.astype(np.float16).astype(np.float64)),
    "float32": _Format(32, lambda values: values.astype(np.float32).astype(np.float64)),
    "float64": _Format(64, lambda values: values),
}


def _format(dtype: str) -> _Format:
    if dtype not in _FORMATS:
        raise UsageError(f"stored numbers: dtype {dtype!r}, expected one of {', '.join(_FORMATS)}")
    return _FORMATS[dtype]


def stored_bits(dtype: str) -> int:
    """Bits per number of a stored dtype.

    Raises
    ------
    UsageError
        For an unknown dtype.

    Examples
    --------
    >>> stored_bits("bfloat16"), stored_bits("float32")
    (16, 32)
    """
    return _format(dtype).bits


def round_to_stored(values: Float64Array, dtype: str, *, name: str) -> Float64Array:
    """The nearest numbers of a stored dtype, ties to even, as float64.

    Raises
    ------
    ScaleOutOfRange
        If a finite value becomes infinite.
    UsageError
        For an unknown dtype.

    Examples
    --------
    >>> round_to_stored(np.array([1.003, -0.1]), "bfloat16", name="scales").tolist()
    [1.0, -0.10009765625]
    """
    with np.errstate(over="ignore"):
        rounded = _format(dtype).nearest(values)
    lost = np.isfinite(values) & ~np.isfinite(rounded)
    if lost.any():
        raise ScaleOutOfRange(
            f"{name}: {values[lost][0]:.3g} is beyond the range of {dtype}, expected smaller numbers; store float32 or rescale them"
        )
    return rounded


def as_stored(values: Any, dtype: str, *, name: str) -> Float64Array:
    """A frozen float64 array whose entries all are numbers of a stored dtype.

    Raises
    ------
    UsageError
        For an entry that the dtype does not have; the message names the first.
    ScaleOutOfRange, UnsupportedDtype, NotFiniteInput
    """
    checked = as_float64(values, name=name)
    inexact = checked != round_to_stored(checked, dtype, name=name)
    if inexact.any():
        index = tuple(int(i) for i in np.argwhere(inexact)[0])
        raise UsageError(
            f"{name}: entry {index} is {checked[index]!r}, expected values of {dtype}, as they are stored; round them before: the record "
            "holds what the decoder reads"
        )
    return frozen(checked)


def frozen(array: NDArray[Scalar]) -> NDArray[Scalar]:
    """The array read-only: itself if it is read-only already, else a copy, so that nobody changes what was checked."""
    if not array.flags.writeable:
        return array
    copy = array.copy()
    copy.setflags(write=False)
    return copy


def finished(array: NDArray[Scalar]) -> NDArray[Scalar]:
    """A new array of the caller's own, marked read-only without a copy."""
    array.setflags(write=False)
    return array
