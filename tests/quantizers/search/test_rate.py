from __future__ import annotations

import numpy as np
import pytest

from rdtools.errors import RateUnreachable
from rdtools.moments.layer import Layer
from rdtools.quantizers import WaterSIC


def test_a_rate_that_jumps_is_said_with_a_remedy_that_works():
    """H of condition 1e11 with 16 rows: the steps on both sides of the jump are the same to a billionth."""
    Q, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((64, 64)))
    rng = np.random.default_rng(0)
    rng.standard_normal((64, 64))
    layer = Layer.of(rng.standard_normal((16, 64)), (Q * 10 ** np.linspace(-11, 0, 64)) @ Q.T)
    with pytest.raises(RateUnreachable, match=r"4 bits .*the rate jumps from 3\.\d+ to 4\.\d+ between .*damping=1e-4"):
        WaterSIC(rate_bits=4).quantize(layer)
    assert WaterSIC(rate_bits=4, damping=1e-4).quantize(layer).symbol_rate_bits == pytest.approx(4, abs=0.01)
