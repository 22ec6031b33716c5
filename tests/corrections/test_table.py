from __future__ import annotations

import importlib

import pytest

from rdtools.corrections.table import CORRECTIONS, check_corrections, parse_corrections
from rdtools.errors import UsageError


def test_names_come_in_the_order_of_the_table():
    names = tuple(one.name for one in CORRECTIONS)
    assert parse_corrections("all") == parse_corrections(list(reversed(names))) == names
    assert parse_corrections(" rescale, drift,") == ("drift", "rescale")
    for one in CORRECTIONS:
        assert importlib.import_module(one.module).__doc__


@pytest.mark.parametrize(
    ("asked", "hessians", "message"),
    [
        ("drft", "sequential", "`corrections` 'drft': expected some of drift, residual, dead, rescale, attention, mixing, or all"),
        (",", "sequential", "`corrections` ',': no name in it; expected names of corrections, or nothing at all for none"),
        ([""], "sequential", "no name in it"),
        ("mixing", "sequential", "mixing: alone, where there is nothing to mix; add drift, attention or both"),
        ("residual", "sequential", "residual: without drift"),
        ("rescale,drift", "original", "drift with `hessians` original: it compares both models; choose sequential"),
    ],
)
def test_names_that_cannot_be_are_refused(asked, hessians, message):
    with pytest.raises(UsageError, match=message):
        check_corrections(asked, hessians)
