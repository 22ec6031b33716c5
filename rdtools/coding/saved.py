"""Ŵ in a dtype of the user's, and the file of a quantized weight on disk."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from rdtools.coding.container import decode, encode
from rdtools.coding.reconstruct import reconstruct
from rdtools.errors import UsageError, WrongType
from rdtools.files import write_atomically
from rdtools.records import QuantizedWeight


def _path(path: object, *, verb: str) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise WrongType(f"{verb}: got {type(path).__name__}, expected the path of a file, such as 'k_proj.rdtq'")
    return Path(path)


def _dtype(dtype: object) -> Any:
    """A floating-point dtype of NumPy, or of torch, which must be loaded for the caller to have one."""
    torch: Any = sys.modules.get("torch")
    if torch is not None and isinstance(dtype, torch.dtype):
        known, floating = dtype, dtype.is_floating_point
    else:
        try:
            known = np.dtype(np.float64 if dtype is None else dtype)  # type: ignore[call-overload]
        except TypeError:
            known, floating = None, False
        else:
            floating = known.kind == "f"
    if not floating:
        raise WrongType(f"dequantize: dtype {dtype!r}, expected a floating-point one, such as 'float32', numpy.float32 or torch.bfloat16")
    return known


def dequantize(weight: QuantizedWeight, dtype: Any = None) -> Any:
    """Ŵ, (m, n): an array of a NumPy dtype, float64 by default, or a tensor of a torch dtype, on the CPU.

    A low-rank term is added to it, and the rounding of activations is left out, as `reconstruct` says. Beyond float64 each entry is rounded
    to nearest; entries that the dtype cannot hold become infinite.

    Raises
    ------
    WrongType
        For no floating-point dtype.

    Examples
    --------
    >>> from rdtools.methods import quantizer
    >>> from rdtools.moments.layer import Layer
    >>> answer = quantizer("rtn", 2).quantize(Layer.of(np.array([[1.0, -2.0], [0.5, 4.0]]), np.eye(2)))
    >>> dequantize(answer.weight, "float32").dtype.name
    'float32'
    """
    known = _dtype(dtype)
    values = reconstruct(weight)
    if isinstance(known, np.dtype):
        with np.errstate(over="ignore"):
            return values.astype(known, copy=False)
    torch: Any = sys.modules["torch"]
    return torch.from_numpy(values).to(known)


def save(weight: QuantizedWeight, path: str | os.PathLike[str]) -> None:
    """Write the file of a quantized weight, whole or not at all; its size in bits is that of ``total_bpw`` times the number of weights.

    Raises
    ------
    WrongType
        If this is no path.
    OutputError
    """
    write_atomically(_path(path, verb="save"), encode(weight).data)


def load(path: str | os.PathLike[str]) -> QuantizedWeight:
    """Read the quantized weight that `save` wrote; no code in it is run.

    Raises
    ------
    WrongType
        If this is no path.
    UsageError
        If there is no such file, or it holds several matrices.
    CorruptFile
        If it is no whole file of rdtools.

    Examples
    --------
    >>> load("no/such/file.rdtq")
    Traceback (most recent call last):
    ...
    rdtools.errors.UsageError: no/such/file.rdtq: cannot be read: No such file or directory; expected a file that save wrote
    """
    file = _path(path, verb="load")
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}; expected a file that save wrote") from error
    return decode(data, name=str(file))
