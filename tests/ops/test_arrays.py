from __future__ import annotations

import numpy as np
import pytest
import torch

from rdtools.errors import ShapeMismatch, UnsupportedDtype
from rdtools.ops.arrays import FLOATS, check_arrays


def test_sizes_agree_across_arguments():
    W, H, steps = np.zeros((2, 3)), np.zeros((3, 3)), np.zeros(3, dtype=np.int8)
    check_arrays("op", W=(W, "(m, n)", FLOATS), H=(torch.from_numpy(H), "(n, n)", FLOATS), steps=(steps, "(n,)", ()))
    with pytest.raises(ShapeMismatch, match=r"op: W \(2, 3\), H \(2, 2\); expected \(m, n\), \(n, n\)"):
        check_arrays("op", W=(W, "(m, n)", FLOATS), H=(np.zeros((2, 2)), "(n, n)", FLOATS))
    with pytest.raises(ShapeMismatch, match=r"expected \(n, n\)"):
        check_arrays("op", W=(W, "(n, n)", FLOATS))


@pytest.mark.parametrize(
    ("shape", "expected", "fits"),
    [
        ((4, 8), "(k, 8)", True),
        ((4, 7), "(k, 8)", False),
        ((8,), "(k, 8)", False),
        ((5,), "(n,) or (m, n)", True),
        ((2, 5), "(n,) or (m, n)", True),
        ((1, 2, 5), "(n,) or (m, n)", False),
        ((1, 2, 5), "(..., n)", True),
        ((), "(..., n)", False),
    ],
)
def test_shapes_are_compared_by_rank_number_and_alternative(shape, expected, fits):
    if fits:
        check_arrays("op", x=(np.zeros(shape), expected, FLOATS))
    else:
        with pytest.raises(ShapeMismatch, match=r"op: x \("):
            check_arrays("op", x=(np.zeros(shape), expected, FLOATS))


@pytest.mark.parametrize("x", [np.zeros(2, dtype=np.int64), torch.zeros(2, dtype=torch.int64)])
def test_a_dtype_that_is_not_taken_is_named_with_those_that_are(x):
    with pytest.raises(UnsupportedDtype, match="op: x of int64, expected float64 or float32; convert it"):
        check_arrays("op", x=(x, "(n,)", FLOATS))
