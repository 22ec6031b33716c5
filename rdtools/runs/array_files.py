"""Arrays in a safetensors file, written whole or not at all and without a copy of them in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save_file

from rdtools.files import atomic_path, no_room


class Written(NamedTuple):
    """Length and SHA-256 of a file that was written."""

    bytes: int
    sha256: str


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], about: Mapping[str, str] | None = None) -> Written:
    """Write arrays, and texts about them, as a safetensors file; on return it is durable.

    Raises
    ------
    OutputError
        If the disk is full, read-only or otherwise refuses; nothing is left then.
    """
    with atomic_path(path) as scratch:
        stored = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        try:
            save_file(stored, scratch, None if about is None else dict(about))
        except SafetensorError as error:  # which the library makes of what the system says
            raise no_room(path, error) from error
        with scratch.open("rb") as file:
            written = Written(scratch.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())
    return written
