from __future__ import annotations

from types import SimpleNamespace

from rdtools.model.sequential import steps_of


def _input(*names):
    return SimpleNamespace(name=names[0], layers=[SimpleNamespace(name=name) for name in names])


def test_experts_take_one_step_and_other_inputs_one_each():
    """Gate and up of all experts before any of their down projections; q, k, v together, then o."""
    attention = [_input("m.layers.0.q_proj", "m.layers.0.k_proj"), _input("m.layers.0.o_proj")]
    experts = [
        _input(*(f"m.layers.0.experts.{number}.{part}" for part in parts))
        for number in range(3)
        for parts in (("gate_proj", "up_proj"), ("down_proj",))
    ]
    names = [[item.name.removeprefix("m.layers.0.") for item in step] for step in steps_of([*attention, *experts])]
    assert names == [
        ["q_proj"],
        ["o_proj"],
        [f"experts.{number}.gate_proj" for number in range(3)],
        [f"experts.{number}.down_proj" for number in range(3)],
    ]
