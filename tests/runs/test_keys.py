"""Everything that decides a row's numbers is in its key."""

from __future__ import annotations

import pytest

from rdtools.runs import keys
from rdtools.runs.keys import curves_key, layer_key, row_key

LAYER = {"weights": {"model.safetensors": "w"}, "hessian": "h", "tokens": (10, 0)}


@pytest.mark.parametrize("change", [{"weights": {"model.safetensors": "v"}}, {"hessian": "g"}, {"tokens": (9, 0)}, {"tokens": (10, 1)}])
def test_another_layer_has_another_key(change):
    assert layer_key("a", **LAYER) == layer_key("a", **LAYER)
    assert layer_key("a", **LAYER) != layer_key("b", **LAYER)
    assert layer_key("a", **LAYER) != layer_key("a", **(LAYER | change))


@pytest.mark.parametrize("change", [{"layer": "l"}, {"settings": "RTN(x)"}, {"rate_bits": 3.0000000000000004}, {"seed": 1}])
def test_another_row_has_another_key(change):
    row = {"layer": "k", "settings": "RTN()", "rate_bits": 3.0, "seed": 0}
    assert row_key(**row) == row_key(**row)
    assert row_key(**row) != row_key(**(row | change))


def test_another_version_of_the_numbers_has_other_keys(monkeypatch):
    before = row_key("k", settings="RTN()", rate_bits=3, seed=0), curves_key("k", rates=[1.0])
    monkeypatch.setattr(keys, "NUMBERS_VERSION", keys.NUMBERS_VERSION + 1)
    after = row_key("k", settings="RTN()", rate_bits=3, seed=0), curves_key("k", rates=[1.0])
    assert not set(before) & set(after)
    assert curves_key("k", rates=[1.0]) != curves_key("k", rates=[1.0, 2.0])
