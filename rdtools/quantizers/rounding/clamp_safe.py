"""Linear feedback whose errors stay small: QuIP's rounding for a grid that ends.

LDLQ's feedback may gather errors without limit, and on a finite grid run into its ends. Columns are decided from the last to the first,
``z_i = Q(W_:i + Σ_{j>i} (W − Ŵ)_:j U_ji)``, in units of the step. With R = (I + U)⁻¹, unit lower triangular, E = W − Ŵ is ``η R``, η the
errors of the roundings themselves, and the loss is ``tr(η R H Rᵀ ηᵀ)``. Here the feedback is chosen by

    minimise tr(H Rᵀ R)   subject to   (Rᵀ R)_jj ≤ 1 + c for every column j:

c = 0 is rounding without feedback, large c is LDLQ. Under stochastic rounding every η_ik has mean zero in an interval of length 1, and an
E_ij is a sum of martingale differences: ``P(|E_ij| ≥ t) ≤ 2 exp(−2 t²/(1 + c))`` by Hoeffding, so that with probability 1 − δ no entry of
(m, n) is off by more than ``√(½ (1 + c) ln(2 m n/δ))`` steps (QuIP, Theorem 7, with the constant worked out here). For 4096 × 4096, c = 1
and δ = 0.01 that are 4.7 steps on each side: of the grid's K − 1 nothing is left at 2 and 3 bits, 5.6 at 4 bits. QuIP writes the mirror
image: columns from the first to the last, R upper triangular.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from rdtools.arrays import Float64Array, Matrix, column_dots
from rdtools.errors import NotConverged, UsageError
from rdtools.linalg import cholesky
from rdtools.quantizers.rounding.clamp_safe_admm import SplitFeedback, cut_shares
from rdtools.triangular import triangular_inverse

#: Iterations from one look at the bound and the residuals to the next.
_CHECK_EVERY = 10
#: What the penalty changes by at most, and at least, at a time; it is the factorization that makes small changes not worth while.
_LARGEST_CHANGE, _MIN_CHANGE = 10.0, 1.5


@dataclass(frozen=True, eq=False)
class ClampSafeFeedback:
    """The answer of `clamp_safe_feedback`.

    Attributes
    ----------
    error_map : (n, n) R, unit lower triangular, with (Rᵀ R)_jj ≤ 1 + c to rounding
    objective : tr(H Rᵀ R); on a unit grid, for weights uniform modulo 1, a row loses a sixth of it on average under stochastic rounding
    lower_bound : no R that is allowed has a lower objective
    iterations : of ADMM; 0 where the answer is known without
    primal_residual, dual_residual : relative, when it ended
    """

    error_map: Float64Array
    objective: float
    lower_bound: float
    iterations: int = 0
    primal_residual: float = 0.0
    dual_residual: float = 0.0

    @cached_property
    def factor(self) -> Float64Array:
        """``R⁻¹ = I + U``, unit lower triangular, (n, n): what `rdtools.ops.sic_sweep` takes for L, together with a seed.

        Of its factor a sweep uses only ``L_ji/L_ii``, which here is U_ji.
        """
        return np.asarray(triangular_inverse(self.error_map))


def clamp_safe_feedback(
    moment: Float64Array,  # (n, n)
    slack: float = 1.0,
    *,
    tolerance: float = 1e-6,
    max_iterations: int = 2000,
    overwrite: bool = False,
) -> ClampSafeFeedback:
    """Solve ``min tr(H Rᵀ R)`` over unit lower triangular R with ``(Rᵀ R)_jj ≤ 1 + c``, by ADMM.

    X and Z are two copies of R below its diagonal, with the penalty ``½ ρ Σ_j H_jj ‖(X − Z + V)_:j‖²``. A step is

    - X: every row minimises its quadratic, ``X_k,<k (2 H + ρ diag H)_<k,<k = (ρ (Z − V) diag H − 2 H)_k,<k``. The leading blocks of one
      Cholesky factor do for all rows: forward substitution does not look ahead, and backward substitution begins with zeros where a row
      ends;
    - Z: columns of X + V longer than √c are cut to √c;
    - V ← V + X − Z.

    and takes 2 n³ operations, some rows after others. With multipliers μ ≥ 0, the least of ``tr(H Rᵀ R) + Σ μ_j ((Rᵀ R)_jj − 1 − c)`` over
    all R is that of LDLQ for H + diag(μ). So ``tr D(H + diag μ) − (1 + c) Σ μ_j`` is a lower bound for any μ, and the best feedback is
    LDLQ's under a damping of each column's own. Every tenth step the μ that V stands for give a bound, and an R, its columns cut where they
    are too long; it ends where the better of this R and Z is within the tolerance of the bound. That takes some tens of steps; some
    hundreds, rarely thousands, where the condition of H is beyond 1e5. It takes three matrices of H's size: H and C are the triangles of
    one, Z and V those of another, and the third is there where the bound is looked at.

    Parameters
    ----------
    moment : (n, n) H, positive definite
    slack : c ≥ 0; QuIP takes 1
    tolerance : relative to the objective
    max_iterations : at least 1
    overwrite : take H's own memory, its rows one after another, for the first of the three

    Raises
    ------
    UsageError
    NotPositiveSemidefinite
        For a singular H.
    NotConverged

    References
    ----------
    QuIP, arXiv 2307.13304, Algorithm 5 and Theorem 7. The lower bound: derived for this project.

    Examples
    --------
    LDLQ's R has −0.9 below its diagonal.

    >>> clamp_safe_feedback(np.array([[1.0, 0.9], [0.9, 1.0]]), 0.25).error_map.round(6).tolist()
    [[1.0, 0.0], [-0.5, 1.0]]
    """
    n = len(moment)
    if moment.shape != (n, n) or not (slack >= 0 and tolerance > 0 and max_iterations >= 1):
        raise UsageError(
            f"clamp-safe feedback: moment {moment.shape}, slack {slack}, tolerance {tolerance}, {max_iterations} iterations; "
            "expected (n, n), at least 0, positive, at least 1"
        )
    energies = np.diagonal(moment).copy()
    free, least = _ldlq(moment)
    if (_below_squares(free) <= slack).all():
        return ClampSafeFeedback(free, least, least)
    del free
    if slack == 0:
        trace = float(energies.sum())
        return ClampSafeFeedback(np.eye(n), trace, trace)

    split = SplitFeedback(moment if overwrite and moment.flags.c_contiguous else np.array(moment, order="C"), slack)
    iteration, primal, dual = 0, math.inf, math.inf
    while iteration < max_iterations:
        iteration += 1
        if iteration % _CHECK_EVERY and iteration < max_iterations:
            split.step()
            continue
        primal, dual, lengths = split.watched_step()
        # V of a column that was cut points along it: ρ H_jj V_:j = 2 μ_j Z_:j
        multipliers = 0.5 * split.rho * energies * lengths / math.sqrt(slack)
        damped, trace = _ldlq(partial(split.moment, multipliers))
        bound = trace - (1 + slack) * float(multipliers.sum())
        damped *= cut_shares(_below_squares(damped), slack)
        damped[np.diag_indices(n)] = 1.0
        of_damped, of_split = split.objective(damped.__getitem__), split.objective(split.rows)
        objective = min(of_damped, of_split)
        if objective - bound <= tolerance * objective:
            best = split.whole() if of_split <= of_damped else damped
            return ClampSafeFeedback(best, objective, bound, iteration, primal, dual)
        del damped
        # a stiffer penalty lowers the primal residual and raises the other; they are kept about equal
        change = min(max(math.sqrt(primal / dual) if dual > 0 else 1.0, 1 / _LARGEST_CHANGE), _LARGEST_CHANGE)
        if not 1 / _MIN_CHANGE < change < _MIN_CHANGE:
            split.stiffen(change)
    raise NotConverged(
        f"clamp-safe feedback: objective {objective:.8g} and lower bound {bound:.8g} after {iteration} iterations, expected a relative "
        f"difference of at most {tolerance:g}; residuals {primal:.1e} and {dual:.1e}; allow more iterations, or damp the moment more"
    )


def _ldlq(moment: Matrix | Callable[[], Matrix]) -> tuple[Float64Array, float]:
    """R of least tr(H Rᵀ R) without a constraint, diag(L) L⁻¹, and that least value, tr D; in one matrix, that of H if it is made anew."""
    L = cholesky(moment, damping=0.0, name="clamp-safe feedback").lower
    pivots = np.diagonal(L).copy()
    R = triangular_inverse(L, overwrite=True)
    R *= pivots[:, None]
    return R, float(pivots @ pivots)


def _below_squares(R: Float64Array) -> Float64Array:
    """``Σ_{i>j} R_ij²`` of a lower triangular R, whose diagonal is made exactly 1."""
    diagonal = np.diag_indices(len(R))
    R[diagonal] = 0.0
    squares = column_dots(R, R)
    R[diagonal] = 1.0
    return squares
