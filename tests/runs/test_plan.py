"""The plan of a run: what was asked for, in the order in which it was."""

from __future__ import annotations

import pytest

from rdtools.errors import CorruptFile, UsageError
from rdtools.runs.plan import PLAN, PlannedMethod, RunPlan, read_plan, write_plan


def _entry(method, rate, layers=None, settings="", seed=0):
    return PlannedMethod(method=method, settings=f"{method}({settings})", rate_bits=rate, seed=seed, layers=layers)


def _order(plan):
    return [(entry.method, entry.rate_bits) for entry in plan.methods]


def test_methods_stay_in_the_order_first_asked_for_and_rates_ascend():
    plan = RunPlan().extended([_entry("b", 3.0), _entry("a", 3.0)]).extended([_entry("c", 1.0), _entry("a", 2.0)])
    assert _order(plan) == [("b", 3.0), ("a", 2.0), ("a", 3.0), ("c", 1.0)]


def test_extending_by_what_is_there_changes_nothing():
    plan = RunPlan().extended([_entry("b", 3.0), _entry("a", 3.0)])
    assert plan.extended([_entry("a", 3.0)]) == plan


def test_layers_are_united():
    plan = RunPlan().extended([_entry("a", 3.0, ["x"])]).extended([_entry("a", 3.0, ["y", "x"])])
    assert plan.methods[0].layers == ["x", "y"]
    assert plan.extended([_entry("a", 3.0)]).methods[0].layers is None
    assert plan.extended([_entry("a", 3.0)]).extended([_entry("a", 3.0, ["z"])]).methods[0].layers is None


def test_the_top_rate_is_that_of_the_methods_of_a_layer():
    plan = RunPlan().extended([_entry("a", 3.0), _entry("b", 5.0, ["x"])])
    assert (plan.top_rate("x"), plan.top_rate("y"), RunPlan().top_rate("x")) == (5.0, 3.0, 0.0)


def test_one_name_with_two_settings_is_refused_and_another_seed_is_not():
    plan = RunPlan().extended([_entry("a", 3.0)])
    with pytest.raises(UsageError, match=r"rows of this method with other settings, a\(\) instead of a\(damping=1\).*`fresh`"):
        plan.extended([_entry("a", 2.0, settings="damping=1")])
    assert len(plan.extended([_entry("a", 3.0, seed=1)]).methods) == 2


def test_a_plan_is_read_as_it_was_written(tmp_path):
    plan = RunPlan().extended([_entry("a", 2.5, ["x"]), _entry("b", 0.1)])
    write_plan(plan, tmp_path)
    assert read_plan(tmp_path) == plan
    assert read_plan(tmp_path / "none") == RunPlan()


@pytest.mark.parametrize("text", ["", "{", "[" * 9999, '{"format": "other"}', '{"version": 3}', '{"methods": [{"method": "a"}]}'])
def test_a_damaged_plan_is_named(text, tmp_path):
    (tmp_path / PLAN).write_text(text)
    with pytest.raises(CorruptFile, match=r"plan\.json: altered since it was written.*delete it"):
        read_plan(tmp_path)


@pytest.mark.parametrize("version", [1, 3])
def test_a_plan_of_another_rdtools_is_told_from_an_altered_one(version, tmp_path):
    """Version 1 was not sealed; deleting the file, as the message says, is a remedy."""
    (tmp_path / PLAN).write_text(f'{{"format": "rdtools-plan", "version": {version}, "methods": []}}')
    with pytest.raises(CorruptFile, match=rf"plan\.json: of another rdtools: format version {version}, .* version 2; delete it and give"):
        read_plan(tmp_path)
    (tmp_path / PLAN).unlink()
    assert read_plan(tmp_path) == RunPlan()
