"""Residual vector quantization with E8P: QuIP#'s codes of 2, 3 and 4 bits per weight."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rdtools.arrays import Float64Array, Matrix, as_dtype, dtype_name
from rdtools.errors import ShapeMismatch, UsageError
from rdtools.ops.arrays import FLOATS, check_arrays
from rdtools.ops.dispatch import dispatch
from rdtools.ops.registry import kernel
from rdtools.ops.vectors import e8p_nearest, e8p_words

WordCodes = tuple[NDArray[Any], ...]

#: Scale of the residual of least squared error on normal weights, by bits, found by search and flat there: 1 % costs less than 0.3 %.
RESIDUAL_SCALES = {3: 2.04, 4: 3.86}


def _residual_scale(name: str, bits: int, residual_scale: float | None) -> float:
    if bits not in (2, 3, 4):
        raise UsageError(f"{name}: {bits} bits, expected 2, 3 or 4")
    scale = RESIDUAL_SCALES.get(bits, 1.0) if residual_scale is None else float(residual_scale)
    if not 0 < scale < math.inf:
        raise UsageError(f"{name}: residual scale {residual_scale}, expected a positive number")
    return scale


def e8_short_nearest(
    vectors: Matrix,  # (k, 8)
    *,
    backend: str | None = None,
) -> tuple[Matrix, Matrix]:
    """The nearest of 256 short vectors of E8 to each vector; see `rdtools.kernels.e8p_residual_reference` for the words and their codes.

    Parameters
    ----------
    vectors : (k, 8) float64 or float32, finite, in units of the codebook
    backend : None, "numba" or "reference"

    Returns
    -------
    codes : (k,) uint8, int32 from torch
    words : (k, 8) in the dtype of the vectors, which holds them exactly

    Raises
    ------
    ShapeMismatch, UnsupportedDtype, BackendUnavailable

    Examples
    --------
    >>> codes, words = e8_short_nearest(np.full((1, 8), 0.4))
    >>> codes.tolist(), words.tolist()
    ([128], [[0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]])
    """
    check_arrays("e8_short_nearest", vectors=(vectors, "(k, 8)", FLOATS))
    chosen, (data,), convert = dispatch("e8_short_nearest", backend, vectors)
    codes, words = kernel("e8_short_nearest", chosen)(data)
    return convert(codes), convert(words)


def rvq_nearest(
    vectors: Matrix,  # (k, 8)
    bits: int,
    residual_scale: float | None = None,
    *,
    backend: str | None = None,
) -> tuple[WordCodes, Matrix]:
    """Quantize vectors of eight weights with 2, 3 or 4 bits per weight, the last two in two stages.

    2 bits: the nearest word of E8P. Then, with the error e that it leaves and the residual scale r, the second stage takes the nearest word
    v to ``r e`` in the short vectors of E8 (3 bits) or in E8P again (4 bits), and the value is ``w + v/r``. Each stage takes the word
    nearest to what it is given; the pair is not always the nearest pair.

    Parameters
    ----------
    vectors : (k, 8) float64 or float32, finite, in units of the codebook
    bits : 2, 3 or 4
    residual_scale : r; None for the best on normal weights, RESIDUAL_SCALES; without effect at 2 bits
    backend : None, "numba" or "reference"

    Returns
    -------
    codes : one array of (k,) uint16 for 2 bits; a second, uint8 for 3 bits and uint16 for 4
    values : (k, 8), what `rvq_decode` makes of the codes, in the dtype of the vectors

    Raises
    ------
    ShapeMismatch, UnsupportedDtype, UsageError, BackendUnavailable

    References
    ----------
    QuIP#, arXiv 2402.04396 v2, section 4.3.

    Examples
    --------
    >>> codes, values = rvq_nearest(np.full((1, 8), 0.8), 3, 8.0)
    >>> [code.tolist() for code in codes], values[0, 0].item()
    ([[0], [128]], 0.8125)
    """
    scale = _residual_scale("rvq_nearest", bits, residual_scale)
    first, words = e8p_nearest(vectors, backend=backend)
    if bits == 2:
        return (first,), words
    error = (vectors - words) * float(np.dtype(dtype_name(vectors)).type(scale))
    second, residual = e8_short_nearest(error, backend=backend) if bits == 3 else e8p_nearest(error, backend=backend)
    values = words + as_dtype(residual, "float64") / scale  # as `rvq_decode`, without looking up the words again
    return (first, second), as_dtype(values, dtype_name(vectors))


def rvq_decode(
    codes: WordCodes,
    bits: int,
    residual_scale: float | None = None,
) -> Float64Array:
    """The values of the codes that `rvq_nearest` gives with the same bits and scale, (k, 8) float64.

    Raises
    ------
    ShapeMismatch
        For a number of code arrays that does not belong to the bits, or arrays of unequal shape.
    UsageError
    """
    scale = _residual_scale("rvq_decode", bits, residual_scale)
    stages = 1 if bits == 2 else 2
    if len(codes) != stages or any(code.shape != codes[0].shape for code in codes):
        raise ShapeMismatch(f"rvq_decode: codes of shapes {[code.shape for code in codes]}, expected {stages} of one shape for {bits} bits")
    values = e8p_words(codes[0])
    if bits == 2:
        return values
    words: Float64Array = kernel("e8_short_words" if bits == 3 else "e8p_codewords")()
    values += words[codes[1]] / scale
    return values
