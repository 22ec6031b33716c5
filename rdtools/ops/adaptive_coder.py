"""Range coder of integers under Gaussian models that the decoder learns from the rows that it has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array
from rdtools.ops.coset_coder import FAULTS
from rdtools.ops.dispatch import choose_backend
from rdtools.ops.registry import kernel

#: Transitions of integers that walk no trellis.
NO_TRELLIS: NDArray[np.int32] = np.zeros((0, 2), dtype=np.int32)


@dataclass(frozen=True, eq=False)
class LearntModels:
    """The facts of a block of columns that both sides have before its first integer.

    Attributes
    ----------
    rows, columns : (m,) and (p,) int64; an integer in row r and column i has the plain model ``gaussian[rows[r] − columns[i]]``
    gaussian : places among the plain models
    stds, roots : (K,) standard deviation σ of each plain Gaussian model, and root mean square ρ of its integers, in steps; above 0
    prior : ν, rows that the diagonal of the second moment counts for when it is shrunk
    transitions : from `rdtools.ops.coset_transitions` where integers walk a trellis, half a step apart; else NO_TRELLIS
    segment : rows of a walk
    before, moment : rows of other matrices that the second moment begins with, and `adaptive_moment` (p, p) of them; None for none
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    gaussian: NDArray[np.int64]
    stds: Float64Array
    roots: Float64Array
    prior: float
    transitions: NDArray[np.int32]
    segment: int
    before: int = 0
    moment: Float64Array | None = None

    @property
    def plain(self) -> tuple[Any, ...]:
        """The plain models as kernels take them."""
        return self.rows, self.columns, (self.gaussian, self.stds, self.roots)

    def arguments(self) -> tuple[Any, ...]:
        """As kernels take them."""
        return *self.plain, self.prior, self.transitions, self.segment, self.before, self.moment


def adaptive_moment(
    integers: NDArray[np.int32],  # (m, p)
    models: LearntModels,
) -> Float64Array:
    """Second moment (p, p) of the rows of a block, from which models of another matrix with the same columns may go on to learn.

    ``Σ_k û_k û_kᵀ`` of integers in units of their plain models, exact, so that it has the same bits everywhere.
    """
    moment: Float64Array = kernel("adaptive_moment", "reference")(integers, *models.plain, len(models.transitions) > 0)
    return moment


def adaptive_encode(
    integers: NDArray[np.int32],  # (m, p)
    models: LearntModels,
    *,
    backend: str | None = None,
) -> tuple[NDArray[np.uint32], NDArray[np.int32], str]:
    """Words of a block of columns, coded row by row, its escaped integers, and what is wrong with them, "" for nothing.

    Before each block of rows the second moment of the rows so far, shrunk to its diagonal, is factored, and the integer of column i has a
    Gaussian model whose mean is linear in the integers to its left; see `rdtools.kernels.adaptive_coder_reference`. The same bits with
    every backend, machine and number of threads.

    Parameters
    ----------
    integers : (m, p) int32
    models : of them
    backend : None, "numba" or "reference"

    Raises
    ------
    BackendUnavailable
    """
    words, escaped, outcome = kernel("adaptive_encode", choose_backend(backend))(integers, *models.arguments())
    return words, escaped, FAULTS[outcome]


def adaptive_length(
    integers: NDArray[np.int32],  # (m, p)
    models: LearntModels,
    *,
    backend: str | None = None,
) -> tuple[float, NDArray[np.int32]]:
    """Ideal length in bits of the words of `adaptive_encode`, whose arguments it has, and the escaped integers; infinite for no walks.

    Raises
    ------
    BackendUnavailable
    """
    bits, escaped, outcome = kernel("adaptive_length", choose_backend(backend))(integers, *models.arguments())
    return np.inf if outcome else bits, escaped


def adaptive_decode(
    words: NDArray[np.uint32],
    escaped: NDArray[np.int64],
    models: LearntModels,
    *,
    backend: str | None = None,
) -> tuple[NDArray[np.int32], str]:
    """The integers (m, p) that `adaptive_encode` made words of, and what is wrong with the words, "" for nothing.

    Raises
    ------
    BackendUnavailable
    """
    integers, outcome = kernel("adaptive_decode", choose_backend(backend))(words, escaped, *models.arguments())
    return integers, FAULTS[outcome]
