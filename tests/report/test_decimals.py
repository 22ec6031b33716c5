from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report.unpacking import unpack

from rdtools.records.about import Column
from rdtools.report.decimals import Decimals, decimals_of
from rdtools.report.packed import number_column, pack, text_column

NUMBERS = st.lists(st.floats(-1e5, 1e5) | st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, -1e-9]), min_size=1, max_size=20)
TINY = st.lists(st.floats(1e-300, 1e300) | st.floats(-1e300, -1e-300) | st.sampled_from([math.nan, 0.0, math.inf]), min_size=1, max_size=20)


def _shown(numbers, decimals):
    return unpack(pack({"t": [number_column("x", numbers, decimals)]}))["t"]["x"]


@given(NUMBERS, st.integers(0, 4))
def test_what_is_shown_is_the_number_as_printed(numbers, digits):
    shown = _shown(numbers, Decimals(digits))
    assert shown == [Decimals(digits).text(number) for number in numbers]
    for text, number in zip(shown, numbers, strict=True):
        if math.isfinite(number):
            assert float(text) == float(f"{number:.{digits}f}")
            assert text != "-" + "0." + "0" * digits


@given(TINY)
def test_numbers_of_any_size_keep_four_digits(numbers):
    decimals = Decimals(3, scientific=True)
    shown = _shown(numbers, decimals)
    assert shown == [decimals.text(number) for number in numbers]
    assert all(float(text) == float(f"{number:.3e}") for text, number in zip(shown, numbers, strict=True) if math.isfinite(number))


@given(NUMBERS | TINY)
def test_integers_are_in_the_order_of_what_is_shown(numbers):
    for decimals in (Decimals(4), Decimals(3, scientific=True)) if max(map(abs, filter(math.isfinite, numbers)), default=0) < 1e5 else ():
        finite = [number for number in numbers if math.isfinite(number)]
        shown = [float(decimals.text(number)) for number in finite]
        codes = decimals.integers(finite).tolist()
        assert all((a < b) == (x < y) for a, x in zip(codes, shown, strict=True) for b, y in zip(codes, shown, strict=True))


@pytest.mark.parametrize(
    ("unit", "values", "expected"),
    [
        ("bpw", [0.00012, 3.25], Decimals(4)),
        ("dB", [21.123], Decimals(2)),
        ("tokens", [131072, 2.5e9], Decimals(3, scientific=True)),
        ("", [4096, 14336, np.nan], Decimals(0)),
        ("", [0.5, 1.25], Decimals(4)),
        ("", [0.0, 0.009], Decimals(3, scientific=True)),
        ("bpw", [1.5e5], Decimals(3, scientific=True)),
        ("bpw", [], Decimals(4)),
    ],
)
def test_the_rounding_of_a_column_is_by_its_unit_unless_digits_would_be_lost(unit, values, expected):
    assert decimals_of(Column("x", unit, "measured", "a number", "x"), np.array(values, dtype=float)) == expected


@given(st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=30), st.lists(st.text(max_size=5), min_size=1, max_size=30))
def test_differences_and_texts_survive_and_one_table_has_one_block(numbers, texts):
    tables = {"a": [number_column("x", numbers, Decimals(0), delta=True)], "b": [text_column("t", texts)], "none": []}
    assert unpack(pack(tables)) == {"a": {"x": [str(n) for n in numbers]}, "b": {"t": texts}, "none": {}}
    assert pack(tables) == pack(tables)
