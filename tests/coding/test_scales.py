from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rdtools.coding import octave_exponents, round_to_bfloat16


@given(arrays(np.float64, st.integers(1, 20), elements=st.floats(1e-3, 1e3)))
def test_steps_are_stored_to_a_sixteenth_of_an_octave(steps):
    stored = steps.min() * 2.0 ** (octave_exponents(steps) / 8)
    assert np.abs(np.log2(stored / steps)).max() <= 1 / 16 + 1e-6


def test_bfloat16_rounds_to_nearest_even_and_saturates():
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(0).uniform(0, 10, 1000) * 10.0 ** np.arange(-20, 20).repeat(25)
    expected = torch.tensor(values, dtype=torch.float32).to(torch.bfloat16).double().numpy()
    assert (round_to_bfloat16(values) == expected).all()
    assert np.isfinite(round_to_bfloat16(np.array([1e300]))).all()
