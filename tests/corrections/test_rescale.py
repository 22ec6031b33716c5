"""Scales of columns and rows on decided integers: fitted, stored, counted and decoded."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rdtools.coding import decode, encode, reconstruct
from rdtools.corrections.rescale import rescaled_weight
from rdtools.measure.point import same_weight
from rdtools.methods import parse_method
from rdtools.moments.layer import Layer


def _case(method, gains, bits=2.0):
    """A quantized layer, an ideal that is off by a factor for each column, and the Hessian."""
    rng = np.random.default_rng(0)
    A = rng.standard_normal((16, 16)) * np.exp(0.5 * rng.standard_normal(16))
    H = A.T @ A / 16 + 0.1 * np.eye(16)
    W = rng.standard_normal((256, 16))
    answer = parse_method(method, bits).quantize(Layer.of(W, H))
    return answer.weight, W * gains, H


@pytest.mark.parametrize("method", ["hptq", "hptq+haar", "watersic-mmse", "watersic-trellis", "quip-sharp"])
def test_column_scales_are_least_squares_and_survive_the_file(method):
    """γ near the least squares solution on the whole design matrix; the file decodes to the same record, and has 16 bits more a column."""
    gains = np.linspace(0.5, 1.5, 16)
    weight, ideal, H = _case(method, gains)
    found, which = rescaled_weight(weight, ideal, H)
    assert "columns" in which
    if which == "columns":
        L, V = np.linalg.cholesky(H), reconstruct(weight)
        design = np.stack([np.outer(V[:, j], L[j]).ravel() for j in range(16)], axis=1)
        best = np.linalg.lstsq(design, (ideal @ L).ravel(), rcond=None)[0]
        left = [np.sum(((ideal - V) @ L) ** 2) for V in (reconstruct(weight) * best, reconstruct(found))]
        assert left[0] <= left[1] <= left[0] * 1.001  # of rounding to bfloat16, squared 2^-18 of the energy
    assert same_weight(decode(encode(found).data), found)
    more = len(encode(found).data) - len(encode(weight).data)
    rows = 2 * 256 if "rows" in which else 0
    assert abs(more - rows - 2 * 16) <= 8  # and headers of parts


def test_scales_that_do_not_pay_are_not_stored():
    """Of weights that are as they were quantized, no scale is worth 16 bits where there are few rows."""
    weight, ideal, H = _case("hptq", 1.0, bits=4)
    found, which = rescaled_weight(weight, ideal, H)
    assert which == "none"
    assert same_weight(found, weight)


def test_row_scales_are_stored_where_rows_differ():
    weight, ideal, H = _case("hptq", 1.0, bits=3)
    t = np.exp(np.random.default_rng(1).standard_normal(256))
    found, which = rescaled_weight(weight, ideal * t[:, None], H)
    assert "rows" in which
    assert same_weight(decode(encode(found).data), found)

    def error(V):
        E = ideal * t[:, None] - V
        return np.einsum("ij,jk,ik->", E, H, E)

    gain = 0.5 * 256 * 16 * math.log2(error(reconstruct(weight)) / error(reconstruct(found)))
    assert gain > 8 * (len(encode(found).data) - len(encode(weight).data))
    trellis, _, _ = _case("watersic-trellis", 1.0, bits=3)
    assert "rows" not in rescaled_weight(trellis, ideal * t[:, None], H)[1]  # whose file has no place for them
