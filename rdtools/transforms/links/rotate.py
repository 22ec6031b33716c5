"""Turn the input space by an orthogonal matrix that a seed rebuilds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.errors import UsageError
from rdtools.records import Rotation, RotationKind
from rdtools.records.link import Link
from rdtools.transforms.hadamard import is_hadamard_order
from rdtools.transforms.rotation import rotate, rotate_back, rotate_moment


@dataclass(frozen=True, repr=False)
class Rotate(Link):
    """``x′ = Qᵀ x``, ``W′ = W Q``, and ``pull_back(V) = V Qᵀ``.

    `bits` are the 64 of the seed; the kind is a constant of a file's header.

    Attributes
    ----------
    rotation : Q, as its kind, order and seed

    Raises
    ------
    UsageError
        For an unknown kind, an order below 1 or without a Hadamard matrix, or a seed that is not of 64 bits.

    References
    ----------
    QuIP, arXiv 2307.13304, section 4; QuaRot, arXiv 2404.00456.

    Examples
    --------
    >>> link = Rotate(Rotation("hadamard", 4, seed=7))
    >>> x = np.array([1.0, 2.0, 3.0, 4.0])
    >>> float(np.linalg.norm(link.apply(x)) / np.linalg.norm(x)), link.bits
    (1.0, 64.0)
    """

    rotation: Rotation

    def __post_init__(self) -> None:
        kind, order, seed = self.rotation.kind, self.rotation.order, self.rotation.seed
        if kind not in get_args(RotationKind):
            raise UsageError(f"rotate: kind {kind!r}, expected one of {', '.join(get_args(RotationKind))}")
        if order < 1 or (kind == "hadamard" and not is_hadamard_order(order)):
            raise UsageError(f"rotate: no {kind} rotation of order {order}, expected an order that exists; a haar rotation has every order")
        if not 0 <= seed < 2**64:
            raise UsageError(f"rotate: seed {seed}, expected 0 ≤ seed < 2^64, as it is stored")

    @property
    def inputs(self) -> int:  # noqa: D102
        return self.rotation.order

    @property
    def outputs(self) -> int:  # noqa: D102
        return self.rotation.order

    @property
    def lossless(self) -> bool:  # noqa: D102
        return True

    @property
    def bits(self) -> float:  # noqa: D102
        return 64.0

    def _apply(self, x: Float64Array) -> Float64Array:
        return np.asarray(rotate(x, self.rotation))

    def _weight(self, weight: Float64Array) -> Float64Array:
        return np.asarray(rotate(weight, self.rotation))

    def _moment(self, moment: Float64Array) -> Float64Array:
        return np.asarray(rotate_moment(moment, self.rotation))

    def _pull_back(self, weight: Float64Array) -> Float64Array:
        return np.asarray(rotate_back(weight, self.rotation))
