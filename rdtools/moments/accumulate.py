"""Running moments of activations."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import panels
from rdtools.ops import rank_update


def all_finite_rows(rows: NDArray[np.floating]) -> NDArray[np.bool_]:
    """(k,) true for the tokens of an array (k, n) that have neither NaN nor infinity: those that any moment is taken over."""
    return np.asarray(np.isfinite(rows).all(axis=1))


@dataclass(eq=False)
class MomentAccumulator:
    """Sums of x and x xᵀ over tokens, in float64.

    Attributes
    ----------
    columns : n
    total : (n, n) float64, the lower triangle of Σ x xᵀ, zeros above
    total_mean : (n,) float64, Σ x
    kept, dropped : tokens in the sums, and left out because an activation was NaN or infinite
    """

    columns: int
    total: NDArray[np.float64] = field(init=False)
    total_mean: NDArray[np.float64] = field(init=False)
    kept: int = 0
    dropped: int = 0

    def __post_init__(self) -> None:
        self.total = np.zeros((self.columns, self.columns))
        self.total_mean = np.zeros(self.columns)

    def add(self, rows: NDArray[np.floating]) -> None:
        """Add tokens, rows of an array (k, n); rows with NaN or infinity are counted and left out."""
        finite = all_finite_rows(rows)
        x = rows[finite].astype(np.float64)
        self.dropped += int(len(rows) - len(x))
        self.kept += len(x)
        self.total_mean += x.sum(axis=0)
        # in float64 although float32 is twice as fast: sums rounded to float32 have eigenvalues down to about −3e-8 of the largest where
        # tokens span few dimensions, too near to the limit from which a Hessian is refused, and a spectrum's tail would be noise
        rank_update(self.total, x)

    def finish(self) -> NDArray[np.float64]:
        """The second moment as `second_moment` gives it, in the memory of the sums, which are lost."""
        total = self.total
        for rows in panels(self.columns, self.columns):
            total[rows, rows] += np.tril(total[rows, rows], -1).T
            total[rows, rows.stop :] = total[rows.stop :, rows].T
        total /= max(self.kept, 1)
        self.total = np.zeros((0, 0))
        return total

    @property
    def second_moment(self) -> NDArray[np.float64]:
        """E[x xᵀ] over the tokens kept, exactly symmetric; zeros if none was kept."""
        return (self.total + np.tril(self.total, -1).T) / max(self.kept, 1)

    @property
    def mean(self) -> NDArray[np.float64]:
        """E[x] over the tokens kept; zeros if none was kept."""
        return self.total_mean / max(self.kept, 1)
