"""Turn the input space so that the leading channels span a stored subspace."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, NDArray

from rdtools.arrays import Float64Array
from rdtools.errors import ShapeMismatch, UsageError
from rdtools.linalg import as_float64
from rdtools.ops import householder_product
from rdtools.records.link import Link
from rdtools.records.stored import as_stored, round_to_stored, stored_bits


@dataclass(frozen=True, eq=False, repr=False)
class Principal(Link):
    """``x′ = G Qᵀ x``, ``W′ = W Q G⁻¹``, and ``pull_back(V) = V G Qᵀ``: G multiplies the first k channels by a gain and leaves the others.

    ``Q = H_1 … H_k`` with the reflections ``H_i = I − 2 u_i u_iᵀ/‖u_i‖²``, u_i being zero before channel i and 1 at it. The first k
    channels are coordinates in a subspace, the others what is orthogonal to it, and near to the old channels that they stand for, so that
    what a rotation spread before stays spread. Q is orthogonal whatever the numbers are, which are stored in float16. `bits` are 16 for
    each of the ``Σ_i (n − i)`` numbers after the leading ones, and 16 of the gain.

    Attributes
    ----------
    vectors : (k, n) float64 holding float16 values, u_i in row i
    gain : of the first k channels, a positive bfloat16 value; theirs is a grid of their own, and the weights of both kinds share one

    Raises
    ------
    UsageError
        For vectors that do not begin as said, or a gain that is not positive.
    ShapeMismatch, UnsupportedDtype, NotFiniteInput

    References
    ----------
    The subspace of largest variance, kept finer: ResQ, arXiv 2412.14363, and QUAD, arXiv 2503.19353, which fuse the turn into the weights
    before; reflections: Golub and Van Loan, Matrix Computations (2013), section 5.1.

    Examples
    --------
    The axis (3, 4)/5 comes first, up to its sign.

    >>> link = Principal.spanning([[0.6], [0.8]])
    >>> np.abs(link.apply([3.0, 4.0])).round(2).tolist(), link.bits
    ([5.0, 0.0], 32.0)
    """

    vectors: Float64Array
    gain: float = 1.0

    @classmethod
    def spanning(cls, axes: ArrayLike, gain: float = 1.0) -> Principal:
        """The link whose first k channels are, but for the rounding of what is stored, coordinates along k axes.

        Parameters
        ----------
        axes : (n, k), orthonormal columns, 1 ≤ k < n
        gain : see the class; rounded to bfloat16

        Raises
        ------
        ShapeMismatch, UnsupportedDtype, NotFiniteInput
        """
        P = as_float64(axes, name="principal: axes")
        if P.ndim != 2 or not 1 <= P.shape[1] < P.shape[0]:
            raise ShapeMismatch(f"principal: axes {P.shape}, expected (n, k) with 1 ≤ k < n")
        (reflected, _), _ = scipy.linalg.qr(P, mode="raw", check_finite=False)
        vectors = np.tril(reflected, -1).T + np.eye(*P.shape[::-1])
        rounded = round_to_stored(np.array([[gain]]), "bfloat16", name="principal: gain")
        return cls(round_to_stored(vectors, "float16", name="principal: vectors"), float(rounded[0, 0]))

    def __post_init__(self) -> None:
        U = as_stored(self.vectors, "float16", name="principal: vectors")
        if U.ndim != 2 or not 1 <= len(U) < U.shape[1]:
            raise ShapeMismatch(f"principal: vectors {U.shape}, expected (k, n) with 1 ≤ k < n")
        if not np.array_equal(np.tril(U[:, : len(U)]), np.eye(len(U))):
            raise UsageError("principal: a vector with other numbers before its own channel than 0, or another one at it than 1")
        as_stored(np.array([self.gain]), "bfloat16", name="principal: gain")
        if not self.gain > 0:
            raise UsageError(f"principal: a gain of {self.gain:g}, expected a positive number")
        object.__setattr__(self, "vectors", U)

    @property
    def channels(self) -> int:
        """k, channels of the subspace."""
        return len(self.vectors)

    @property
    def inputs(self) -> int:  # noqa: D102
        return int(self.vectors.shape[1])

    @property
    def outputs(self) -> int:  # noqa: D102
        return int(self.vectors.shape[1])

    @property
    def lossless(self) -> bool:  # noqa: D102
        return True

    @property
    def bits(self) -> float:  # noqa: D102
        k, n = self.vectors.shape
        return float(stored_bits("float16") * (k * n - k * (k + 1) // 2) + stored_bits("bfloat16"))

    def _turned(self, x: Float64Array, *, back: bool) -> Float64Array:
        rows = np.array(x, dtype=np.float64).reshape(-1, x.shape[-1])
        # sums in a fixed order, so that decoders agree to the bit
        scales = 2.0 / np.cumsum(self.vectors**2, axis=1)[:, -1]
        starts: NDArray[np.int64] = np.arange(len(scales))
        order = slice(None, None, -1 if back else 1)
        vectors = np.ascontiguousarray(self.vectors[order])
        householder_product(rows, vectors, np.ascontiguousarray(scales[order]), np.ascontiguousarray(starts[order]))
        return rows.reshape(x.shape)

    def _gained(self, x: Float64Array, gain: float) -> Float64Array:
        """The same array, its first channels multiplied."""
        x[..., : self.channels] *= gain
        return x

    def _apply(self, x: Float64Array) -> Float64Array:
        return self._gained(self._turned(x, back=False), self.gain)

    def _weight(self, weight: Float64Array) -> Float64Array:
        return self._gained(self._turned(weight, back=False), 1 / self.gain)

    def _pull_back(self, weight: Float64Array) -> Float64Array:
        return self._turned(self._gained(np.array(weight, dtype=np.float64), self.gain), back=True)
