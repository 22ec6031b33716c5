"""Range coder of integers whose parity a trellis of cosets knows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdtools.ops.dispatch import choose_backend
from rdtools.ops.registry import kernel

#: Cumulative frequencies, where those of each Gaussian and parity begin, half the numbers of a Gaussian's tables, its low bits; see the
#: kernel.
Tables = tuple[NDArray[np.uint32], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]

#: What is wrong with a block, by the outcome of the kernel.
FAULTS = (
    "",
    "integers of a parity that the trellis does not have there",
    "coded symbols that no frequencies give",
    "a number of escaped integers that is not that of the escape symbols",
)


def coset_encode(
    integers: NDArray[np.int32],  # (m, p)
    rows: NDArray[np.int64],  # (m,)
    columns: NDArray[np.int64],  # (p,)
    gaussian: NDArray[np.int64],
    tables: Tables,
    transitions: NDArray[np.int32],  # (S, 2)
    segment: int,
    *,
    backend: str | None = None,
) -> tuple[NDArray[np.uint32], NDArray[np.int32], str]:
    """Words of a block of columns, coded row by row, its escaped integers, and what is wrong with them, "" for nothing.

    Parameters
    ----------
    integers : (m, p) int32, walks of a trellis down every column
    rows, columns, gaussian : the integer in row r and column i has the Gaussian ``gaussian[rows[r] − columns[i]]``
    tables : of all Gaussians and parities
    transitions : from `rdtools.ops.coset_transitions`
    segment : rows of a walk
    backend : None, "numba" or "reference"

    Raises
    ------
    BackendUnavailable
    """
    run = kernel("coset_encode", choose_backend(backend))
    words, escaped, outcome = run(integers, rows, columns, gaussian, tables, transitions, segment)
    return words, escaped, FAULTS[outcome]


def coset_decode(
    words: NDArray[np.uint32],
    escaped: NDArray[np.int64],
    rows: NDArray[np.int64],  # (m,)
    columns: NDArray[np.int64],  # (p,)
    gaussian: NDArray[np.int64],
    tables: Tables,
    transitions: NDArray[np.int32],  # (S, 2)
    segment: int,
    *,
    backend: str | None = None,
) -> tuple[NDArray[np.int32], str]:
    """The integers (m, p) that `coset_encode` made words of, and what is wrong with the words, "" for nothing; arguments as there.

    Raises
    ------
    BackendUnavailable
    """
    run = kernel("coset_decode", choose_backend(backend))
    integers, outcome = run(words, escaped, rows, columns, gaussian, tables, transitions, segment)
    return integers, FAULTS[outcome]
