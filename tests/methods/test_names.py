"""Names of methods read and write each other; every method has one, and a look of its own."""

from __future__ import annotations

import dataclasses
import json
import types
import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rdtools as rd
from rdtools.cli.main import main
from rdtools.errors import InvalidRate, RateUnreachable, UnknownMethod, UsageError
from rdtools.methods import (
    DEFAULT_METHODS,
    METHODS,
    RENAMED,
    format_method,
    infeasible_reason,
    make_quantizers,
    meaning_notes,
    parse_method,
)
from rdtools.ops import COSET_STATES
from rdtools.quantizers import GPTQ
from rdtools.transforms.orders import ORDERS

CLASSES = tuple(sorted({type(parse_method(name, 3)) for name in METHODS}, key=lambda kind: kind.__name__))
#: Numbers that a setting takes where its type says no more than that it is one.
NUMBERS = {
    "damping": st.floats(0, 1e9),
    "ridge": st.floats(0, 1e9),
    "smoothing": st.floats(0.001, 1.0),
    "slack": st.floats(0, 1e9),
    "half_range": st.floats(1e-300, 1e300),
    "dead_threshold": st.floats(0, 1),
    "passes": st.integers(0, 10**9),
    "group_size": st.integers(1, 10**9),
    "adaptive_columns": st.sampled_from((0, 1, 512, 4096)),
    "rank": st.floats(0.001, 1.0),
    "share": st.floats(0.001, 0.999),
    "fine_bits": st.integers(2, 8),
    "rounds": st.integers(1, 100),
    "correction_rank": st.integers(0, 100),
    **dict.fromkeys(("threshold", "max_expansion"), st.floats(0.01, 1.0)),
    "activation_bits": st.integers(2, 16),
    "activation_clip": st.floats(0.01, 1.0),
    "activation_group": st.integers(0, 10**9),
    "weight_bits": st.integers(2, 16),
    "segment": st.integers(1, 2**31 - 1),
    "states": st.sampled_from(COSET_STATES),
    "state_bits": st.sampled_from((12, 16)),
    "tolerance": st.floats(0, 0.99),
    "learning_rate": st.floats(1e-9, 1.0),
    **dict.fromkeys(("bits", "extended_bits"), st.integers(1, 16)),
    **dict.fromkeys(("basic", "extended", "epochs", "steps", "beam", "iterations"), st.integers(1, 100)),
}


def _values(name, hint):
    """Every value of a setting's type."""
    if name == "order":
        return st.sampled_from(sorted(ORDERS))
    if name == "backend":
        return st.sampled_from((None, "numba", "reference"))
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return st.one_of(*(_values(name, part) for part in typing.get_args(hint)))
    if typing.get_origin(hint) is typing.Literal:
        return st.sampled_from(typing.get_args(hint))
    if hint is type(None):
        return st.none()
    return st.booleans() if hint is bool else NUMBERS[name]


@st.composite
def quantizers(draw):
    """A quantizer of any class with any settings that go together."""
    kind = draw(st.sampled_from(CLASSES))
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind) if field.name != "rate_bits"]
    changed = draw(st.sets(st.sampled_from(names)))
    settings = {name: draw(_values(name, hints[name])) for name in sorted(changed)}
    try:
        return kind(rate_bits=3, **settings)
    except UsageError:  # settings that contradict each other: dynamic groups without groups, say
        return kind(rate_bits=3)


@given(quantizers())
def test_a_name_is_read_back_as_the_very_quantizer(quantizer):
    name = format_method(quantizer)
    assert parse_method(name, 3) == quantizer
    assert format_method(parse_method(name, 3)) == name


def test_every_setting_of_every_class_is_in_the_property():
    """A setting whose type the strategy does not know, such as a record, would be one that has no name."""
    for kind in CLASSES:
        hints = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            assert field.name == "rate_bits" or _values(field.name, hints[field.name]) is not None


def test_every_entry_is_its_own_name_and_no_other():
    made = {name: parse_method(name, 3) for name in METHODS}
    assert {format_method(quantizer) for quantizer in made.values()} == set(METHODS)
    assert len(set(made.values())) == len(METHODS)


def test_no_two_entries_share_a_look():
    assert len({(entry.color, entry.marker) for entry in METHODS.values()}) == len(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_the_rates_of_an_entry_are_those_that_it_has(name):
    rates = METHODS[name].rates
    ends = [min(rates["values"]), max(rates["values"])] if "values" in rates else [rates["min"], rates["max"]]
    for rate in rates.get("values", ends):
        assert infeasible_reason(parse_method(name, rate)) is None
    for rate in (ends[0] - 1, ends[1] + 1):
        try:
            assert infeasible_reason(parse_method(name, rate)) is not None
        except (InvalidRate, RateUnreachable):
            continue


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gtpq", "did you mean gptq"),
        ("gptq-int", "called 'gptq-midrise' since version 0.2"),
        ("gptq-int-g128-asym+haar", "called 'gptq-g128-asym+haar' since version 0.2"),
        ("hptq+hadamrd", "did you mean +hadamard"),
        ("hptq+act-order+haar+haar", "two values of rotation"),
        ("rtn+act-order", "rtn has no order of columns to choose"),
        ("qtip+rotation", "+rotation by default"),
        ("gptq(size=3)", "gptq has the settings damping,"),
        ("gptq(", "unknown method 'gptq('"),
        ("", "unknown method ''"),
    ],
)
def test_a_name_that_is_none_is_refused_with_what_may_be_meant(name, said):
    with pytest.raises(UnknownMethod) as caught:
        parse_method(name, 3)
    assert said in str(caught.value)


def test_old_names_are_none_of_todays_and_the_new_ones_are():
    assert not set(RENAMED) & set(METHODS)
    assert set(RENAMED.values()) <= set(METHODS)
    for old, new in RENAMED.items():
        with pytest.raises(UnknownMethod, match=new):
            parse_method(old, 3)


def test_one_bit_on_a_grid_with_a_zero_level_is_refused_with_the_grid_that_has_it():
    for name in ("rtn", "gptq"):
        assert f"{name}-midrise" in str(infeasible_reason(parse_method(name, 1)))
        assert infeasible_reason(parse_method(f"{name}-midrise", 1)) is None


def test_settings_beside_a_name():
    assert rd.quantizer("gptq", 3, group_size=64, damping=0.1) == GPTQ(rate_bits=3, group_size=64, damping=0.1)
    with pytest.raises(UsageError, match="given by the name too"):
        rd.quantizer("gptq(group_size=64)", 3, group_size=32)
    with pytest.raises(UsageError, match="expected one of damping"):
        rd.quantizer("gptq", 3, groupsize=32)
    (own, other) = make_quantizers(["hptq(damping=0.5)", "hptq"], [3.0], damping=0.01)
    assert (own.damping, other.damping) == (0.5, 0.01)


def test_what_rtn_and_gptq_mean_is_said_unless_the_entropy_coded_form_is_there():
    assert len(meaning_notes(["rtn", "gptq(group_size=64)+haar"])) == 2
    assert meaning_notes(["rtn", "hrtn-column", "gptq", "hptq+haar", "watersic"]) == meaning_notes(DEFAULT_METHODS) == []


def test_the_command_and_the_function_give_the_same_records(capsys):
    assert main(["methods", "--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert records == rd.methods().to_dict("records")
    assert all(set(record) == {"name", "family", "rates", "device", "paper", "description"} for record in records)
    assert all(set(record["rates"]) in ({"values"}, {"min", "max"}) for record in records)
    assert main(["methods"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in METHODS)
