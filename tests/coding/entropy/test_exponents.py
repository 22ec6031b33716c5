from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rdtools.coding.entropy.exponents import exponent_bytes, read_exponents
from rdtools.coding.fields import Reader


@given(arrays(np.uint8, st.integers(0, 40)))
def test_exponents_come_back_in_the_shorter_form(exponents):
    data = exponent_bytes(exponents)
    reader = Reader(data, "x")
    assert (read_exponents(reader, len(exponents)) == exponents).all()
    reader.finish()
    assert len(data) <= 1 + len(exponents)


def test_exponents_near_each_other_take_about_their_entropy():
    """4096 of a rounded Gaussian model of standard deviation 3: log2(3 √(2πe)) = 3.63 bits each."""
    exponents = np.rint(100 + 3 * np.random.default_rng(0).standard_normal(4096)).astype(np.uint8)
    assert 8 * len(exponent_bytes(exponents)) == pytest.approx(3.63 * 4096, rel=0.01)
