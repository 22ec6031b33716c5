from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from rdtools.records import MAX_LEVELS, CodeModel, LatticeCodes, ScalarCodes, TrellisCodes


@pytest.mark.parametrize(("settings", "message"), [
    ({"kind": "huffman"}, "entropy model 'huffman', expected one of fixed, shared, column, histogram"),
    ({"kind": "fixed"}, "0 levels of a fixed model"),
    ({"kind": "fixed", "levels": MAX_LEVELS + 1}, "65537 levels of a fixed model, expected 1 to 65536"),
    ({"kind": "shared", "levels": 4}, "4 levels of a shared model"),
    ({"kind": "column", "weight_std": -1.0}, "Gaussian model of -1.0"),
    ({"kind": "column", "noise_variance": float("nan")}, "expected finite numbers"),
    ({"kind": "histogram", "weight_std": 1.0}, "a histogram model with Gaussian numbers"),
])  # fmt: skip
def test_entropy_models_that_no_file_can_hold_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        CodeModel(**settings)


@pytest.mark.parametrize(("settings", "message"), [
    ({"zero_points": np.ones((2, 1), dtype=np.int8)}, "belong to row scales"),
    ({"group_size": 2}, "belong to row scales"),
    ({"integers": np.zeros((2, 3))}, r"integers of float64 and shape \(2, 3\), expected int32"),
    ({"integers": np.zeros(3, dtype=np.int32)}, r"integers of int32 and shape \(3,\)"),
    ({"step": 0.0, "model": CodeModel("column")}, "step 0.0 of a column model"),
    ({"step": float("inf")}, "step inf"),
    ({"gain_std": float("nan")}, "gain_std nan"),
    ({"offset": 0.25}, "offset 0.25, expected 0 or 0.5"),
    ({"group_size": -1, "row_scales": np.ones((2, 1))}, "group_size -1"),
    ({"step_exponents": np.zeros(2, dtype=np.uint8)}, r"step_exponents of uint8 and shape \(2,\), expected uint8 and \(3,\)"),
    ({"row_exponents": np.zeros(3, dtype=np.uint8)}, r"row_exponents of uint8 and shape \(3,\), expected uint8 and \(2,\)"),
    ({"row_scales": np.ones((2, 1)), "group_size": 2}, r"row_scales of float64 and shape \(2, 1\), expected float64 and \(2, 2\)"),
    ({"row_scales": np.ones((2, 1)), "zero_points": np.ones((2, 2), dtype=np.int8)}, "zero_points of int8"),
    ({"column_gains": np.ones(3, dtype=np.float32)}, "column_gains of float32"),
])  # fmt: skip
def test_integers_that_no_file_can_hold_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ScalarCodes(**{"integers": np.zeros((2, 3), dtype=np.int32), "step": 1.0, "model": CodeModel("shared"), **settings})


def test_a_grid_may_be_made_before_its_integers():
    grid = ScalarCodes(np.zeros((0, 3), dtype=np.int32), 1.0, CodeModel("shared"), row_scales=np.ones((5, 1)))
    assert dataclasses.replace(grid, integers=np.zeros((5, 3), dtype=np.int32)).integers.shape == (5, 3)
    with pytest.raises(ValueError, match="row_scales"):
        dataclasses.replace(grid, integers=np.zeros((4, 3), dtype=np.int32))


WORDS = np.zeros((2, 3), dtype=np.uint16)


@pytest.mark.parametrize(("arguments", "message"), [
    (((WORDS,), 5, 1.0), "lattice words of 5 bits in 1 stages"),
    (((WORDS,), 3, 1.0, 1.0), "3 bits in 1 stages, expected 2 in one, or 3 or 4 in two"),
    (((WORDS, WORDS[:1]), 4, 1.0, 1.0), r"words of uint16 and shape \(1, 3\), expected uint16 and \(2, 3\)"),
    (((WORDS.astype(np.int64),), 2, 1.0), "words of int64"),
    (((WORDS,), 2, float("nan")), "scale nan"),
    (((WORDS, WORDS), 4, 1.0), "residual_scale 0.0 at 4 bits"),
])  # fmt: skip
def test_lattice_words_that_no_file_can_hold_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        LatticeCodes(*arguments)


PATHS = np.zeros((1, 64), dtype=np.uint8)


@pytest.mark.parametrize(("arguments", "message"), [
    ((PATHS, "4inst", 12, 2, 1.0), "trellis code '4inst', expected one of 1mad, 3inst, hyb"),
    ((PATHS, "1mad", 21, 2, 1.0), "2 bits and 21 state bits"),
    ((PATHS, "1mad", 1, 2, 1.0), "2 bits and 1 state bits"),
    ((PATHS, "1mad", 12, 3, 1.0), r"paths of uint8 and shape \(1, 64\), expected uint8 and \('any', 96\)"),
    ((PATHS, "1mad", 12, 2, -1.0), "scale -1.0"),
])  # fmt: skip
def test_trellis_paths_that_no_file_can_hold_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        TrellisCodes(*arguments)
