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
    factor : (r, r) float64, L of the damped and rotated Hessian; None for a method that does not look at it
    damping : relative damping that was used
    live : (n,) bool
    rotation : Q, or None
    seed : run seed
    """

    key: LayerKey
    weight: Float64Array
    factor: Float64Array | None
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
    factor: bool = True,
    seed: int = 0,
) -> Problem:
    """Drop dead columns, rotate, factor.

    Parameters
    ----------
    layer : what to quantize
    rotation : None for the natural basis; "auto" takes a randomized Hadamard matrix where one exists, else Haar
    damping : relative to the mean diagonal; None for none unless H is singular, see `rdtools.linalg.cholesky`
    factor : whether the Hessian is wanted at all
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
    turn = None
    if rotation is not None and weight.shape[1] > 0:
        turn = new_rotation(rotation, weight.shape[1], layer_generator(seed, layer.key.name))
        weight = rotate(weight, turn)
    if not factor:
        return Problem(layer.key, weight, None, 0.0, live, turn, seed)
    moment = layer.hessian.matrix[np.ix_(live, live)]
    if turn is not None:
        moment = rotate_moment(moment, turn)
    found = cholesky(moment, damping=damping, name=layer.key.name)
    return Problem(layer.key, weight, found.lower, found.damping, live, turn, seed)
