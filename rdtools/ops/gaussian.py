"""Standard normal numbers that are the same bits everywhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdtools.errors import UsageError
from rdtools.ops.dispatch import choose_backend
from rdtools.ops.registry import kernel


def portable_normal(seed: int, first: int, count: int, *, stream: int = 0, backend: str | None = None) -> NDArray[np.float64]:
    """Independent N(0, 1) numbers `first` to ``first + count − 1`` of a stream.

    Each number is a function of (seed, stream, index) alone: how a range is cut, the machine, the version of a library and the backend
    change no bit. No number is zero and none exceeds 12.1 in magnitude.

    Parameters
    ----------
    seed : 0 … 2^64 − 1
    first, count : with ``first + count ≤ 2^64``
    stream : 0 … 2^32 − 1; streams of one seed are independent
    backend : None, "numba" or "reference"

    Returns
    -------
    (count,) float64

    Raises
    ------
    UsageError, BackendUnavailable

    Examples
    --------
    >>> portable_normal(0, 0, 3).tolist() == [*portable_normal(0, 0, 2), *portable_normal(0, 2, 1)]
    True
    """
    for name, value, end in (
        ("seed", seed, 2**64),
        ("stream", stream, 2**32),
        ("first", first, 2**64),
        ("count", count, 2**64 - first + 1),
    ):
        if not 0 <= value < end:
            raise UsageError(f"portable_normal: {name} {value}, expected an integer from 0 to {end - 1}")
    numbers: NDArray[np.float64] = kernel("portable_normal", choose_backend(backend))(seed, stream, first, count)
    return numbers
