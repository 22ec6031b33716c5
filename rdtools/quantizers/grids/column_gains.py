"""Column scales of a decoder, and gains put into them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rdtools.coding import codec_of, round_to_bfloat16, spread_groups
from rdtools.records import ScalarCodes

Float64Array = NDArray[np.float64]


def code_values(codes: ScalarCodes) -> Float64Array:
    """(m, r) what the codes stand for, in the basis that was quantized."""
    return codec_of(codes).values(codes, codes.integers.shape[1])


def column_scales(codes: ScalarCodes) -> Float64Array:
    """(r,) what a code of 1 stands for, row scales apart: step times gains."""
    ones = np.ones((1, codes.integers.shape[1]), dtype=np.int32)
    return code_values(replace(codes, integers=ones, row_scales=None, row_exponents=None)).ravel()


def widest_steps(codes: ScalarCodes) -> Float64Array:
    """(r,) largest distance over the rows between neighbouring points of each column: steps times fitted gains and row scales."""
    steps = codes.column_steps if codes.column_gains is None else codes.column_steps * codes.column_gains
    if codes.row_scales is None:
        return steps
    return np.asarray(steps * spread_groups(codes.row_scales.max(axis=0, keepdims=True), codes.group_size, len(steps))[0])


def without_column_gains(codes: ScalarCodes) -> ScalarCodes:
    """The codes that `with_column_gains` begins with: no gains, and no steps but one unless the code model needs them."""
    if codes.model.kind == "column":
        return replace(codes, column_gains=None)
    return replace(codes, column_gains=None, step_exponents=None, gain_std=0.0)


def with_column_gains(codes: ScalarCodes, gains: Float64Array) -> ScalarCodes:
    """Codes with the gain of each column multiplied by a number, and stored in bfloat16.

    Only the normal laws of columns need to know steps: under any other model a step, the gain that follows from it and the stored gain
    become one number of 16 bits, as in the paper; coded steps alone take some 3 bits each.

    Parameters
    ----------
    codes : as `rdtools.records.ScalarCodes`
    gains : (r,) ≥ 0, what the present scales are multiplied by
    """
    bare = without_column_gains(codes)
    return replace(bare, column_gains=round_to_bfloat16(gains * column_scales(codes) / column_scales(bare)))
