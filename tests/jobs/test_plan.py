"""What is said to be impossible on every layer is, and what is not said is possible on some."""

from __future__ import annotations

import numpy as np
import pytest
from activations import quantize

import rdtools as rd
from rdtools.errors import RateUnreachable
from rdtools.methods import METHODS, infeasible_pairs, make_quantizers

RATES = (1.0, 2.0, 2.5, 3.0, 4.0, 8.5, 9.0)


TOKENS = np.random.default_rng(1).standard_normal((256, 32)) + 0.7


@pytest.fixture(scope="module")
def layer():
    """Large enough for every entropy coder to have every rate up to four bits."""
    return rd.Layer.from_activations(np.random.default_rng(0).standard_normal((64, 32)), TOKENS, name="q_proj")


#: Codebooks take memory and columns that depend on the layer; `tests/quantizers/methods/test_crvq.py` has their refusals.
_SAME_ON_EVERY_LAYER = [name for name, entry in METHODS.items() if "published" not in name and entry.family not in ("aqlm", "crvq")]


@pytest.mark.parametrize("method", _SAME_ON_EVERY_LAYER)
def test_a_pair_is_infeasible_exactly_where_it_is_refused_on_a_good_layer(method, layer):
    for rate in RATES:
        (quantizer,) = make_quantizers([method], [rate])
        reasons = infeasible_pairs([quantizer])
        if reasons:
            assert reasons[0].startswith(f"{method}: {rate:g} bits per weight cannot be reached")
            with pytest.raises(RateUnreachable, match="cannot be reached"):
                quantize(quantizer, layer, TOKENS)
        elif rate <= 4:
            assert abs(quantize(quantizer, layer, TOKENS).target_rate_bits - rate) == 0


def test_the_families_that_have_few_rates():
    names = ["rtn-midrise", "gptq-asym", "quip", "quip-sharp", "qtip", "gptq-waterfilled", "watersic", "watersic-mmse", "hptq"]
    at = {rate: {reason.partition(":")[0] for reason in infeasible_pairs(make_quantizers(names, [rate]))} for rate in RATES}
    fixed = {"rtn-midrise", "gptq-asym", "quip"}
    assert at[1.0] == {"quip-sharp"}
    assert at[2.0] == at[3.0] == at[4.0] == set()
    assert at[2.5] == fixed | {"quip-sharp", "qtip"}
    assert at[9.0] == {"gptq-asym", "quip-sharp", "qtip", "gptq-waterfilled"}
