"""Moments of the error that quantized activations make behind an input map, over one set of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.errors import ShapeMismatch, UsageError
from rdtools.linalg import as_float64, check_moment
from rdtools.records.activation_grid import ActivationGrid
from rdtools.records.input_map import InputMap
from rdtools.records.input_moments import InputMoments
from rdtools.records.stored import frozen

#: Power of x̂ over that of T x below which a channel counts as always zero. One that is not has |x̂| ≥ |T x|/2 in some token.
SILENT_SHARE = 1e-12


@dataclass(frozen=True, eq=False, repr=False)
class ActivationMoments:
    """Moments of an input x and of the error ``e = T x − Q(T x)`` of its quantizer, from which those of x beside x̂ = Q(T x) follow.

    The error is what is summed over tokens, not x̂: it is small beside x, and so the distortion, in which only the error is left, keeps its
    digits even where `reference` is of another pass over the same tokens, whose activations differ by rounding::

        Σ_xx̂ = Σ_x Tᵀ − F,    Σ_x̂ = T Σ_x Tᵀ − T F − (T F)ᵀ + N,    F = E[x eᵀ], N = E[e eᵀ]

    Attributes
    ----------
    reference : (n, n), Σ_x = E[x xᵀ]
    cross_error : (n, n′), F
    error : (n′, n′), N
    noise_power : (n′,), power of e in each channel by the uniform-noise model, see `ActivationGrid.noise_power`
    input_map : T
    grid : Q
    tokens, dropped_tokens : in the means; left out because an activation was NaN or infinite
    name : which input, for messages

    Raises
    ------
    ShapeMismatch, UnsupportedDtype, NotFiniteInput, NotSymmetric, NotPositiveSemidefinite
    UsageError
        For negative counts of tokens, or noise powers.
    """

    reference: Float64Array
    cross_error: Float64Array
    error: Float64Array
    noise_power: Float64Array
    input_map: InputMap
    grid: ActivationGrid
    tokens: int = 0
    dropped_tokens: int = 0
    name: str = "input"

    def __post_init__(self) -> None:
        n, outputs = self.input_map.inputs, self.input_map.outputs
        checked = {
            "reference": check_moment(self.reference, name=f"{self.name}: moment of x"),
            "cross_error": as_float64(self.cross_error, name=f"{self.name}: cross moment of the error"),
            "error": check_moment(self.error, name=f"{self.name}: moment of the error"),
            "noise_power": as_float64(self.noise_power, name=f"{self.name}: noise power"),
        }
        shapes = {"reference": (n, n), "cross_error": (n, outputs), "error": (outputs, outputs), "noise_power": (outputs,)}
        for attribute, value in checked.items():
            if value.shape != shapes[attribute]:
                raise ShapeMismatch(
                    f"{self.name}: {attribute} of shape {value.shape} behind {self.input_map!r}, expected {shapes[attribute]}"
                )
            object.__setattr__(self, attribute, frozen(value))
        if self.tokens < 0 or self.dropped_tokens < 0 or not (self.noise_power >= 0).all():
            raise UsageError(
                f"{self.name}: {self.tokens} tokens, {self.dropped_tokens} dropped, least noise power {self.noise_power.min(initial=0.0)}; "
                "expected none of them negative"
            )

    @cached_property
    def moments(self) -> InputMoments:
        """Moments of x beside x̂ = Q(T x), for `rdtools.measure.error`."""
        transform, F = self.input_map, self.cross_error
        mapped, crossed = transform.moment(self.reference), transform.apply(F.T)  # Fᵀ Tᵀ
        actual, cross = mapped - crossed - crossed.T + self.error, transform.apply(self.reference) - F
        # channels that round to zero in every token: what is left of them is the rounding of this sum
        silent = np.diagonal(actual) <= SILENT_SHARE * np.diagonal(mapped)
        actual[silent], actual[:, silent], cross[:, silent] = 0.0, 0.0, 0.0
        return InputMoments.quantized(
            self.reference,
            0.5 * (actual + actual.T),
            cross,
            tokens=self.tokens,
            dropped_tokens=self.dropped_tokens,
            name=self.name,
        )

    def __repr__(self) -> str:
        return f"ActivationMoments({self.name}: {self.input_map!r}, {self.grid}, {self.tokens} tokens)"
