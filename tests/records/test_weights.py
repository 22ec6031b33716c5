from __future__ import annotations

import numpy as np
import pytest

from rdtools.records import (
    MAX_LEVELS,
    AdditiveCodes,
    Gains,
    GaussianModel,
    LatticeWords,
    RowScales,
    ScalarSymbols,
    SharedHistogram,
    TrellisPaths,
    Uniform,
    UniformGrid,
)

INTEGERS = np.zeros((2, 3), dtype=np.int32)
TWO, THREE, ONES = np.zeros(2, dtype=np.uint8), np.zeros(3, dtype=np.uint8), np.ones((2, 1))


@pytest.mark.parametrize(("make", "message"), [
    (lambda: GaussianModel(-1.0), "Gaussian model of -1.0"),
    (lambda: GaussianModel(1.0, float("nan")), "expected finite numbers"),
    (lambda: GaussianModel(row_exponents=TWO.astype(np.int8)), "row exponents of int8"),
    (lambda: Gains(float("nan")), "lmmse_std nan"),
    (lambda: Gains(columns=np.ones(3, dtype=np.float32)), "column gains of float32"),
    (lambda: RowScales(ONES, group_size=-1), "group_size -1"),
    (lambda: RowScales(ONES, np.ones((2, 2), dtype=np.int8)), r"zero points of int8 and shape \(2, 2\), expected int8 and \(2, 1\)"),
    (lambda: UniformGrid(float("inf")), "step inf"),
    (lambda: UniformGrid(1.0, offset=0.25), "offset 0.25, expected 0 or 0.5"),
    (lambda: UniformGrid(1.0, levels=MAX_LEVELS + 1), "65537 levels of a grid, expected 1 to 65536"),
    (lambda: UniformGrid(1.0, np.zeros(3)), "step exponents of float64"),
])  # fmt: skip
def test_grids_and_models_that_no_file_can_hold_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(("settings", "message"), [
    ({"integers": np.zeros((2, 3))}, r"integers of float64 and shape \(2, 3\), expected int32"),
    ({"integers": np.zeros(3, dtype=np.int32)}, r"integers of int32 and shape \(3,\)"),
    ({"model": Uniform()}, "0 levels under a Uniform"),
    ({"grid": UniformGrid(1.0, levels=4)}, "4 levels under a SharedHistogram"),
    ({"grid": UniformGrid(0.0), "model": GaussianModel()}, "step 0 beside a Gaussian model"),
    ({"grid": UniformGrid(1.0, TWO)}, r"step exponents of uint8 and shape \(2,\), expected uint8 and \(3,\)"),
    ({"model": GaussianModel(row_exponents=THREE)}, r"row exponents of uint8 and shape \(3,\), expected uint8 and \(2,\)"),
    ({"grid": UniformGrid(1.0, rows=RowScales(ONES, group_size=2))}, r"row scales of float64 and shape \(2, 1\), .* \(2, 2\)"),
    ({"grid": UniformGrid(1.0, rows=RowScales(ONES[:1]))}, r"row scales of float64 and shape \(1, 1\), expected float64 and \(2, 1\)"),
    ({"gains": Gains(columns=np.ones(2))}, r"column gains of float64 and shape \(2,\), expected float64 and \(3,\)"),
])  # fmt: skip
def test_integers_that_do_not_fit_their_grid_and_model_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ScalarSymbols(**{"integers": INTEGERS, "grid": UniformGrid(1.0), "model": SharedHistogram(), **settings})


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
        LatticeWords(*arguments)


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
        TrellisPaths(*arguments)


WORDS_OF_EIGHT, ORDER = np.zeros((4, 8)), np.arange(16)


@pytest.mark.parametrize(("settings", "message"), [
    ({"codebooks": ()}, "codebooks of .. bits, 1 of them basic"),
    ({"codebooks": (WORDS_OF_EIGHT, WORDS_OF_EIGHT[:2], WORDS_OF_EIGHT)}, "expected equal ones of either kind"),
    ({"codebooks": (WORDS_OF_EIGHT[:3], WORDS_OF_EIGHT)}, r"codebook of float64 and shape \(3, 8\), expected float64 and \(4, 8\)"),
    ({"critical": 0}, "16 columns, 0 critical groups and 1 extended codebooks"),
    ({"critical": 3}, "16 columns, 3 critical groups"),
    ({"order": ORDER[:12]}, "12 columns"),
    ({"codes": np.zeros((2, 2), dtype=np.uint16)}, r"codes of uint16 and shape \(2, 2\), expected uint16 and \(2, 3\)"),
    ({"codes": np.full((2, 3), 4, dtype=np.uint16)}, "a code beyond the words of its codebook"),
    ({"scales": np.ones(2, dtype=np.float32)}, "row scales of float32"),
    ({"stored": "all"}, "order stored as 'all', expected one of natural, set, permutation"),
    ({"order": np.roll(ORDER, 1)}, "order of columns stored as set, expected each once, ascending"),
    ({"order": np.zeros(16, dtype=np.int64), "stored": "permutation"}, "expected each once"),
    ({"order": np.arange(2**17 + 8), "codes": np.zeros((2, 2**14 + 2), dtype=np.uint16)}, "a set of critical columns of 131080"),
])  # fmt: skip
def test_additive_codes_that_no_file_can_hold_are_refused(settings, message):
    good = {
        "codes": np.zeros((2, 3), dtype=np.uint16),
        "codebooks": (WORDS_OF_EIGHT, WORDS_OF_EIGHT),
        "scales": np.ones(2),
        "order": ORDER,
        "stored": "set",
        "basic": 1,
        "critical": 1,
    }
    AdditiveCodes(**good)
    with pytest.raises(ValueError, match=message):
        AdditiveCodes(**good | settings)
