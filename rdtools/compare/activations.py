"""Quantized activations beside theory: the noise that they were predicted to make, and what no weight and no low-rank term takes away."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rdtools.coding.reconstruct import effective_layer
from rdtools.errors import NotPositiveSemidefinite
from rdtools.moments.layer import Layer
from rdtools.records import ActivationMoments, ActivationPoint, EffectiveLayer, InputMoments, QuantizedWeight
from rdtools.theory.activation import activation_distortion
from rdtools.theory.low_rank import reduced_rank_bound

#: Attention products and the KV cache are no linear layer's input, and stay as they are.
SCOPE = "inputs of linear layers; KV cache and attention products unquantized"


@dataclass(frozen=True, eq=False)
class ActivationInputs:
    """Moments of the error of the activations that a row's method quantizes.

    Attributes
    ----------
    calibration : over the calibration tokens
    heldout : over held-out tokens; None where there are none
    """

    calibration: ActivationMoments
    heldout: ActivationMoments | None = None


def noise_distortion(effective: EffectiveLayer, activations: ActivationMoments) -> float:
    """``E‖Ŵ e‖²/(m n)``: what the rounding of activations alone adds, ``e = T x − Q(T x)``."""
    m, n = effective.shape
    return float(np.vdot(effective.weight @ activations.error, effective.weight)) / (m * n)


def predicted_noise(effective: EffectiveLayer, activations: ActivationMoments) -> float:
    """The same by the uniform-noise model, in which equal copies of a channel share one error, and shifted ones are one finer copy."""
    transform, (m, n) = activations.input_map, effective.shape
    copies = np.ones(transform.outputs, dtype=np.int64) if transform.copies is None else transform.copies
    first = np.cumsum(copies) - copies
    columns = np.add.reduceat(effective.weight, first, axis=1) / copies
    powers = np.diagonal(transform.moment(activations.reference))[first] * copies**2
    steps, staggered = 12 * activations.noise_power[first], transform.shifts is not None
    predicted = activation_distortion(steps, copies, columns, channel_powers=powers, staggered=staggered)
    return predicted * columns.size / (m * n)


def activation_point(layer: Layer, weight: QuantizedWeight, activations: ActivationMoments) -> ActivationPoint:
    """Columns of a row whose activations are quantized."""
    effective, grid, low = effective_layer(weight), activations.grid, weight.parts.low_rank
    predicted = predicted_noise(effective, activations)
    return ActivationPoint(
        activation_bits=grid.bits,
        activation_grid="symmetric" if grid.symmetric else "asymmetric",
        activation_clip=grid.clip,
        activation_group=grid.group_size,
        activation_fine_channels=grid.fine_channels,
        activation_fine_bits=grid.fine_bits if grid.fine_channels else 0,
        activation_scope=SCOPE,
        activation_noise_distortion=noise_distortion(effective, activations),
        pred_activation_noise_distortion=predicted,
        reduced_rank_bound_distortion=_bound(layer, activations, 0 if low is None else low.rank),
    )


def _bound(layer: Layer, activations: ActivationMoments, rank: int) -> float:
    """`reduced_rank_bound` with one of the equal copies of each split channel; nan where Q(T x) is singular all the same."""
    moments, transform = activations.moments, activations.input_map
    if transform.copies is not None and transform.shifts is None:
        first = np.cumsum(transform.copies) - transform.copies
        moments = InputMoments.quantized(
            moments.reference, moments.actual[np.ix_(first, first)], moments.cross[:, first], name=moments.name
        )
    try:
        return reduced_rank_bound(layer.weight, moments, rank)
    except NotPositiveSemidefinite:
        return float("nan")
