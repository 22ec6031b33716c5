"""Row and column scales fitted to integers that are already decided."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from rdtools.arrays import (
    Float64Array,
    Matrix,
    copied,
    diagonal,
    on_host,
    row_blocks,
    take_rows,
)
from rdtools.coding import column_scales, exponent_bytes, round_to_bfloat16
from rdtools.in_place import factored_in_place
from rdtools.ops import quadratic_form
from rdtools.quantizers.grids.column_gains import part_values, point_values, without_column_gains
from rdtools.quantizers.grids.entropy import EntropyGrid
from rdtools.quantizers.search.rescaler_steps import Fit, column_form, column_step, row_step
from rdtools.quantizers.search.step import sample_rows
from rdtools.records import RowScales, ScalarSymbols

#: Relative change of the error at which the alternation ends, worth 0.00007 bit, and rounds after which it ends in any case.
CHANGE, ROUNDS = 1e-4, 100


@dataclass(frozen=True, eq=False)
class Rescalers:
    """``V = diag(t) V₀ diag(γ)``.

    Attributes
    ----------
    rows : (m,) float64, t ≥ 0, of mean 1 where they were fitted
    columns : (r,) float64, γ ≥ 0
    errors : ``tr((O − V) G (O − V)ᵀ)`` at the start and after each half of a round, none above the one before
    """

    rows: Float64Array
    columns: Float64Array
    errors: tuple[float, ...]


def fit_rescalers(
    values: Matrix,  # (m, r)
    gram: Matrix,  # (r, r)
    ideal: Matrix,  # (m, r)
    columns: Float64Array,  # (r,)
    *,
    rows: bool = True,
) -> Rescalers:
    """Least squares of O by ``V = diag(t) V₀ diag(γ)``: minimize ``tr((O − V) G (O − V)ᵀ)`` over γ and t by turns.

    With t fixed γ solves ``(G ∘ V₀ᵀ T² V₀) γ = diag(V₀ᵀ T O G)``; with γ fixed and ``U = V₀ diag(γ)``, ``t_k = (O G Uᵀ)_kk/(U G Uᵀ)_kk``.
    Neither step raises the error. Only the product of t and γ matters, and t has mean 1. Everything is float64; m r² multiplications for
    each half of a round, and r³/3.

    Parameters
    ----------
    values : V₀
    gram : G, symmetric, positive semidefinite
    ideal : O
    columns : γ to begin with
    rows : whether t is fitted at all, or stays 1

    References
    ----------
    WaterSIC, arXiv 2603.04956 v1, Algorithm 4, where G = Σ_X̂ and ``O G = W Σ_XX̂ + Σ_ΔX̂``.

    Examples
    --------
    A column twice too large, and a row too.

    >>> found = fit_rescalers(np.array([[2.0, 1.0], [4.0, 2.0]]), np.eye(2), np.ones((2, 2)), np.ones(2))
    >>> (found.rows[:, None] * [[2, 1], [4, 2]] * found.columns).round(9).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    return _alternated(Fit.of(lambda some, part: values[some, part], lambda: copied(gram), ideal), columns, with_rows=rows)


def _alternated(fit: Fit, columns: Float64Array, *, with_rows: bool = True) -> Rescalers:
    """`fit_rescalers` of what is fitted."""
    t, gamma = np.ones(len(fit.cross)), columns
    errors: list[float] = []
    for _ in range(ROUNDS):
        form = column_form(fit, t)
        errors = errors or [form.error(gamma)]
        gamma = column_step(form, gamma)
        errors.append(form.error(gamma))
        if not with_rows:
            break
        del form  # whose matrix takes the place of G, and G that of the form
        t, change = row_step(fit, gamma, t)
        mean = float(np.mean(t))
        if mean > 0:
            t, gamma = t / mean, gamma * mean
        errors.append(errors[-1] + min(change, 0.0))
        if errors[-3] - errors[-1] <= CHANGE * errors[-3]:
            break
    return Rescalers(t, gamma, tuple(errors))


def round_columns(gram: Matrix, columns: Float64Array) -> Float64Array:
    """Column factors as they are stored, in bfloat16, one after another against the error that those before it left.

    Rounding each by itself costs a share of the trace of F, ``F = G ∘ V₀ᵀ T² V₀`` being the form of the error; this costs the same share of
    the squared diagonal of its Cholesky factor.

    Parameters
    ----------
    gram : (r, r) F, positive semidefinite, rows one after another; changed meanwhile, and left as it was
    columns : (r,) γ ≥ 0, where the error is least
    """
    stored = round_to_bfloat16(columns)
    positive = diagonal(gram) > 0
    used = np.flatnonzero(positive)
    pull = np.zeros(len(used))
    with factored_in_place(gram, positive, name="rescalers") as factor:
        lower = on_host(factor)
        for k in range(len(used) - 1, -1, -1):
            i = used[k]
            stored[i] = round_to_bfloat16(np.array([max(columns[i] + pull[k] / lower[k, k], 0.0)]))[0]
            pull[:k] += (columns[i] - stored[i]) * lower[k, :k]
    return stored


def _scale_bits(symbols: ScalarSymbols) -> int:
    """Bits of all steps, gains and scales of columns and rows in a file."""
    grid, gains = symbols.grid, symbols.gains
    steps = 0 if grid.exponents is None else 8 * len(exponent_bytes(grid.exponents))
    stored = (0 if gains.columns is None else 16 * gains.columns.size) + (0 if grid.rows is None else 16 * grid.rows.scales.size)
    return steps + stored + 32 * (gains.lmmse_std > 0)


def bits_per_octave(grid: EntropyGrid, step: float, ideal: Matrix, gram: Callable[[], Matrix]) -> float:
    """Bits a weight that steps finer by a quarter of an octave cost, over the octaves by which they lower the error.

    On the rows of `sample_rows`. ½ at high rate, and less where columns stay undecided.

    Parameters
    ----------
    grid : with its target (m, r)
    step : the finest step
    ideal, gram : error is ``tr((ideal − V) G (ideal − V)ᵀ)``, and `gram` makes a new G
    """
    rows = sample_rows(grid.target)
    aim = ideal if rows is None else take_rows(ideal, rows)

    def trial(log2_step: float) -> tuple[float, float]:
        candidate = grid.at(log2_step, rows)
        rate, errors = candidate.rate_bits, point_values(candidate.result)
        del candidate  # before G takes its memory
        errors -= aim
        G = gram()
        return rate, float(np.concatenate([quadratic_form(errors[some], G) for some in row_blocks(errors)]).sum())

    (fine_rate, fine_error), (rate, error) = trial(math.log2(step) - 0.25), trial(math.log2(step))
    return max(fine_rate - rate, 0.0) / math.log2(error / fine_error) if error > fine_error > 0 else 0.0


def rescaled(symbols: ScalarSymbols, ideal: Matrix, gram: Callable[[], Matrix], grid: EntropyGrid) -> ScalarSymbols:
    """Integers with the column gains, row scales, both or none that pay for themselves.

    A choice that brings the error from E₀ to E, all numbers as stored, is worth ``κ log2(E₀/E)`` bits per weight, κ being what finer steps
    would cost for it: `bits_per_octave`. From that its 16 bits per column or row are taken, and what a column's step needs no longer is
    given back; the choice of most remains.

    Parameters
    ----------
    symbols : of an unbounded grid, without row scales
    ideal : (m, r), which the error is against
    gram : makes a new (r, r) of what it is under, the moment with the damping and without the ridge
    grid : that the integers are of
    """
    if not symbols.integers.any():
        return symbols
    m, r = symbols.integers.shape
    kappa = bits_per_octave(grid, symbols.grid.step, ideal, gram)
    bare = without_column_gains(symbols)
    gains = column_scales(symbols) / column_scales(bare)
    # values are made of the integers where they are needed: beside these, O G and one matrix of G's size nothing is kept
    fit = Fit.of(partial(part_values, bare), gram, ideal)

    def stored(choice: ScalarSymbols, rows: Float64Array | None, *, fitted: bool) -> tuple[ScalarSymbols, float]:
        """The choice with row scales, and column gains fitted to them, and its error."""
        t = None if rows is None else round_to_bfloat16(rows)
        form = column_form(fit, np.ones(m) if t is None else t)
        columns = round_columns(form.F, column_step(form, gains)) if fitted else gains
        choice = replace(bare, gains=replace(bare.gains, columns=columns)) if fitted else choice
        return replace(choice, grid=replace(choice.grid, rows=None if t is None else RowScales(t[:, None]))), form.error(columns)

    alone, _ = row_step(fit, gains, np.ones(m))
    both = _alternated(fit, gains).rows
    choices = [
        stored(symbols, None, fitted=False),
        stored(symbols, None, fitted=True),
        stored(symbols, alone, fitted=False),
        stored(symbols, both, fitted=True),
    ]

    def bits(choice: tuple[ScalarSymbols, float]) -> float:
        return float(kappa * m * r * math.log2(max(choice[1], np.finfo(np.float64).tiny)) + _scale_bits(choice[0]))

    return min(choices, key=bits)[0]
