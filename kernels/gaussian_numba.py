"""Portable standard normal numbers in compiled loops; without fastmath LLVM neither contracts nor reorders what is written here."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from rdtools.kernels._jit import jit
from rdtools.kernels.gaussian_reference import ARTANH, LN2, SQRT_HALF
from rdtools.kernels.philox_numba import words

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_SPARE = np.uint64(11)


@jit(nogil=True, error_model="numpy")
def _symmetric_uniform(low, high):  # type: ignore[no-untyped-def]
    return (np.float64(np.int64(((high << _HALF) | low) >> _SPARE)) - (2.0**52 - 0.5)) * 2.0**-52


@jit(nogil=True, error_model="numpy")
def _minus_log(s):  # type: ignore[no-untyped-def]
    fraction, exponent = math.frexp(s)
    octaves = np.float64(exponent)
    if fraction < SQRT_HALF:
        fraction, octaves = fraction * 2.0, octaves - 1.0
    f = (fraction - 1.0) / (fraction + 1.0)
    square = f * f
    series = 0.0
    for coefficient in ARTANH:
        series = series * square + coefficient
    return (0.0 - octaves) * LN2 - (2.0 * f) * series


@jit(nogil=True, error_model="numpy")
def _fill(seed, stream, first_pair, numbers):  # type: ignore[no-untyped-def]
    for t in range(numbers.shape[0]):
        pair = first_pair + np.uint64(t)
        attempt = np.uint64(0)
        s = 2.0
        u = v = 0.0
        while s >= 1.0:
            w0, w1, w2, w3 = words(pair & _LOW, pair >> _HALF, attempt, stream, seed)
            u, v = _symmetric_uniform(w0, w1), _symmetric_uniform(w2, w3)
            s = u * u + v * v
            attempt += np.uint64(1)
        radius = math.sqrt((2.0 * _minus_log(s)) / s)
        numbers[t, 0], numbers[t, 1] = u * radius, v * radius


def portable_normal(seed: int, stream: int, first: int, count: int) -> NDArray[np.float64]:
    """Same as `rdtools.kernels.gaussian_reference.portable_normal`, to the bit."""
    first_pair = first // 2
    numbers = np.empty(((first + count + 1) // 2 - first_pair, 2))
    _fill(np.uint64(seed), np.uint64(stream), np.uint64(first_pair), numbers)
    return numbers.reshape(-1)[first % 2 : first % 2 + count]
