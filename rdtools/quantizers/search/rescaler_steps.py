"""The two half rounds of a fit of row and column scales, in little memory: values are made where they are needed, and one matrix serves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rdtools.arrays import (
    Float64Array,
    Matrix,
    beside,
    column_dots,
    diagonal,
    inner_product,
    is_tensor,
    row_blocks,
    row_dots,
    times_vector,
)
from rdtools.in_place import factored_in_place
from rdtools.ops import quadratic_form
from rdtools.triangular import vector_solved

#: Columns of V₀ that are multiplied together.
_WIDTH = 128
#: Shares of a column step that are tried until the error does not rise.
_SHARES = (1.0, 0.5, 0.25, 0.125, 0.0625)


@dataclass(frozen=True, eq=False)
class Fit:
    """Everything that is known of a fit before its first round.

    Attributes
    ----------
    values : makes V₀ of some rows and columns
    gram : makes a new G
    cross : (m, r) O G
    total : tr(O G Oᵀ)
    """

    values: Callable[[slice, slice], Matrix]
    gram: Callable[[], Matrix]
    cross: Matrix
    total: float

    @classmethod
    def of(cls, values: Callable[[slice, slice], Matrix], gram: Callable[[], Matrix], ideal: Matrix) -> Fit:
        """Everything that is known of O, G and V₀."""
        cross = ideal @ gram()
        return cls(values, gram, cross, inner_product(cross, ideal))


@dataclass(frozen=True, eq=False)
class ColumnForm:
    """The error as a form in γ, t being fixed: ``γᵀ F γ − 2 bᵀ γ + total``, F = G ∘ (V₀ᵀ T² V₀) and b the diagonal of V₀ᵀ T O G."""

    F: Matrix
    b: Float64Array
    total: float

    def error(self, columns: Float64Array) -> float:
        """The error of γ."""
        return float(columns @ times_vector(self.F, columns) - 2 * (self.b @ columns)) + self.total


def column_form(fit: Fit, rows: Float64Array) -> ColumnForm:
    """The form, made of some columns beside others, in the memory of G."""
    F, (m, r), everywhere = fit.gram(), fit.cross.shape, (rows == 1).all()

    def scaled(some: slice) -> Matrix:
        values = fit.values(slice(0, m), some)
        return values if everywhere else values * beside(rows[:, None], values)

    b = np.empty(r)
    width = r if is_tensor(F) else _WIDTH
    parts = [slice(first, min(first + width, r)) for first in range(0, r, width)]
    for k, some in enumerate(parts):
        block = scaled(some)
        b[some] = column_dots(block, fit.cross[:, some])
        F[some, some] *= block.T @ block
        for others in parts[:k]:
            F[some, others] *= block.T @ scaled(others)
            F[others, some] = F[some, others].T
    return ColumnForm(F, b, fit.total)


def column_step(form: ColumnForm, columns: Float64Array) -> Float64Array:
    """γ of least error; columns that would be negative are held at zero, and columns of zeros stay as they are.

    F may be singular and then damped, so that what is solved for is the change of γ: damped or not, that never raises the error. Holding
    columns may, wherefore the change is cut until it does not.
    """
    free = diagonal(form.F) > 0
    best = columns.copy()
    while free.any():
        pull = (form.b - times_vector(form.F, best))[free]
        with factored_in_place(form.F, free, name="rescalers") as lower:
            best[free] += vector_solved(pull, lower)
        negative = free & (best < 0)
        if not negative.any():
            break
        best[negative] = 0.0
        free &= ~negative
    before = form.error(columns)
    for share in _SHARES:
        trial = columns + share * (best - columns)
        if form.error(trial) <= before:
            return trial
    return columns


def row_step(fit: Fit, columns: Float64Array, rows: Float64Array) -> tuple[Float64Array, float]:
    """Row factors t of least error, each row by itself, and the change of the error from `rows`."""
    (m, r), gram = fit.cross.shape, fit.gram()
    q, p = np.empty(m), np.empty(m)
    for some in row_blocks(fit.cross):
        scaled = fit.values(some, slice(0, r)) * beside(columns, fit.cross)
        q[some], p[some] = quadratic_form(scaled, gram), row_dots(scaled, fit.cross[some])
    best = np.where(q > 0, np.maximum(p / np.where(q > 0, q, 1.0), 0.0), rows)
    return best, float((best**2 - rows**2) @ q - 2 * ((best - rows) @ p))
