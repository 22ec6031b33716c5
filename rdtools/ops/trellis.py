"""Trellis-coded quantization as in QTIP: states and their bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array
from rdtools.errors import NotFiniteInput, ScaleOutOfRange, ShapeMismatch, UsageError
from rdtools.ops.arrays import FLOATS, Array, check_arrays
from rdtools.ops.dispatch import dispatch
from rdtools.ops.registry import kernel

States = NDArray[np.int32]

#: The computed codes: two of one weight a state, one of two.
TRELLIS_CODES = ("1mad", "3inst", "hyb")

#: Largest L, and largest kV.
MAX_STATE_BITS, MAX_STEP_BITS = 20, 8
#: Beyond, the square of a number in float32 might overflow when 2^24 of them are added.
_LARGEST = 2.0**50


def trellis_values(code: str, state_bits: int) -> Float64Array:
    """The values of all states of a computed code, (2^L, V); float32 holds them exactly, and float16 those of "3inst" and "hyb".

    A state is hashed as an integer of 32 bits, whatever L is.

    Parameters
    ----------
    code : "1mad" (V = 1, rms 1.00), "3inst" (V = 1, rms 1.24) or "hyb" (V = 2, rms 0.97, a table of 512 pairs)
    state_bits : L, 1 … 20

    Raises
    ------
    UsageError

    References
    ----------
    QTIP, arXiv 2406.11235, section 3; see `rdtools.kernels.trellis_reference` for which bit does what.

    Examples
    --------
    >>> trellis_values("3inst", 2).tolist()
    [[0.76806640625], [-0.91943359375], [0.931640625], [0.29443359375]]
    """
    if code not in TRELLIS_CODES:
        raise UsageError(f"trellis_values: code {code!r}, expected one of {', '.join(TRELLIS_CODES)}")
    if not 1 <= state_bits <= MAX_STATE_BITS:
        raise UsageError(f"trellis_values: {state_bits} state bits, expected 1 to {MAX_STATE_BITS}")
    values: Float64Array = kernel("trellis_values")(code, state_bits)
    return values


def _check_trellis(name: str, values: Any, bits_per_weight: int) -> tuple[int, int, int]:
    """L, kV and V of a trellis."""
    if values.ndim != 2 or len(values).bit_count() != 1 or values.shape[1] == 0:
        raise ShapeMismatch(f"{name}: values {tuple(values.shape)}, expected (2^L, V) with V > 0")
    check_arrays(name, values=(values, "(K, V)", ("float64",)))
    state_bits, dimension = len(values).bit_length() - 1, values.shape[1]
    step_bits = bits_per_weight * dimension
    if state_bits > MAX_STATE_BITS or not 1 <= step_bits <= min(state_bits, MAX_STEP_BITS):
        raise UsageError(
            f"{name}: L = {state_bits} state bits and kV = {bits_per_weight} x {dimension} bits per step; "
            f"expected L at most {MAX_STATE_BITS} and kV from 1 to {MAX_STEP_BITS}, at most L"
        )
    return state_bits, step_bits, dimension


def _check_circle(name: str, length: int, bits_per_weight: int, state_bits: int, dimension: int) -> None:
    """A length that steps of V weights fill, and a string that is whole bytes and not shorter than a state."""
    if length == 0 or length % dimension or length * bits_per_weight % 8:
        raise ShapeMismatch(
            f"{name}: {length} weights of {bits_per_weight} bits, expected T > 0, a multiple of V = {dimension}, and whole bytes"
        )
    if length * bits_per_weight < state_bits:
        raise UsageError(f"{name}: {length} weights of {bits_per_weight} bits are a circle shorter than a state of {state_bits} bits")


def trellis_quantize(
    sequences: Array,  # (S, T)
    values: Array,  # (2^L, V)
    bits_per_weight: int,
    *,
    tail_biting: bool = True,
    backend: str | None = None,
) -> tuple[Array, Array]:
    """The path through a bitshift trellis whose values are nearest to each sequence, by Viterbi's search.

    A free path is the nearest there is, and needs L − kV bits more than kT. A tail-biting one closes to a circle of kT bits; it is found in
    two passes and is nearly the nearest of its kind. Memory beside the result: a number for every class of states, step and thread,
    2^(L−kV) T/V.

    Parameters
    ----------
    sequences : (S, T) float64 or float32, finite, in units of the values; V divides T. The costs are in their dtype
    values : (2^L, V) float64, of `trellis_values` or any other; L up to 20
    bits_per_weight : k; kV is at most L and at most 8
    tail_biting : whether the path closes to a circle; then kT has to be L or more
    backend : None, "numba", "reference" or "triton"

    Returns
    -------
    states : (S, T/V) int32
    reconstruction : (S, T) float64, the values of the states

    Raises
    ------
    ShapeMismatch, UnsupportedDtype, UsageError, NotFiniteInput, ScaleOutOfRange, BackendUnavailable

    References
    ----------
    QTIP, arXiv 2406.11235, section 3.

    Examples
    --------
    Four states of two bits, and one bit per weight: each state begins with the bit that the one before it ends with.

    >>> values = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> states, reconstruction = trellis_quantize(np.array([[1.1, 2.2, 0.9, 2.0]]), values, 1)
    >>> states.tolist(), reconstruction.tolist()
    ([[1, 2, 1, 2]], [[1.0, 2.0, 1.0, 2.0]])
    """
    state_bits, _, dimension = _check_trellis("trellis_quantize", values, bits_per_weight)
    if sequences.ndim != 2 or sequences.shape[1] == 0 or sequences.shape[1] % dimension:
        raise ShapeMismatch(
            f"trellis_quantize: sequences {tuple(sequences.shape)}, expected (S, T) with T > 0 a multiple of V = {dimension}"
        )
    check_arrays("trellis_quantize", sequences=(sequences, "(S, T)", FLOATS))
    length = sequences.shape[1]
    if tail_biting and length * bits_per_weight < state_bits:
        raise UsageError(
            f"trellis_quantize: {length} weights of {bits_per_weight} bits are a circle shorter than a state of {state_bits} bits; "
            "take longer sequences, fewer states, or tail_biting=False"
        )
    chosen, (x, table), give_back = dispatch("trellis_quantize", backend, sequences, values)
    largest = float(abs(x).max()) if len(x) else 0.0
    if not np.isfinite(largest):
        raise NotFiniteInput("trellis_quantize: NaN or infinity in the sequences")
    if largest > _LARGEST:
        raise ScaleOutOfRange(f"trellis_quantize: a weight of {largest:.3g}; divide the sequences by their rms, values are of order 1")
    states, reconstruction = kernel("trellis_quantize", chosen)(x, table, bits_per_weight, tail_biting)
    return give_back(states), give_back(reconstruction)


def trellis_pack(
    states: States,  # (S, T/V)
    values: Float64Array,  # (2^L, V)
    bits_per_weight: int,
) -> NDArray[np.uint8]:
    """The bits of tail-biting paths, (S, kT/8): a circular string for each, of the kV high bits of one state after the other.

    Raises
    ------
    ShapeMismatch
        Also if kT is not whole bytes.
    UsageError
        For states that are no tail-biting path of this trellis.
    UnsupportedDtype

    Examples
    --------
    >>> trellis_pack(np.array([[1, 2, 1, 2, 1, 3, 2, 0]], dtype=np.int32), np.zeros((4, 1)), 1).tolist()
    [[86]]
    """
    state_bits, step_bits, dimension = _check_trellis("trellis_pack", values, bits_per_weight)
    check_arrays("trellis_pack", states=(states, "(S, n)", ("int32",)))
    _check_circle("trellis_pack", states.shape[1] * dimension, bits_per_weight, state_bits, dimension)
    codes: NDArray[np.uint8] = kernel("trellis_pack")(states, state_bits, step_bits)
    wrong = (trellis_unpack(codes, values, bits_per_weight, states.shape[1] * dimension) != states).any(axis=1)
    if wrong.any():
        raise UsageError(
            f"trellis_pack: {int(wrong.sum())} of {len(states)} sequences, the first of them {int(np.argmax(wrong))}, are no tail-biting "
            f"path of L = {state_bits}, kV = {step_bits}; quantize with tail_biting=True and the same values and bits"
        )
    return codes


def trellis_unpack(
    codes: NDArray[np.uint8],  # (S, kT/8)
    values: Float64Array,  # (2^L, V)
    bits_per_weight: int,
    length: int,
) -> States:
    """The states of circular bit strings, (S, T/V) int32; the inverse of `trellis_pack`.

    Raises
    ------
    ShapeMismatch, UsageError, UnsupportedDtype

    Examples
    --------
    >>> trellis_unpack(np.array([[86]], dtype=np.uint8), np.zeros((4, 1)), 1, 8).tolist()
    [[1, 2, 1, 2, 1, 3, 2, 0]]
    """
    state_bits, step_bits, dimension = _check_trellis("trellis_unpack", values, bits_per_weight)
    _check_circle("trellis_unpack", length, bits_per_weight, state_bits, dimension)
    check_arrays("trellis_unpack", codes=(codes, f"(S, {length * bits_per_weight // 8})", ("uint8",)))
    states: States = kernel("trellis_unpack")(codes, state_bits, step_bits)
    return states


def trellis_decode(
    codes: NDArray[np.uint8],  # (S, kT/8)
    values: Float64Array,  # (2^L, V)
    bits_per_weight: int,
    length: int,
) -> Float64Array:
    """The reconstruction (S, T) of packed codes, bit for bit that of `trellis_quantize`.

    Raises
    ------
    ShapeMismatch, UsageError, UnsupportedDtype

    Examples
    --------
    >>> trellis_decode(np.array([[86]], dtype=np.uint8), np.array([[0.0], [1.0], [2.0], [3.0]]), 1, 8).tolist()
    [[1.0, 2.0, 1.0, 2.0, 1.0, 3.0, 2.0, 0.0]]
    """
    states = trellis_unpack(codes, values, bits_per_weight, length)
    return values[states].reshape(len(codes), length)
