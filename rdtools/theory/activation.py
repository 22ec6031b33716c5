"""Channels of a quantized activation, split and merged: QLLM as source coding.

A token's activations share one step, so that a few large channels set the error of all. Channel j is replaced by T_j copies of x_j/T_j
that keep its weight column: nothing changes but the range, and with it the step. Each split costs channels, and similar ones are merged
to pay for it. Rounding T_j equal copies alike multiplies the channel's step by T_j, which copies shifted by fractions of a step avoid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist

from rdtools.errors import ShapeMismatch, TheoryError
from rdtools.linalg import check_moment, check_weight

Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Disassembly:
    """The map from n channels to n' copies.

    Attributes
    ----------
    counts : (n,) int64, T_j ≥ 1
    source : (n',) int64, the channel that each copy is of, ascending
    scale : (n',) 1/T of its channel
    stagger : (n',) ``(i − (T − 1)/2)/T`` for copy i = 0 … T − 1: its shift, in steps; the shifts of a channel add up to 0
    """

    counts: Int64Array
    source: Int64Array
    scale: Float64Array
    stagger: Float64Array

    @property
    def expansion(self) -> float:
        """``γ = (n' − n)/n``."""
        return (len(self.source) - len(self.counts)) / len(self.counts)

    def activations(self, activations: ArrayLike, *, step: ArrayLike | None = None) -> Float64Array:
        """Copies x', (…, n'), of activations x, (…, n), with ``W' x' = W x``.

        With the step Δ of each token, (…), copy i of channel j is ``x_j/T + Δ (i − (T − 1)/2)/T``. Rounded to any grid of step Δ, without
        clipping, such copies add up to x_j rounded to one grid of step Δ, because ``Σ_{i<T} ⌊v + i/T⌋ = ⌊T v⌋``; equal copies add up to
        x_j rounded to a grid of step T Δ.
        """
        x = np.asarray(activations, dtype=np.float64)
        copies = x[..., self.source] * self.scale
        if step is not None:
            copies = copies + np.asarray(step, dtype=np.float64)[..., None] * self.stagger
        return np.asarray(copies)

    def weight(self, weight: ArrayLike) -> Float64Array:
        """W', (m, n'): the column of its channel for each copy of it."""
        return check_weight(weight, columns=len(self.counts))[:, self.source]


def disassembly_counts(channel_maxima: ArrayLike, threshold: float) -> Int64Array:
    """``T_j = max(1, ⌈m_j/θ⌉)``: the fewest copies of x_j/T that stay within ±θ.

    All 1 from ``θ = max m_j`` on.

    Parameters
    ----------
    channel_maxima : (n,), m_j = max|x_j| over tokens, ≥ 0
    threshold : θ > 0

    Returns
    -------
    (n,) int64

    Raises
    ------
    TheoryError
        For no channels, maxima that are negative or not finite, or a threshold that is not positive.

    References
    ----------
    QLLM, arXiv 2310.08041, channel disassembly.

    Examples
    --------
    >>> disassembly_counts([0.0, 1.0, 2.0, 7.0], 2.0).tolist()
    [1, 1, 1, 4]
    """
    m = np.asarray(channel_maxima, dtype=np.float64)
    if m.ndim != 1 or m.size == 0 or not (np.isfinite(m).all() and m.min() >= 0) or not threshold > 0:
        raise TheoryError(
            f"disassembly: maxima of shape {m.shape}, threshold {threshold}; "
            "expected one finite max|x_j| ≥ 0 a channel, and a threshold above 0"
        )
    return np.maximum(1, np.ceil(m / threshold)).astype(np.int64)


def disassemble(counts: ArrayLike) -> Disassembly:
    """The split of channel j into T_j copies x_j/T_j with the same weight column, exact before quantization.

    Parameters
    ----------
    counts : (n,) whole numbers, T_j ≥ 1

    Raises
    ------
    TheoryError
        For no channels, or counts that are not whole numbers of at least 1.

    References
    ----------
    QLLM, arXiv 2310.08041, channel disassembly. Staggered copies derived for this project, by Hermite's identity.

    Examples
    --------
    >>> split = disassemble([1, 2])
    >>> split.activations([5.0, 6.0]).tolist(), split.weight([[1.0, 2.0]]).tolist(), split.expansion
    ([5.0, 3.0, 3.0], [[1.0, 2.0, 2.0]], 0.5)
    """
    T = np.asarray(counts)
    if T.ndim != 1 or T.size == 0 or T.dtype.kind not in "iu" or T.min() < 1:
        raise TheoryError(
            f"disassembly: counts of shape {T.shape} and dtype {T.dtype}, expected a whole number of at least 1 for each channel"
        )
    T = T.astype(np.int64)
    source = np.repeat(np.arange(len(T)), T)
    copy = np.arange(len(source)) - np.repeat(np.cumsum(T) - T, T)
    each = T[source].astype(np.float64)
    return Disassembly(T, source, 1.0 / each, (copy - (each - 1) / 2) / each)


def merge_distortions(moment: ArrayLike, weight: ArrayLike) -> Float64Array:
    """``(H_ii − 2 H_ij + H_jj) ‖w_i − w_j‖²/(4 mn)`` for all pairs: what merging channels i and j costs.

    Merged, a pair is one channel (x_i + x_j)/2 with the column w_i + w_j. The error ``(x_i − x_j)(w_i − w_j)/2`` is that of a weight with
    both columns at their mean, so that it is ``tr(E H Eᵀ)/(mn)`` of that E. Several pairs, or a group, are best counted in that way
    too: the sum over pairs leaves out ``½ E[(x_i − x_j)(x_k − x_l)] (w_i − w_j)·(w_k − w_l)/(mn)`` for two pairs.

    Parameters
    ----------
    moment : (n, n), H = E[x xᵀ]
    weight : (m, n)

    Returns
    -------
    (n, n) float64, symmetric, ≥ 0, 0 on the diagonal

    Raises
    ------
    ShapeMismatch, UnsupportedDtype, NotFiniteInput, NotSymmetric, NotPositiveSemidefinite

    References
    ----------
    QLLM, arXiv 2310.08041, channel assembly; the distance of the paper, not that of the released code. Moment form derived for this
    project.

    Examples
    --------
    Independent unit channels with weights 1 and 3: (1 + 1) · 4/4 over two weights.

    >>> merge_distortions(np.eye(2), np.array([[1.0, 3.0]])).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    H = check_moment(moment)
    W = check_weight(weight, columns=len(H))
    if W.size == 0:
        raise ShapeMismatch(f"merge: weight of shape {W.shape} is empty; expected at least one row and column")
    power = np.diagonal(H)
    # channels that are equal but for rounding would have a negative distance
    apart = np.maximum((power[:, None] + power[None, :]) - 2 * H, 0.0)
    return np.asarray(apart * cdist(W.T, W.T, "sqeuclidean") / (4 * W.size))


def merge_distortion(moment: ArrayLike, weight: ArrayLike, first: int, second: int) -> float:
    """The entry of `merge_distortions` for channels `first` and `second`.

    Examples
    --------
    >>> merge_distortion(np.eye(2), np.array([[1.0, 3.0]]), 0, 1)
    1.0
    """
    H = np.asarray(moment)
    W = check_weight(weight, columns=len(H))
    pair = [first, second]
    # the table of the pair alone, whose weights are 2 of n columns
    return float(merge_distortions(H[np.ix_(pair, pair)], W[:, pair])[0, 1]) * 2 / len(H)


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
    step_power : E[Δ²] over tokens, as from `minmax_step_power`; or one a channel, ``E[Δ²; j not an extreme of its token]``
    copies : T_j ≥ 1, as from `disassembly_counts`
    weight : W before splitting
    channel_powers : E x_j² before splitting; None: no saturation
    staggered : copies as from `Disassembly.activations` with a step

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
        raise ShapeMismatch(f"activation: weight {W.shape}, {powers.size} channel powers; expected neither empty, and a power a column")
    steps = np.asarray(step_power, dtype=np.float64)
    if steps.shape not in ((), T.shape):
        raise ShapeMismatch(f"activation: step powers of shape {steps.shape} for {len(T)} channels, expected one, or one a channel")
    if not (steps >= 0).all() or not (T >= 1).all() or not (powers >= 0).all():
        raise TheoryError(
            f"activation: least step power {steps.min()}, least count {T.min()}, least power {powers.min()}; expected ≥ 0, ≥ 1 and ≥ 0"
        )
    errors = np.minimum(powers, steps / 12 * (np.ones_like(T) if staggered else T**2))
    return float(errors @ np.einsum("ij,ij->j", W, W)) / W.size


def reassembly_bits(copies: ArrayLike, *, merges: int, rows: int) -> float:
    """``[s (⌈log2 n⌉ + ⌈log2 T_max⌉) + 2 r ⌈log2 n⌉]/(N n)``: bits per weight that say what was split and merged.

    s channels are split, each named with its count, and r merged, each named with what it is merged into. One description serves the N rows
    of all layers with this input. About 1e-4 for n = 4096, r = 200, N = 12288.

    Parameters
    ----------
    copies : (n,) T_j ≥ 1
    merges : r ≥ 0
    rows : N, outputs of all layers that share the input

    Raises
    ------
    TheoryError
        For no channels, counts below 1, negative merges or no rows.

    References
    ----------
    Derived for this project, for QLLM, arXiv 2310.08041.

    Examples
    --------
    Of four channels, one in 3 copies costs 2 + 2 bits, two merges 8, over 4 weights.

    >>> reassembly_bits([1, 3, 1, 1], merges=2, rows=1)
    3.0
    """
    T = np.asarray(copies).ravel()
    if T.size == 0 or T.min() < 1 or merges < 0 or rows < 1:
        raise TheoryError(
            f"reassembly: {T.size} channels, {merges} merges, {rows} rows; expected counts ≥ 1, merges ≥ 0 and at least one row"
        )
    # ⌈log2 k⌉ is the bit length of k − 1
    name, count = (T.size - 1).bit_length(), (int(T.max()) - 1).bit_length()
    return (int((T > 1).sum()) * (name + count) + 2 * merges * name) / (rows * T.size)
