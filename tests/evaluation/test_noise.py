from __future__ import annotations

import numpy as np

from rdtools.evaluation.noise import rounding_noise
from rdtools.records.stored import bfloat16_patterns, bfloat16_values


def test_noise_is_as_large_as_rounding_to_bfloat16(rng):
    """Uniform within ± half a spacing: never above 2^−8 of a weight; mean square over that of real rounding 1 within 4 standard errors."""
    weight = rng.standard_normal((200, 200))
    weight[0, 0] = 0.0
    noisy = rounding_noise(weight, "q", seed=0).matrix
    assert (np.abs(noisy - weight) <= 2.0**-8 * np.abs(weight)).all()
    assert noisy[0, 0] == 0
    rounded = bfloat16_values(bfloat16_patterns(weight))
    squares = [(of - weight) ** 2 for of in (noisy, rounded)]
    spread = sum(of.var() / of.size / of.mean() ** 2 for of in squares) ** 0.5
    assert abs(np.log(squares[0].mean() / squares[1].mean())) < 4 * spread
    assert np.array_equal(noisy, rounding_noise(weight, "q", seed=0).matrix)
    assert not np.array_equal(noisy, rounding_noise(weight, "k", seed=0).matrix)
