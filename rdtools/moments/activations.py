"""Running moments of the error of quantized activations, for one input map and grid."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array
from rdtools.moments.accumulate import all_finite_rows
from rdtools.ops import rank_update
from rdtools.records import ActivationGrid, ActivationMoments, InputMap
from rdtools.threads import one_blas_thread

#: Tokens that are quantized together, so that their copies need little memory beside the sums.
_ROWS = 1024


@dataclass(eq=False)
class ActivationAccumulator:
    """Sums over tokens of x eᵀ, e eᵀ and the noise power of the uniform model, ``e = T x − Q(T x)``, in float64.

    Attributes
    ----------
    input_map : T
    grid : Q
    kept, dropped : tokens in the sums, and left out because an activation was NaN or infinite

    Examples
    --------
    >>> sums = ActivationAccumulator(InputMap(columns=2), ActivationGrid(3))
    >>> sums.add(np.array([[3.0, 1.25]]))
    >>> sums.finish(np.array([[9.0, 3.75], [3.75, 1.5625]]), name="x").moments.actual.tolist()
    [[9.0, 3.0], [3.0, 1.0]]
    """

    input_map: InputMap
    grid: ActivationGrid
    kept: int = 0
    dropped: int = 0
    _cross: Float64Array = field(init=False, repr=False)
    _error: Float64Array = field(init=False, repr=False)
    _noise: Float64Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        n, outputs = self.input_map.inputs, self.input_map.outputs
        self._cross, self._error, self._noise = np.zeros((n, outputs)), np.zeros((outputs, outputs)), np.zeros(outputs)

    def add(self, rows: NDArray[np.floating]) -> None:
        """Add tokens, rows of an array (k, n); rows with NaN or infinity are counted and left out, as those of the plain moment are.

        With one thread of BLAS, as the number of threads would decide about the last bits.
        """
        finite = all_finite_rows(rows)
        self.dropped += int(len(rows) - finite.sum())
        self.kept += int(finite.sum())
        x = rows[finite]
        with one_blas_thread():
            self._add(x)

    def _add(self, x: NDArray[np.floating]) -> None:
        for first in range(0, len(x), _ROWS):
            part = x[first : first + _ROWS].astype(np.float64)
            mapped = np.ascontiguousarray(self.input_map.apply(part))
            error = mapped - self.grid.quantize(mapped, self.input_map.shifts)
            self._cross += part.T @ error
            rank_update(self._error, error)
            self._noise += self.grid.noise_power(mapped, shifted=self.input_map.shifts is not None).sum(axis=0)

    def finish(self, reference: Float64Array, *, name: str) -> ActivationMoments:
        """The moments over the tokens kept, zeros if none was.

        Parameters
        ----------
        reference : (n, n), E[x xᵀ] over the same tokens
        name : which input, for messages
        """
        count = max(self.kept, 1)
        return ActivationMoments(
            reference,
            self._cross / count,
            (self._error + np.tril(self._error, -1).T) / count,
            self._noise / count,
            self.input_map,
            self.grid,
            self.kept,
            self.dropped,
            name,
        )
