"""The steps of ADMM behind clamp-safe feedback, some rows after others, in two matrices of the size of H; see `clamp_safe`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import scipy.linalg

from rdtools.arrays import Float64Array, column_dots
from rdtools.in_place import mirror_above
from rdtools.triangular import lower_solved

#: Over-relaxation of ADMM; 1.5 to 1.8 is the usual advice, and here it saves about a third of the iterations.
_RELAXATION = 1.6
#: Rows that are worked on together at most, enough for LAPACK to run at full speed, and the share of all rows that they are at most.
_ROWS, _SHARE = 128, 16


def cut_shares(squares: Float64Array, slack: float) -> Float64Array:
    """Shares to which columns of these squared lengths are cut, so that none is longer than √c."""
    return np.asarray(np.sqrt(slack / np.maximum(squares, slack)))


class SplitFeedback:
    """R below its diagonal as X and Z, with V of their difference; see `clamp_safe_feedback`.

    Parameters
    ----------
    moment : (n, n) H, rows one after another, whose memory is taken
    slack : c > 0

    Attributes
    ----------
    rho : ρ of the penalty
    """

    def __init__(self, moment: Float64Array, slack: float) -> None:
        self.rho = 0.1
        self._slack, self._energies = slack, np.diagonal(moment).copy()
        self._factored = moment  # H above the diagonal, C from it on down
        self._pair = np.zeros(moment.shape)  # Z below the diagonal, V transposed above
        self._factor()

    def _factor(self) -> None:
        mirror_above(self._factored, (1 + self.rho / 2) * self._energies)
        for i, row in enumerate(self._factored):
            row[: i + 1] *= 2
        _, failed = scipy.linalg.lapack.dpotrf(self._factored.T, lower=0, clean=0, overwrite_a=1)
        assert not failed  # H itself was factored before

    def _parts(self) -> Iterator[slice]:
        n = len(self._pair)
        height = min(_ROWS, -(-n // _SHARE))
        return (slice(first, min(first + height, n)) for first in range(0, n, height))

    def _read(self, triangles: Float64Array, rows: slice) -> Float64Array:
        """Rows of what is strictly below the diagonal of a matrix, with zeros in place of the rest."""
        part = np.zeros((rows.stop - rows.start, len(triangles)))
        part[:, : rows.start] = triangles[rows, : rows.start]
        part[:, rows] = np.tril(triangles[rows, rows], -1)
        return part

    def _write(self, rows: slice, Z: Float64Array, V: Float64Array) -> None:
        before = slice(0, rows.start)
        self._pair[rows, before], self._pair[before, rows] = Z[:, before], V[:, before].T
        self._pair[rows, rows] = Z[:, rows] + V[:, rows].T

    def _solved(self, rows: slice, Z: Float64Array, V: Float64Array) -> Float64Array:
        """Rows of X."""
        target = self.rho * (Z - V) * self._energies - 2 * self._read(self._factored.T, rows)
        for transposed in (False, True):
            target = np.tril(lower_solved(self._factored, target.T, transposed=transposed).T, rows.start - 1)
        return target

    def _moved(self, copy: Float64Array | None) -> Float64Array:
        """Put X + V, relaxed, in the place of V, and X into a matrix where one is given; shares that columns are cut to."""
        squares = np.zeros(len(self._pair))
        for rows in self._parts():
            Z, V = self._read(self._pair, rows), self._read(self._pair.T, rows)
            X = self._solved(rows, Z, V)
            V += _RELAXATION * X + (1 - _RELAXATION) * Z
            squares += column_dots(V, V)
            self._write(rows, Z, V)
            if copy is not None:
                copy[rows] = X
        return cut_shares(squares, self._slack)

    def step(self) -> None:
        """One step: X, Z and V anew."""
        shares = self._moved(None)
        for rows in self._parts():
            V = self._read(self._pair.T, rows)
            Z = V * shares
            self._write(rows, Z, V - Z)

    def watched_step(self) -> tuple[float, float, Float64Array]:
        """One step, with its primal and its dual residual, relative, and the lengths of V's columns; in one more matrix."""
        n = len(self._pair)
        feedback = np.empty((n, n))
        shares = self._moved(feedback)
        squares = np.zeros((4, n))  # of X − Z, of Z, of its change, and of V
        for rows in self._parts():
            before, V = self._read(self._pair, rows), self._read(self._pair.T, rows)
            Z = V * shares
            V -= Z
            squares += [column_dots(part, part) for part in (feedback[rows] - Z, Z, Z - before, V)]
            self._write(rows, Z, V)
        apart, total, change, multiplier = squares
        return self._ratio(apart, total), self._ratio(change, multiplier), np.sqrt(multiplier)

    def _ratio(self, part: Float64Array, total: Float64Array) -> float:
        """The ratio of two norms that weigh columns as the penalty does, of their squares; infinite against nothing."""
        above, below = float(self._energies @ part), float(self._energies @ total)
        if below > 0:
            return math.sqrt(above / below)
        return math.inf if above > 0 else 0.0

    def stiffen(self, change: float) -> None:
        """Multiply ρ, which V is in units of."""
        self.rho *= change
        for i, row in enumerate(self._pair):
            row[i + 1 :] /= change
        self._factor()

    def moment(self, added: Float64Array) -> Float64Array:
        """A new matrix, H plus a diagonal."""
        total = self._factored.copy()
        mirror_above(total, self._energies + added)
        return total

    def rows(self, rows: slice) -> Float64Array:
        """Rows of R as Z has it."""
        part = self._read(self._pair, rows)
        part[np.arange(len(part)), np.arange(rows.start, rows.stop)] = 1.0
        return part

    def whole(self) -> Float64Array:
        """R as Z has it, in the memory of Z and V: no step can be taken any more."""
        for rows in self._parts():
            part = self.rows(rows)
            self._pair[rows] = part
        return self._pair

    def objective(self, rows_of: Callable[[slice], Float64Array]) -> float:
        """``tr(H Rᵀ R)`` of the R whose rows a function gives."""
        diagonal = np.diag_indices(len(self._factored))
        pivots = self._factored[diagonal]
        self._factored[diagonal] = self._energies
        total = 0.0
        for rows in self._parts():
            R = rows_of(rows)
            total += float(np.vdot(scipy.linalg.blas.dsymm(1.0, self._factored.T, R.T, lower=1).T, R))
        self._factored[diagonal] = pivots
        return total
