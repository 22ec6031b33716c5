"""Moments of an input that has drifted because the layers before it are quantized."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdtools.errors import NotPositiveSemidefinite, ShapeMismatch
from rdtools.linalg import ASYMMETRY_LIMIT, as_float64, check_moment
from rdtools.moments.layer import Layer

Float64Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Drift:
    """Second moments of the input x̂ that a layer has once the layers before it are quantized, and of what it has in common with the
    input x that the weights were made for; over the same tokens as the layer's Hessian ``E[x xᵀ]``.

    The best weights for x̂ minimize ``E‖W x + (r − r̂) − V x̂‖²``. Here r and r̂ are the residual stream before and after quantization, for
    a layer whose output is added to it; W x alone is wanted of the other layers.

    Attributes
    ----------
    moment : (n, n) float64, E[x̂ x̂ᵀ]
    cross : (n, n) float64, E[x x̂ᵀ]; rows belong to x, columns to x̂
    residual : (m, n) float64, E[(r − r̂) x̂ᵀ], or None for a layer that does not write to the residual stream
    name : of the layer, for messages

    Raises
    ------
    ShapeMismatch, UnsupportedDtype, NotFiniteInput, NotSymmetric, NotPositiveSemidefinite
        From the constructor for what is wrong in itself, from `check` for what does not belong to a layer.

    References
    ----------
    WaterSIC, arXiv 2603.04956 v1, section 4 (drift and residual corrections).
    """

    moment: Float64Array
    cross: Float64Array
    residual: Float64Array | None = None
    name: str = "layer"

    def __post_init__(self) -> None:
        # copies, as `Layer` makes them, so that nobody changes what was checked
        moment = np.array(check_moment(self.moment, name=f"{self.name}: moment of the drifted input"))
        cross = np.array(as_float64(self.cross, name=f"{self.name}: cross moment"))
        if cross.shape != moment.shape:
            raise ShapeMismatch(
                f"{self.name}: cross moment {cross.shape} beside a moment {moment.shape}; expected E[x x̂ᵀ] and E[x̂ x̂ᵀ] of equal shape"
            )
        residual = None
        if self.residual is not None:
            residual = np.array(as_float64(self.residual, name=f"{self.name}: residual moment"))
            if residual.ndim != 2 or residual.shape[1] != len(moment):
                raise ShapeMismatch(f"{self.name}: residual moment {residual.shape}, expected (m, {len(moment)}), columns belonging to x̂")
        for matrix, what in ((cross, "cross"), (residual, "residual")):
            silent = np.diagonal(moment) == 0
            if matrix is not None and matrix[:, silent].any():
                i = int(np.flatnonzero(silent & matrix.any(axis=0))[0])
                raise NotPositiveSemidefinite(
                    f"{self.name}: the drifted input {i} is always zero, yet its column of the {what} moment is not; expected moments of "
                    "the same tokens"
                )
        for attribute, checked in (("moment", moment), ("cross", cross), ("residual", residual)):
            object.__setattr__(self, attribute, checked)

    def check(self, layer: Layer) -> None:
        """Refuse a drift that cannot be this layer's.

        Shapes, and ``E[x_i x̂_j]² ≤ E[x_i²] E[x̂_j²]``, which every pair of inputs satisfies; that the moments of x and x̂ together have no
        negative eigenvalue is not looked at.

        Raises
        ------
        ShapeMismatch, NotPositiveSemidefinite
        """
        m, n = layer.weight.shape
        if self.moment.shape != (n, n):
            raise ShapeMismatch(f"{layer.key.name}: drift of {len(self.moment)} inputs for a weight {(m, n)}, expected {n}")
        if self.residual is not None and self.residual.shape != (m, n):
            raise ShapeMismatch(f"{layer.key.name}: residual moment {self.residual.shape} for a weight {(m, n)}, expected the same shape")
        before, after = (np.sqrt(np.diagonal(moment)) for moment in (layer.hessian.matrix, self.moment))
        excess = np.abs(self.cross) - (1 + ASYMMETRY_LIMIT) * before[:, None] * after
        if excess.max() > 0:
            i, j = (int(k) for k in np.unravel_index(excess.argmax(), excess.shape))
            raise NotPositiveSemidefinite(
                f"{layer.key.name}: cross moment ({i}, {j}) is {self.cross[i, j]:.3g} beside root mean squares {before[i]:.3g} of x and "
                f"{after[j]:.3g} of x̂, expected at most their product; likely moments of other tokens, or of a transposed order"
            )
