"""Running moments of an input in two models: x of the original, and x̂ of the one whose earlier layers are quantized."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array
from rdtools.errors import ShapeMismatch
from rdtools.moments.accumulate import all_finite_rows
from rdtools.ops import rank_update
from rdtools.records import InputMoments
from rdtools.threads import one_blas_thread


@dataclass(eq=False)
class PairedAccumulator:
    """Sums over tokens of p x xᵀ, p x̂ x̂ᵀ, p x x̂ᵀ and p d x̂ᵀ in float64, token by token of both models.

    While x̂ = x to the bit, as before the first quantized layer, one sum stands for the first three, and the moments are plain.

    Attributes
    ----------
    columns : n
    outputs : length m of d, what the residual stream of the quantized model lacks; 0 where nobody looks
    kept, dropped : tokens in the sums, and left out because an activation of either model was NaN or infinite

    Examples
    --------
    >>> sums = PairedAccumulator(1)
    >>> sums.add(np.array([[2.0], [4.0]]), np.array([[1.0], [2.0]]))
    >>> found = sums.finish(name="x")
    >>> found.reference.item(), found.actual.item(), found.cross.item()
    (10.0, 2.5, 5.0)
    """

    columns: int
    outputs: int = 0
    kept: int = 0
    dropped: int = 0
    _weight: float = 0.0
    _mean: Float64Array = field(init=False, repr=False)
    _reference: Float64Array = field(init=False, repr=False)
    _drifted: tuple[Float64Array, Float64Array] | None = field(default=None, repr=False)
    _residual: Float64Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        n = self.columns
        self._mean, self._reference, self._residual = np.zeros(n), np.zeros((n, n)), np.zeros((self.outputs, n))

    def add(
        self,
        x: NDArray[np.floating],  # (k, n)
        actual: NDArray[np.floating],  # (k, n)
        lacking: NDArray[np.floating] | None = None,  # (k, m)
        weights: NDArray[np.floating] | None = None,  # (k,)
    ) -> None:
        """Add tokens, each with its weight p, or 1.

        Raises
        ------
        ShapeMismatch
            If the two models do not have the same tokens.
        """
        if x.shape != actual.shape:
            raise ShapeMismatch(f"{len(x)} tokens of the original beside {len(actual)} of the quantized model, expected the same tokens")
        finite = all_finite_rows(x) & all_finite_rows(actual)
        if lacking is not None:
            finite &= all_finite_rows(lacking)
        count = int(finite.sum())
        self.kept, self.dropped = self.kept + count, self.dropped + len(x) - count
        p = np.ones(count) if weights is None else weights[finite].astype(np.float64)
        self._weight += float(p.sum())
        root = np.sqrt(p)[:, None]
        a = x[finite].astype(np.float64)
        self._mean += p @ a
        with one_blas_thread():  # as the number of threads would decide about the last bits
            if self._drifted is None and not np.array_equal(x[finite], actual[finite]):
                both = self._reference + np.tril(self._reference, -1).T
                self._drifted = self._reference.copy(), both
            a *= root
            rank_update(self._reference, a)
            b = root * actual[finite]
            if self._drifted is not None:
                rank_update(self._drifted[0], b)
                self._drifted[1][:] += a.T @ b
            if lacking is not None:
                self._residual += (root * lacking[finite]).T @ b

    def finish(self, *, name: str, distinct: int | None = None) -> InputMoments:
        """Means with the weights over the tokens kept; zeros if none was.

        Parameters
        ----------
        name : which input, for messages
        distinct : contexts among all tokens; None where they were not counted
        """
        total = self._weight or 1.0

        def symmetric(lower: Float64Array) -> Float64Array:
            return np.asarray((lower + np.tril(lower, -1).T) / total)

        facts = {
            "mean": self._mean / total,
            "tokens": self.kept,
            "dropped_tokens": self.dropped,
            "distinct_tokens": None if distinct is None else min(self.kept, distinct),
            "weight_sum": self._weight if self._weight > 0 and self._weight != self.kept else None,
            "name": name,
        }
        reference = symmetric(self._reference)
        residual = self._residual / total if self.outputs and self._residual.any() else None
        if self._drifted is None and residual is None:
            return InputMoments.plain(reference, **facts)
        actual, cross = (reference, reference) if self._drifted is None else (symmetric(self._drifted[0]), self._drifted[1] / total)
        return InputMoments.drifted(reference, actual, cross, residual, **facts)
