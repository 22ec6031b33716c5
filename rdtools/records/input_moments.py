"""Second moments of an input and of what takes its place, over the same tokens."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rdtools.arrays import Float64Array
from rdtools.errors import NotPositiveSemidefinite, ShapeMismatch, UsageError
from rdtools.linalg import ASYMMETRY_LIMIT, as_float64, check_moment
from rdtools.records.input_map import InputMap
from rdtools.records.stored import finished, frozen


@dataclass(frozen=True, eq=False, repr=False)
class InputMoments:
    """Moments of the input x that the weights were made for, and of the input x̂ that the weights in its place receive.

    x̂ is x itself, or x of a model whose earlier layers are quantized, or ``T x`` behind an input map, or ``Q(T x)`` behind a quantizer of
    activations. All are means over the same tokens, uncentred, without damping. Arrays are float64 and read-only; a writable array is
    copied, a read-only one is held as it is.

    Attributes
    ----------
    reference : (n, n), E[x xᵀ]
    actual : (n′, n′), E[x̂ x̂ᵀ]
    cross : (n, n′), E[x x̂ᵀ]; rows belong to x, columns to x̂
    residual : (m, n′), E[(r − r̂) x̂ᵀ], where r and r̂ are the residual stream before and after quantization, for a layer whose output is
        added to it; None for other layers
    mean : (n,), E[x], or None where it was not recorded
    tokens : tokens in the mean; 0 where the moments are exact, as those of a synthetic layer
    dropped_tokens : tokens left out because an activation was NaN or infinite
    distinct_tokens : tokens of them that tell something new, see `rdtools.records.Hessian`; None where they were not counted
    weight_sum : sum of the weights of the tokens; None where each weighs 1
    name : which input, for messages

    Raises
    ------
    ShapeMismatch, UnsupportedDtype, NotFiniteInput, NotSymmetric
        For arrays that cannot be such moments.
    NotPositiveSemidefinite
        If ``E[x_i x̂_j]² > E[x_i²] E[x̂_j²]``, or ``E[x_i]² > E[x_i²]``, or an x̂_j that is always zero has something in common with
        another variable. Whether the joint moment of x and x̂ has a negative eigenvalue is not looked at.
    UsageError
        For negative counts of tokens.

    References
    ----------
    WaterSIC, arXiv 2603.04956 v1, section 4 (drift and residual corrections); LRC, arXiv 2412.07902 (moments of quantized activations).

    Examples
    --------
    >>> InputMoments.plain(np.eye(2), tokens=100, name="block 0, attention input")
    InputMoments(block 0, attention input: x of 2, plain, 100 tokens)
    """

    reference: Float64Array
    actual: Float64Array
    cross: Float64Array
    residual: Float64Array | None = None
    mean: Float64Array | None = None
    tokens: int = 0
    dropped_tokens: int = 0
    distinct_tokens: int | None = None
    weight_sum: float | None = None
    name: str = "input"

    def __post_init__(self) -> None:
        name = self.name
        plain = self.actual is self.reference and self.cross is self.reference
        reference = frozen(check_moment(self.reference, name=f"{name}: moment of the reference input x"))
        actual = cross = reference
        if not plain:
            actual = frozen(check_moment(self.actual, name=f"{name}: moment of the actual input x̂"))
            cross = frozen(as_float64(self.cross, name=f"{name}: cross moment"))
        n, inputs = len(reference), len(actual)
        if cross.shape != (n, inputs):
            raise ShapeMismatch(
                f"{name}: cross moment {cross.shape} beside moments {reference.shape} of x and {actual.shape} of x̂, expected "
                f"{(n, inputs)}: E[x x̂ᵀ], rows belonging to x"
            )
        residual, mean = self.residual, self.mean
        if residual is not None:
            residual = frozen(as_float64(residual, name=f"{name}: residual moment"))
            if residual.ndim != 2 or residual.shape[1] != inputs:
                raise ShapeMismatch(f"{name}: residual moment {residual.shape}, expected (m, {inputs}), columns belonging to x̂")
        if mean is not None:
            mean = frozen(as_float64(mean, name=f"{name}: mean"))
            _check_mean(mean, reference, name)
        if self.tokens < 0 or self.dropped_tokens < 0 or (self.weight_sum is not None and not self.weight_sum > 0):
            raise UsageError(
                f"{name}: {self.tokens} tokens, {self.dropped_tokens} dropped, sum of weights {self.weight_sum}; expected neither count "
                "negative and a positive sum"
            )
        _check_silent(actual, cross, residual, name)
        if not plain:
            _check_cross(reference, actual, cross, name)
        checked = {"reference": reference, "actual": actual, "cross": cross, "residual": residual, "mean": mean}
        for attribute, value in checked.items():
            object.__setattr__(self, attribute, value)

    @classmethod
    def plain(cls, moment: ArrayLike, **facts: Any) -> InputMoments:
        """Moments of x̂ = x: one array in the place of three.

        Parameters
        ----------
        moment : (n, n), E[x xᵀ]
        facts : `mean`, `tokens`, `dropped_tokens`, `distinct_tokens`, `weight_sum`, `name` of the record
        """
        H: Any = moment
        return cls(H, H, H, **facts)

    @classmethod
    def drifted(
        cls, reference: ArrayLike, actual: ArrayLike, cross: ArrayLike, residual: ArrayLike | None = None, **facts: Any
    ) -> InputMoments:
        """Moments where x̂ is the same input of a model whose earlier layers are quantized.

        Parameters
        ----------
        reference, actual, cross : (n, n), E[x xᵀ], E[x̂ x̂ᵀ] and E[x x̂ᵀ]
        residual : (m, n), E[(r − r̂) x̂ᵀ], for a layer that writes to the residual stream
        facts : as for `plain`

        Raises
        ------
        ShapeMismatch
            Also if x̂ has another number of inputs than x.
        """
        moments: list[Any] = [reference, actual, cross, residual]
        if np.shape(moments[0]) != np.shape(moments[1]):
            raise ShapeMismatch(
                f"{facts.get('name', 'input')}: drifted input with a moment {np.shape(moments[1])} beside {np.shape(moments[0])} of x, "
                "expected equal shapes; likely of another layer, or behind an input map"
            )
        return cls(*moments, **facts)

    @classmethod
    def quantized(cls, reference: ArrayLike, quantized: ArrayLike, cross: ArrayLike, **facts: Any) -> InputMoments:
        """Moments where x̂ = Q(T x), a quantized activation behind an input map.

        Parameters
        ----------
        reference : (n, n), E[x xᵀ]
        quantized : (n′, n′), E[Q Qᵀ]
        cross : (n, n′), E[x Qᵀ]
        facts : as for `plain`
        """
        moments: list[Any] = [reference, quantized, cross]
        return cls(*moments, **facts)

    @property
    def is_plain(self) -> bool:
        """``x̂ = x`` by construction, and no residual."""
        return self.actual is self.reference and self.cross is self.reference and self.residual is None

    @property
    def inputs(self) -> int:
        """Number n of inputs x."""
        return len(self.reference)

    @property
    def actual_inputs(self) -> int:
        """Number n′ of inputs x̂."""
        return len(self.actual)

    def check(self, shape: tuple[int, int], *, name: str | None = None) -> None:
        """Refuse moments that cannot be of a layer with a weight of this shape.

        Parameters
        ----------
        shape : (m, n) of the weight
        name : of the layer, for the message

        Raises
        ------
        ShapeMismatch
        """
        name = self.name if name is None else name
        m, n = shape
        if self.inputs != n:
            raise ShapeMismatch(f"{name}: moments of {self.inputs} inputs for a weight {(m, n)}, expected {n}")
        if self.residual is not None and len(self.residual) != m:
            raise ShapeMismatch(
                f"{name}: residual moment {self.residual.shape} for a weight {(m, n)}, expected {(m, self.actual_inputs)}: a row per output"
            )

    def mapped(self, input_map: InputMap) -> InputMoments:
        """Moments of x beside ``T x̂``; this record itself for a map without links.

        Raises
        ------
        ShapeMismatch
            If the map takes another number of inputs than x̂ has.
        """
        if not input_map.links:
            input_map.moment(self.actual)  # refuses a map of another size
            return self
        mapped = copy(self)
        # not checked again: T keeps all that was checked, but for rounding where channels cancel
        object.__setattr__(mapped, "actual", finished(input_map.moment(self.actual)))
        object.__setattr__(mapped, "cross", finished(input_map.apply(self.cross)))
        if self.residual is not None:
            object.__setattr__(mapped, "residual", finished(input_map.apply(self.residual)))
        return mapped

    def __repr__(self) -> str:
        actual = "plain" if self.is_plain else f"x̂ of {self.actual_inputs}"
        if self.residual is not None:
            actual += f", residual {self.residual.shape}"
        return f"InputMoments({self.name}: x of {self.inputs}, {actual}, {self.tokens} tokens)"


def _check_mean(mean: Float64Array, reference: Float64Array, name: str) -> None:
    if mean.shape != (len(reference),):
        raise ShapeMismatch(f"{name}: mean of shape {mean.shape}, expected {(len(reference),)}, E[x]")
    power = np.diagonal(reference)
    excess = mean**2 - (1 + ASYMMETRY_LIMIT) * power
    if (excess > 0).any():
        i = int(excess.argmax())
        raise NotPositiveSemidefinite(
            f"{name}: mean {mean[i]:.3g} of input {i} beside a mean square {power[i]:.3g}, expected a square of at most that; likely of "
            "other tokens, or a centred moment"
        )


def _check_silent(actual: Float64Array, cross: Float64Array, residual: Float64Array | None, name: str) -> None:
    silent = np.diagonal(actual) == 0
    for matrix, kind in ((cross, "cross"), (residual, "residual")):
        if matrix is not None and matrix[:, silent].any():
            i = int(np.flatnonzero(silent & matrix.any(axis=0))[0])
            raise NotPositiveSemidefinite(
                f"{name}: the actual input {i} is always zero, yet its column of the {kind} moment is not; expected moments of the same "
                "tokens"
            )


def _check_cross(reference: Float64Array, actual: Float64Array, cross: Float64Array, name: str) -> None:
    before, after = np.sqrt(np.diagonal(reference)), np.sqrt(np.diagonal(actual))
    excess = np.abs(cross) - (1 + ASYMMETRY_LIMIT) * before[:, None] * after
    if excess.size and excess.max() > 0:
        i, j = (int(k) for k in np.unravel_index(excess.argmax(), excess.shape))
        raise NotPositiveSemidefinite(
            f"{name}: cross moment ({i}, {j}) is {cross[i, j]:.3g} beside root mean squares {before[i]:.3g} of x and {after[j]:.3g} of x̂, "
            "expected at most their product; likely moments of other tokens, of a transposed order, or a sum where a mean is meant"
        )
