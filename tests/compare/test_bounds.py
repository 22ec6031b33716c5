from __future__ import annotations

import numpy as np
import pytest
from tolerances import rounding

from rdtools.compare import BOUNDS, layer_facts
from rdtools.moments.layer import Layer
from rdtools.moments.synthetic import haar_moment, power_law


@pytest.mark.parametrize("name", BOUNDS)
def test_rate_and_distortion_are_inverse(name, rng):
    scales = np.exp(rng.standard_normal((32, 1)))
    facts = layer_facts(Layer.of(scales * rng.standard_normal((32, 16)), haar_moment(power_law(16, 1.0), rng)))
    for rate in (0.3, 2.0, 5.0):
        distortion = float(BOUNDS[name].distortion(facts, rate))
        assert BOUNDS[name].rate(facts, distortion) == pytest.approx(rate, rel=rounding(512, condition=100))
    assert BOUNDS["rd_bound_rowvar"].distortion(facts, 2.0) < BOUNDS["rd_bound"].distortion(facts, 2.0)


def test_bounds_say_what_their_decoder_knows():
    assert all(bound.label and bound.decoder and name == bound.name for name, bound in BOUNDS.items())
