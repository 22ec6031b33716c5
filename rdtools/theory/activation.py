"""Rounding activations to a grid per token: its step, and what it costs beside split channels (QLLM)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from rdtools.errors import ShapeMismatch, TheoryError
from rdtools.linalg import check_moment, check_weight
from rdtools.records import InputMap


def minmax_step_power(activations: ArrayLike, *, bits: int) -> float:
    """``E[Δ²]`` with ``Δ = (max − min)/(2^b − 1)`` over each token's own channels: dynamic asymmetric quantization.

    Parameters
    ----------
    activations : (tokens, n), after splitting
    bits : b ≥ 1

    Raises
    ------
    TheoryError
        For an empty array, one that is not of two dimensions, or less than one bit.

    References
    ----------
    QLLM, arXiv 2310.08041, the quantizer.

    Examples
    --------
    >>> minmax_step_power([[0.0, 3.0], [-3.0, 3.0]], bits=2)
    2.5
    """
    x = np.asarray(activations, dtype=np.float64)
    if x.ndim != 2 or x.size == 0 or bits < 1:
        raise TheoryError(
            f"min–max step: activations of shape {x.shape}, {bits} bits; expected (tokens, channels), none empty, and at least 1"
        )
    return float(np.mean((np.ptp(x, axis=1) / (2**bits - 1)) ** 2))


def activation_distortion(
    step_power: ArrayLike,  # () or (n,)
    copies: ArrayLike,  # (n,)
    weight: ArrayLike,  # (m, n)
    *,
    channel_powers: ArrayLike | None = None,  # (n,)
    staggered: bool = False,
) -> float:
    """``D = (E[Δ²]/12) Σ_j T_j² ‖w_j‖²/(mn)``: what rounding activations costs, T_j equal copies of channel j sharing one error.

    Staggered copies have no factor T_j² at all: they act as one quantizer of step Δ on x_j. Valid where T_j Δ is small beside the spread of
    every channel, so that errors are uniform and uncorrelated; Δ is the step after splitting, which falls as Σ T_j² rises, hence a best
    threshold in between. With `channel_powers`, a channel's error is held at ``min(E x_j², T_j² E[Δ²]/12)``, as it saturates where all is
    rounded to 0: for a normal channel, a fixed Δ and a grid through 0 the error of the channel is never above that, and channels that
    saturate must be uncorrelated for the sum to hold.

    The largest and smallest activation of a token lie on its min–max grid and have no error. That is 2/n of the channels where all are
    alike, but most of the sum where a few channels are always the extremes.

    Parameters
    ----------
    step_power : E[Δ²] over tokens, as from `minmax_step_power`; or one per channel, ``E[Δ²; j not an extreme of its token]``
    copies : T_j ≥ 1, as the counts of `rdtools.transforms.links.Split`
    weight : W before splitting
    channel_powers : E x_j² before splitting; None: no saturation
    staggered : copies of a channel shifted by fractions of a step before they are rounded, as that link has them

    Raises
    ------
    TheoryError
        For a step power or channel powers that are negative or NaN, or counts below 1.
    ShapeMismatch, UnsupportedDtype, NotFiniteInput

    References
    ----------
    Derived for this project, for QLLM, arXiv 2310.08041.

    Examples
    --------
    Step 1, one channel in three copies: as a step of 3, or of 1.

    >>> one = np.array([[2.0]])
    >>> activation_distortion(1.0, [3], one), round(activation_distortion(1.0, [3], one, staggered=True), 12)
    (3.0, 0.333333333333)
    """
    T = np.asarray(copies, dtype=np.float64).ravel()
    W = check_weight(weight, columns=len(T))
    powers = np.full(len(T), np.inf) if channel_powers is None else np.asarray(channel_powers, dtype=np.float64).ravel()
    if W.size == 0 or powers.shape != T.shape:
        raise ShapeMismatch(f"activation: weight {W.shape}, {powers.size} channel powers; expected neither empty, and one power per column")
    steps = np.asarray(step_power, dtype=np.float64)
    if steps.shape not in ((), T.shape):
        raise ShapeMismatch(f"activation: step powers of shape {steps.shape} for {len(T)} channels, expected one, or one per channel")
    if not (steps >= 0).all() or not (T >= 1).all() or not (powers >= 0).all():
        raise TheoryError(
            f"activation: least step power {steps.min()}, least count {T.min()}, least power {powers.min()}; expected ≥ 0, ≥ 1 and ≥ 0"
        )
    errors = np.minimum(powers, steps / 12 * (np.ones_like(T) if staggered else T**2))
    return float(errors @ np.einsum("ij,ij->j", W, W)) / W.size


def reassembled_distortion(
    step_power: ArrayLike,  # () or (n′,)
    copies: ArrayLike,  # (n′,)
    weight: ArrayLike,  # (m, n)
    moment: ArrayLike,  # (n, n)
    assembly: InputMap,
    *,
    staggered: bool = False,
) -> float:
    """Cost of merging channels, and of rounding what is left of them in copies: a layer before (nothing merged, one copy each) and after.

        tr(E H Eᵀ)/(mn) + (1/mn) Σ_j min(E x′_j², T_j² E[Δ²]/12) ‖w′_j‖²,    E = W − W′ M

    with x′ = M x behind the assembly and W′ its weights; weights are not rounded. The two add up where rounding errors are uncorrelated
    with the activations, see `activation_distortion`.

    Parameters
    ----------
    step_power : E[Δ²] over tokens, after splitting; or one per channel behind the assembly
    copies : T_j ≥ 1 of each channel behind the assembly
    weight : W
    moment : H = E[x xᵀ]
    assembly : M, n to n′ channels: merged, pruned or, for no links, all as they are
    staggered : copies of a channel shifted by fractions of a step

    Raises
    ------
    TheoryError, ShapeMismatch, UnsupportedDtype, NotFiniteInput, NotSymmetric, NotPositiveSemidefinite

    References
    ----------
    Derived for this project, for QLLM, arXiv 2310.08041.

    Examples
    --------
    A unit channel and one of power 9 in three copies, a step of 0.6 before saturation: 0.03 (1 + 9) over two weights.

    >>> round(reassembled_distortion(0.36, [1, 3], np.ones((1, 2)), np.diag([1.0, 9.0]), InputMap(columns=2)), 12)
    0.15
    """
    H = check_moment(moment)
    W = check_weight(weight, columns=len(H))
    mapped = assembly.weight(W)
    error = W - assembly.pull_back(mapped)
    powers = np.maximum(np.diagonal(assembly.moment(H)), 0.0)
    rounding = activation_distortion(step_power, copies, mapped, channel_powers=powers, staggered=staggered)
    return (max(0.0, float(np.vdot(error @ H, error))) + rounding * mapped.size) / W.size
