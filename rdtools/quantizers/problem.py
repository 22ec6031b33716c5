"""What every quantizer works on: live columns, rotated and factored."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rdtools.hessians.layer import Layer
from rdtools.linalg import cholesky
from rdtools.records import LayerKey, Rotation
from rdtools.transforms import RotationChoice, new_rotation, rotate, rotate_moment

Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """A layer made ready.

    Attributes
    ----------
    key : which matrix
    weight : (m, r) float64, live columns of W, times Q if rotated
    factor : (r, r) float64, L of the damped and rotated Hessian
    damping : relative damping that was used
    live : (n,) bool
    rotation : Q, or None
    seed : run seed
    """

    key: LayerKey
    weight: Float64Array
    factor: Float64Array
    damping: float
    live: NDArray[np.bool_]
    rotation: Rotation | None
    seed: int

    @property
    def live_fraction(self) -> float:
        """r/n."""
        return float(self.weight.shape[1] / len(self.live))

    @property
    def weight_std(self) -> float:
        """Root mean square of the live weights; a rotation leaves it as it is."""
        return float(np.sqrt(np.mean(self.weight**2))) if self.weight.size else 0.0


def layer_generator(seed: int, name: str) -> np.random.Generator:
    """The generator of one layer in one run, the same for every method, so that methods are compared on equal draws."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def prepare(
    layer: Layer,
    *,
    rotation: RotationChoice | None = None,
    damping: float | None = None,
    seed: int = 0,
) -> Problem:
    """Drop dead columns, rotate, factor.

    Parameters
    ----------
    layer : what to quantize
    rotation : None for the natural basis; "auto" takes a randomized Hadamard matrix where one exists, else Haar
    damping : relative to the mean diagonal; None for none unless H is singular, see `rdtools.linalg.cholesky`
    seed : of the run

    Raises
    ------
    UnsupportedOrder
        If a Hadamard rotation is asked for by name and its order cannot be built.
    NotPositiveSemidefinite
        If H cannot be factored with the damping asked for.
    """
    live = layer.live
    weight = layer.weight[:, live]
    moment = layer.hessian.matrix[np.ix_(live, live)]
    turn = None
    if rotation is not None and weight.shape[1] > 0:
        turn = new_rotation(rotation, weight.shape[1], layer_generator(seed, layer.key.name))
        weight, moment = rotate(weight, turn), rotate_moment(moment, turn)
    factor = cholesky(moment, damping=damping, name=layer.key.name)
    return Problem(layer.key, weight, factor.lower, factor.damping, live, turn, seed)
