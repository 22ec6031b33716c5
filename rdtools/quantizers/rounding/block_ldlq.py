"""Block successive cancellation: LDLQ whose rounding takes several columns at a time, and the refinement of its result.

With ``H = L Lᵀ`` in blocks of g columns and E = W − Ŵ, ``Ŵ_:k = Q(T_k)`` at ``T_k = W_:k + Σ_{j>k} E_:j L_jk L_kk⁻¹`` leaves ``(E L)_:k =
(T_k − Ŵ_:k) L_kk``. So for any rounding rule Q and its own error ``η_k = T_k − Ŵ_:k``

    tr(E H Eᵀ) = Σ_k tr(η_k D_k η_kᵀ),   D_k = L_kk L_kkᵀ.

Blocks are counted from the last column, where the work begins; if g does not divide n the first block is the small one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import (
    Matrix,
    add_to_diagonal,
    as_dtype,
    contiguous,
    copied,
    diagonal,
    dtype_name,
    empty_like,
    is_tensor,
    zeros,
)
from rdtools.errors import ShapeMismatch, UsageError
from rdtools.linalg import cholesky
from rdtools.triangular import right_divided, small_solved

#: Rounds a block: (targets (m, g), C-contiguous, its first column) → values (m, g). Integers are the rounding's own affair.
BlockRounding = Callable[[Matrix, int], Matrix]

#: Columns, in whole blocks, whose feedback from later columns is one matrix product.
PANEL = 128


def _spans(first: int, stop: int, width: int) -> list[slice]:
    """Slices of so many columns from the last to the first; the last slice holds what is left over."""
    return [slice(max(first, end - width), end) for end in range(stop, first, -width)]


def _check(name: str, weight: Matrix, square: Matrix, block: int) -> None:
    n = weight.shape[-1]
    if weight.ndim != 2 or square.shape != (n, n):
        raise ShapeMismatch(f"{name}: weight {weight.shape} with a matrix {square.shape}, expected (m, n) and (n, n)")
    if block < 1:
        raise UsageError(f"{name}: blocks of {block} columns, expected at least 1")


def pad_problem(weight: Matrix, factor: Matrix, row_multiple: int, column_multiple: int) -> tuple[Matrix, Matrix]:
    """Weight and factor with rows and columns added up to whole blocks: zero weights on inputs of their own and mean energy.

    The added columns neither give nor take feedback; their integers are part of the file.
    """
    m, n = weight.shape
    rows, columns = -(-m // row_multiple) * row_multiple, -(-n // column_multiple) * column_multiple
    if (rows, columns) == (m, n):
        return weight, factor
    padded, L = zeros((rows, columns), weight), zeros((columns, columns), factor)
    padded[:m, :n] = weight
    L[:n, :n] = factor
    add_to_diagonal(L[n:, n:], math.sqrt(float((factor**2).sum()) / max(n, 1)))
    return padded, L


def block_ldlq(
    weight: Matrix,  # (m, n)
    factor: Matrix,  # (n, n), lower triangular
    block: int,
    round_block: BlockRounding,
    *,
    keep: bool = True,
) -> Matrix:
    """Round blocks of columns from the last to the first, each against the error that the later ones left.

    ``Ŵ_:k = Q(W_:k + Σ_{j>k} E_:j L_jk L_kk⁻¹)``; with a block of one column and a uniform grid it is `rdtools.ops.sic_sweep`. Only a
    panel's own columns are fed back one block at a time; what later panels left is one matrix product.

    Parameters
    ----------
    weight : (m, n) float64 or float32, which is what everything but the blocks of L is computed in; an array or a tensor
    factor : (n, n) float64, L, with a positive diagonal; only its lower triangle is read
    block : g
    round_block : Q, called once for each block
    keep : False if what it returned is not wanted, which saves as much memory as the weights take

    Returns
    -------
    (m, n), Ŵ: what `round_block` returned; (m, 0) if not wanted

    Raises
    ------
    ShapeMismatch, UsageError

    References
    ----------
    QuIP#, arXiv 2402.04396 v2, section 4 (BlockLDLQ), which counts the other way.

    Examples
    --------
    >>> L = np.array([[1.0, 0.0], [0.5, 1.0]])
    >>> block_ldlq(np.array([[0.6, 1.4]]), L, 1, lambda targets, first_column: np.rint(targets)).tolist()
    [[1.0, 1.0]]
    """
    _check("block_ldlq", weight, factor, block)
    if not (diagonal(factor) > 0).all():
        raise UsageError(f"block_ldlq: a diagonal entry of {diagonal(factor).min()} in the factor, expected positive ones; damp H")
    n = weight.shape[1]
    dtype = dtype_name(weight)
    error = empty_like(weight, dtype)
    values = empty_like(weight, dtype) if keep else error[:, :0]
    for panel in _spans(0, n, PANEL // block * block or block):
        fed_back = error[:, panel.stop :] @ as_dtype(factor[panel.stop :, panel], dtype)
        for part in _spans(panel.start, panel.stop, block):
            coupling = as_dtype(factor[part.stop : panel.stop, part], dtype)
            Y = fed_back[:, part.start - panel.start : part.stop - panel.start] + error[:, part.stop : panel.stop] @ coupling
            correction = as_dtype(right_divided(Y, factor[part, part]), dtype)
            rounded = round_block(_sum(weight[:, part], correction), part.start)
            error[:, part] = weight[:, part] - as_dtype(rounded, dtype)
            if keep:
                values[:, part] = rounded
    return values


def _sum(x: Matrix, y: Matrix) -> Matrix:
    return contiguous(x + y) if is_tensor(x) else np.add(x, y, order="C")


def diagonal_factors(moment: Matrix, block: int) -> dict[int, Matrix]:
    """Cholesky factors of the diagonal blocks of H, float64, by their first columns, for `refine_blocks`.

    Raises
    ------
    NotPositiveSemidefinite
        For a singular block.
    """
    return {
        part.start: cholesky(as_dtype(moment[part, part], "float64"), damping=0.0, name=f"refine_blocks: columns from {part.start}").lower
        for part in _spans(0, len(moment), block)
    }


def refine_blocks(
    weight: Matrix,  # (m, n)
    moment: Matrix,  # (n, n)
    values: Matrix,  # (m, n)
    block: int,
    round_block: BlockRounding,
    passes: int,
    *,
    overwrite: bool = False,
    factors: Mapping[int, Matrix] | None = None,
    narrowed: Callable[[NDArray[np.intp]], None] = lambda rows: None,
) -> Matrix:
    """Round each block anew where the others put the optimum of its loss, from the last to the first, several times.

    ``Ŵ_:k ← Q(Ŵ_:k + E H_:k H_kk⁻¹)``: without Q, the least loss given the other blocks. Q looks at the distance from that point and not at
    the loss, whose level sets around it are those of H_kk: so a block of one column never raises the loss, and a larger block may. Rows
    that a pass in main memory has left alone take no part in the next, and it ends early where a pass changes nothing.

    Parameters
    ----------
    weight : (m, n) float64 or float32, which everything is computed in
    moment : (n, n), H, with positive definite diagonal blocks
    values : (m, n), Ŵ to start from
    block : g
    round_block : Q, called for each block of each pass: its last call for a block is the one that counts
    passes : at most so many
    overwrite : use the memory of `values`, where they have W's dtype, for the new ones
    factors : `diagonal_factors` of H and these blocks, if at hand
    narrowed : called with the numbers of the rows whose targets Q is given from then on, whenever they become fewer

    Returns
    -------
    (m, n), the new Ŵ

    Raises
    ------
    ShapeMismatch, UsageError
    NotPositiveSemidefinite
        For a singular diagonal block.

    References
    ----------
    The refinement passes of QuIP#, arXiv 2402.04396 v2.

    Examples
    --------
    >>> H = np.array([[1.0, 0.9], [0.9, 1.0]])
    >>> W, start = np.array([[0.4, 0.4]]), np.zeros((1, 2))
    >>> refine_blocks(W, H, start, 1, lambda targets, first_column: np.rint(targets), 10).tolist()
    [[0.0, 1.0]]
    """
    _check("refine_blocks", weight, moment, block)
    if values.shape != weight.shape:
        raise ShapeMismatch(f"refine_blocks: values {values.shape} for weight {weight.shape}")
    n = weight.shape[1]
    dtype = dtype_name(weight)
    H = as_dtype(moment, dtype)
    inner = diagonal_factors(moment, block) if factors is None else factors
    result = as_dtype(values, dtype) if overwrite else copied(as_dtype(values, dtype))
    values, error = result, weight - result
    rows = np.arange(len(weight))
    for _ in range(passes):
        moved = np.zeros(len(rows), dtype=np.bool_)
        for panel in _spans(0, n, PANEL // block * block or block):
            G = error @ H[:, panel]
            for part in _spans(panel.start, panel.stop, block):
                local = slice(part.start - panel.start, part.stop - panel.start)
                move = as_dtype(small_solved(G[:, local], inner[part.start]), dtype)
                new = round_block(_sum(values[:, part], move), part.start)
                # what a value moves by, its error moves by the other way
                step = values[:, part] - new
                if step.any():
                    moved |= True if is_tensor(step) else step.any(axis=1)
                    values[:, part] = new
                    error[:, part] = weight[:, part] - new
                    G[:, : local.start] += step @ H[part, panel.start : part.start]
        if moved.all():
            continue
        if values is not result:
            result[rows] = values
        rows = rows[moved]
        if len(rows) == 0:
            break
        weight, values, error = weight[moved], values[moved], error[moved]
        narrowed(rows)
    if values is not result and len(rows):
        result[rows] = values
    return result
