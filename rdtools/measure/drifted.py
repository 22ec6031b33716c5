"""Measured distortion where the input has drifted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rdtools.errors import ShapeMismatch
from rdtools.measure.distortion import Distortion
from rdtools.moments.drift import Drift
from rdtools.ops import quadratic_form

Float64Array = NDArray[np.float64]


def drifted_error(
    weight: Float64Array,  # (m, n)
    reconstruction: Float64Array,  # (m, n)
    moment: Float64Array,  # (n, n)
    drift: Drift,
) -> Distortion:
    """``E‖W x + d − V x̂‖²/(m n)`` less what V has no part in: distortion on the input x̂ that the layer really has.

    With Σ_x = E[x xᵀ], Σ_x̂ = E[x̂ x̂ᵀ], Σ_xx̂ = E[x x̂ᵀ] and S = E[d x̂ᵀ], d = r − r̂ being what the residual stream lacks::

        tr(W Σ_x Wᵀ − 2 (W Σ_xx̂ + S) Vᵀ + V Σ_x̂ Vᵀ)/(m n)

    The terms ``E‖d‖² + 2 tr(W E[x dᵀ])`` are left out, over m n: no moment here has them, and they are the same for every V, so that
    differences between reconstructions are those of the full error. With a residual moment the number may therefore be negative; without
    one it is the full error. Without drift it is `rdtools.measure.weighted_error`.

    Parameters
    ----------
    weight, reconstruction : (m, n) float64, W and V
    moment : (n, n) float64, Σ_x, undamped
    drift : the other moments

    Returns
    -------
    Distortion
        The standard error takes rows as independent draws; nan for a single row.

    Raises
    ------
    ShapeMismatch

    Examples
    --------
    The input is halved, so that doubled weights make up for it.

    >>> drift = Drift(np.array([[1.0]]), np.array([[2.0]]))
    >>> [drifted_error(np.array([[1.0]]), np.array([[v]]), np.array([[4.0]]), drift).mean for v in (1.0, 2.0)]
    [1.0, 0.0]
    """
    n = weight.shape[-1]
    residual_shape = weight.shape if drift.residual is None else drift.residual.shape
    if not weight.shape == reconstruction.shape == residual_shape or not moment.shape == drift.moment.shape == (n, n):
        raise ShapeMismatch(
            f"drifted error: weight {weight.shape}, reconstruction {reconstruction.shape}, Hessian {moment.shape}, drift "
            f"{drift.moment.shape} with residual {residual_shape}; expected (m, n), (m, n), (n, n), (n, n), (m, n)"
        )
    W, V = weight, reconstruction
    # in differences, so that nothing is lost where there is little drift or error: W Σ_x̂ Wᵀ is added and taken away
    rows = quadratic_form(W - V, drift.moment) + quadratic_form(W, moment - drift.moment)
    pull = 2 * (W @ (drift.moment - drift.cross))
    if drift.residual is not None:
        pull -= 2 * drift.residual
    rows += np.einsum("ij,ij->i", pull, V)
    rows /= n
    stderr = float(rows.std(ddof=1) / np.sqrt(len(rows))) if len(rows) > 1 else float("nan")
    return Distortion(float(rows.mean()), stderr)
