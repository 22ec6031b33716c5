"""Encoding with another second moment than the true one: damped, or from too few tokens."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy.linalg

from rdtools.linalg import cholesky, log2_am_over_gm
from rdtools.measure import weighted_error
from rdtools.ops import sic_sweep
from rdtools.theory.claims.evidence import Estimate, Float64Array, MismatchEvidence
from rdtools.verify.case import MomentCase, budget

_DAMPING = 1e-2
#: Codes of WaterSIC under the damped factor have about this many bits at its smallest step's column.
_FINE = 1 / 64
_TOKENS_PER_COLUMN = 4


def mismatch_evidence(case: MomentCase) -> MismatchEvidence:
    """Run WaterSIC under a damped H, and draw calibrations."""
    n = case.columns
    found = cholesky(case.matrix, damping=_DAMPING, name=case.name)
    diagonal = np.diagonal(found.lower)
    # steps small beside the weights in every column, so that errors are uniform on their cells
    steps = _FINE * diagonal.min() / diagonal
    W = case.generator("mismatch").standard_normal((budget(n), n))
    codes, _ = sic_sweep(W, found.lower, steps)
    error = weighted_error(W, codes * steps, case.matrix)
    penalties, determinants, holdouts = _calibrations(n, case.seed)
    return MismatchEvidence(
        damping=_DAMPING,
        damped_factor=found.lower,
        steps=steps,
        distortion=Estimate(error.mean, error.stderr),
        tokens=_TOKENS_PER_COLUMN * n,
        penalties_bits=penalties,
        log_determinants=determinants,
        holdout_means=holdouts,
    )


@lru_cache(maxsize=4)
def _calibrations(n: int, seed: int) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Penalty, mean log2 determinant and held-out mean of each draw.

    For normal tokens the law of ``Σ̃⁻¹Σ`` does not depend on Σ, so they are drawn white, once for all layers of a width.
    """
    generator = np.random.default_rng([seed, n])
    tokens = _TOKENS_PER_COLUMN * n
    draws = budget(tokens * n * n, work=2**28, least=16, most=256)
    penalties, determinants, holdouts = np.empty(draws), np.empty(draws), np.empty(draws)
    for draw in range(draws):
        x, held_out = generator.standard_normal((tokens, n)), generator.standard_normal((tokens, n))
        sample, other = x.T @ x / tokens, held_out.T @ held_out / tokens
        penalties[draw] = 0.5 * log2_am_over_gm(1.0 / scipy.linalg.eigh(sample, eigvals_only=True, driver="evr"))
        factor = scipy.linalg.cholesky(sample, lower=True)
        determinants[draw] = 2 * float(np.log2(np.diagonal(factor)).mean())
        holdouts[draw] = float(np.trace(scipy.linalg.cho_solve((factor, True), other))) / n
    return penalties, determinants, holdouts
