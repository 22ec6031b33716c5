"""QTIP's trellis-coded quantization: tables of values, Viterbi's search, and bits.

A bitshift trellis (L, k, V) has 2^L states, each with V values. Of two states that follow each other, the low L − kV bits of the first are
the high L − kV bits of the second, so a step of V weights costs kV bits, and a state can be read from L bits of the string without those
before it. A tail-biting path has a string that is a circle: T weights are exactly kT bits.

References
----------
Tseng, Sun, Hou and De Sa, QTIP: Quantization with Trellises and Incoherence Processing, arXiv 2406.11235, section 3, and the code published
with it for the constants.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array, FloatArray

States = NDArray[np.int32]

#: The table of "hyb": 512 pairs of int8, in units of 1/32. They are the centroids of a normal vector with unit variances, from Lloyd's
#: iteration on a grid of 700² points up to ±5.2, begun on a golden spiral and ended where nothing moved, scaled to an rms of √(15/16)
#: and rounded; the order is random, because hashes of neighbouring states are near each other.
_PAIRS = (
    "D/oMvfIQ0vsaHvIMDxvr+hXT4fcQziXkGhkexuf3EAPj8PDT8O8U2tYPSyQQ99sh2TMP6yfw/Coz77b3ALcg2P8HAEUWMEnW2s/2CvnZIQMX3wQCCyAfHP0xDfX2Duzw"
    "DwD5CwAD7SzfHAHn6zT4yAgXIPre+yUgGCoe/grk/znnBuzez+wU7e/z7RvUIh8iLwgJC/Lz0wb89xUgBgYKCOHbEugN4f7b7Bfu+AbU1ec6ww+u8ykILhPF6Sf7EbwC"
    "EOQHHwYa6yETAdgbEAvu/BYW//jo7Qgk3P8XCP1UCBP0AecXJRoG5trD9O/vJSxH0RvhIhdT8BYADPIxEO/kTzE2r+kENNn76PIs5Q/b7QL/yfMjEyXbKAQM3/Mj3jvr"
    "Csjy9gYJAvXl/xMT9OvXFTsF6Nm+7isdBOra1wLY9yAOL9zp9B0fFxxD/yABANve9frh//QFBCP+GxMO4wMl+R4wAgYLNgzxIAviCMm//xDK+h3ewBQPD8oQN/3xGhAT"
    "9uIkFCcvBz1U7gX0yCv2qg0EOvUv1xXk6Rzi6wvR1QDQzLsy6wYXAvjn9wcZ/iMHPQ0kztcKGbsrJPgADejo/PjsDiUK3gIsEjY9HfgVMhkrFu4N6/8K2PE6DP0H4bfS"
    "Iu8sDe8A/+/6A9EMCQQaBfH6ACbfAx32ARMB8hsPO+D3A+YOBf8MSfbU880eKeIX5+nGAQcORRT/+9Tf/PEcAi3zBc3P9QPDBwIT+try+yTON+vo6/Xw6xnxRPMU9vct"
    "8xQFKOYh4dQw/UD9Iw8I9/0KFwz7/t0W/AH59MAhFRsNCNfs9Rg7KhE+/uHR1vHi8gjk+xQF3y748Az4+xhFB+zs+PglJxn29Ob8+gIJECAa2BTx7OPZBBvpI/7vBhsK"
    "yPEr+SYDB+32ESez0BO/4QbbAu3DCvrf+s8X6TPoF/oG++vLEPM51fDnKMMV/gvt9v7+/xjt/OlAOfgbtw0S3+M23A3OAfC56hLmwgQVAvrLCAPeH+Qb+gMd8v4y39vk"
    "6grcEs/l+gfz2B3tHxILKd7uKt4LASHp6dPhDAIPDRf4Nf70MvfyRxEX5hL4+yf1zUcJ6TMiAOssAvHdGhQvzREHCPAXEckZHdH23gDRwvgC/frA6D/uETArJ9YE8P7l"
    "Ef3dCOMosRzqDgMZNQzh4fseJgzhEQX4RubxA8foCf7W9ho4CxvTK+cuzCLK3fkOKQcLDxkk/xf3J/zV7grwH/0NCfTk9OYKORTU8cbTJurn5B3yIvQp/vX23D/n3ygR"
    "GuQMDBfM3PdUDhMK5BweB/0UAuMQ1REq/QXftE39+D4t7PbyMBLpAjMDBBEME+7Y8MQJ++LL+uOrA+HmJDn87Q=="
)  # fmt: skip


def hyb_pairs() -> Float64Array:
    """The table of the code "hyb", (512, 2); numbers of eight bits, so that float16 holds them exactly."""
    return np.frombuffer(b64decode("".join(_PAIRS)), dtype=np.int8).reshape(512, 2) / 32.0


def _words(states: NDArray[np.uint64], factor: int, offset: int) -> NDArray[np.uint64]:
    """``factor · s + offset mod 2^32``."""
    return (states * np.uint64(factor) + np.uint64(offset)) & np.uint64(2**32 - 1)


def _one_mad(states: NDArray[np.uint64]) -> Float64Array:
    """1MAD: the sum of four bytes, which is nearly normal, less its mean and over its deviation 147.8; divided in float32."""
    x = _words(states, 34038481, 76625530)
    total = np.zeros(len(x), dtype=np.int64)
    for byte in range(4):
        total += ((x >> np.uint64(8 * byte)) & np.uint64(255)).astype(np.int64)
    quotients = (total - 510).astype(np.float32) / np.float32(147.800537109375)
    return quotients[:, None].astype(np.float64)


def _three_instructions(states: NDArray[np.uint64]) -> Float64Array:
    """3INST: sign, two low bits of the exponent and mantissa of both halves flip those of float16 0.921875; the sum of both in float16."""
    x = _words(states, 89226354, 64248484)
    halves = ((x & np.uint64(0x8FFF8FFF)) ^ np.uint64(0x3B603B60)).astype("<u4").view("<f2").reshape(-1, 2)
    return np.asarray(halves[:, 0] + halves[:, 1], dtype=np.float64)[:, None]


def _hybrid(states: NDArray[np.uint64]) -> Float64Array:
    """HYB with Q = 9 and V = 2: bits 6 to 14 of ``s² + s mod 2^32`` are a number in the table, and bit 15 flips the first component.

    So it is in the code that was published with the paper; the paper's text has the second component flipped.
    """
    x = (states * states + states) & np.uint64(2**32 - 1)
    values = hyb_pairs()[((x >> np.uint64(6)) & np.uint64(511)).astype(np.intp)]
    values[(x >> np.uint64(15)) & np.uint64(1) == 1, 0] *= -1
    return values


#: Computed codes: what gives the values of all states.
CODES: dict[str, Callable[[NDArray[np.uint64]], Float64Array]] = {"1mad": _one_mad, "3inst": _three_instructions, "hyb": _hybrid}


def trellis_values(code: str, state_bits: int) -> Float64Array:
    """The values of all states s = 0 … 2^L − 1, shape (2^L, V): V = 1 for "1mad" and "3inst", 2 for "hyb"."""
    return CODES[code](np.arange(2**state_bits, dtype=np.uint64))


def predecessors(state_bits: int, step_bits: int) -> NDArray[np.intp]:
    """The states before each state, (2^L, 2^kV): ``p 2^(L−kV) + (y >> kV)`` for y, p = 0 … 2^kV − 1."""
    y, p = np.arange(2**state_bits)[:, None], np.arange(2**step_bits)[None, :]
    return np.asarray((p << (state_bits - step_bits)) + (y >> step_bits), dtype=np.intp)


def _viterbi(
    targets: Float64Array,  # (n, V)
    values: Float64Array,  # (2^L, V)
    step_bits: int,
    overlap: int | None,
) -> NDArray[np.intp]:
    """The path of least squared error, (n,): ``V_t(y) = min_x V_{t−1}(x) + ‖C_y − s_t‖²`` over predecessors x, the first of equal ones.

    With an overlap, the first state has it as its high L − kV bits and the last one as its low ones.
    """
    state_bits = len(values).bit_length() - 1
    before, y = predecessors(state_bits, step_bits), np.arange(len(values))
    errors = ((values[None, :, :] - targets[:, None, :]) ** 2).sum(axis=2)
    cost = errors[0]
    if overlap is not None:
        cost = np.where(y >> step_bits == overlap, cost, np.inf)
    back = []
    for error in errors[1:]:
        choice = np.argmin(cost[before], axis=1)
        back.append(before[y, choice])
        cost = cost[back[-1]] + error
    if overlap is not None:
        cost = np.where(y & (2 ** (state_bits - step_bits) - 1) == overlap, cost, np.inf)
    path = [int(np.argmin(cost))]
    for step in reversed(back):
        path.append(int(step[path[-1]]))
    return np.array(path[::-1])


def trellis_quantize(
    sequences: FloatArray,  # (S, T)
    values: Float64Array,  # (2^L, V)
    bits_per_weight: int,
    tail_biting: bool,
) -> tuple[States, Float64Array]:
    """The states of the path nearest to each sequence, and their values; costs in float64.

    A free path may begin and end anywhere and is the best there is. A tail-biting one is found in two passes: a free path of the sequence
    that is rotated by half says what the first state begins with, and then the best path is found that begins and ends so.

    Parameters
    ----------
    sequences : (S, T), V divides T
    values : (2^L, V)
    bits_per_weight : k, with kV ≤ L, and L ≤ kT if it is tail-biting
    tail_biting : whether the path closes to a circle

    Returns
    -------
    states : (S, T/V) int32
    reconstruction : (S, T)

    References
    ----------
    QTIP, arXiv 2406.11235, section 3.
    """
    (S, T), V = sequences.shape, values.shape[1]
    n, step_bits = T // V, bits_per_weight * V
    states = np.empty((S, n), dtype=np.int32)
    for s in range(S):
        x = sequences[s].astype(np.float64).reshape(n, V)
        overlap = None
        if tail_biting:
            overlap = int(_viterbi(np.roll(x, n // 2, axis=0), values, step_bits, None)[n // 2]) >> step_bits
        states[s] = _viterbi(x, values, step_bits, overlap)
    return states, values[states].reshape(S, T)


def trellis_pack(
    states: States,  # (S, n)
    state_bits: int,
    step_bits: int,
) -> NDArray[np.uint8]:
    """The circular bit strings of tail-biting paths, (S, n kV / 8): the kV high bits of one state after the other, highest bit first."""
    S, n = states.shape
    shifts = np.arange(state_bits - 1, state_bits - step_bits - 1, -1, dtype=np.int32)
    bits = (states[:, :, None] >> shifts) & np.int32(1)
    return np.packbits(bits.astype(np.uint8).reshape(S, n * step_bits), axis=1)


def trellis_unpack(
    codes: NDArray[np.uint8],  # (S, n kV / 8)
    state_bits: int,
    step_bits: int,
) -> States:
    """The states of circular bit strings, (S, n): state t is bits t kV … t kV + L − 1, after the last of which comes the first again."""
    bits = np.unpackbits(codes, axis=1)
    steps = np.zeros((len(codes), bits.shape[1] // step_bits), dtype=np.int32)
    for bit in range(step_bits):
        steps = (steps << np.int32(1)) | bits[:, bit::step_bits]
    # a state is the bits of as many steps as it takes, less those of the last one that are too many
    count = -(-state_bits // step_bits)
    states = steps.copy()
    for later in range(1, count):
        states <<= np.int32(step_bits)
        first = later % steps.shape[1]
        states[:, : steps.shape[1] - first] |= steps[:, first:]
        states[:, steps.shape[1] - first :] |= steps[:, :first]
    states >>= np.int32(count * step_bits - state_bits)
    return states
