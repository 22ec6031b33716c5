from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdtools.errors import UsageError
from rdtools.methods import DEFAULT_METHODS, METHODS
from rdtools.report.style import PALETTE, method_looks, method_style
from rdtools.transforms.orders import ORDERS

NAMES = [
    name + rotation + order
    for name in (*METHODS, "quip-published", "a-method-of-the-future", "another")
    for rotation in ("", "+rotation", "+haar", "+hadamard", "+kronecker")
    for order in ("", *(f"+{order}" for order in ORDERS))
]


def _look(style):
    return tuple(sorted(style.items()))


@given(st.lists(st.sampled_from(NAMES), max_size=40, unique=True), st.randoms())
def test_no_two_methods_look_alike_and_their_order_does_not_matter(names, random):
    looks = method_looks(names)
    assert len({_look(look) for look in looks.values()}) == len(names)
    assert all(look["color"] in PALETTE for look in looks.values())
    random.shuffle(names)
    assert method_looks(names) == looks


def test_forty_methods_of_one_family_look_different():
    names = [f"gptq-{k}" for k in range(40)]
    assert len({_look(look) for look in method_looks(names).values()}) == 40


def test_default_methods_have_the_look_that_each_has_alone():
    looks = method_looks(DEFAULT_METHODS)
    assert looks == {name: method_style(name) for name in DEFAULT_METHODS}


def test_variants_keep_the_colour_of_their_family():
    looks = method_looks(["quip", "quip-published", "hptq", "hptq+rotation", "hptq+haar", "hptq+act-order", "hptq+haar+act-order"])
    assert looks["quip"]["color"] == looks["quip-published"]["color"]
    assert len({look["color"] for name, look in looks.items() if name.startswith("hptq")}) == 1
    assert looks["hptq+rotation"]["markerfacecolor"] == looks["hptq+haar"]["markerfacecolor"] == "white"
    assert looks["hptq+act-order"]["fillstyle"] == "left"
    assert looks["hptq+haar+act-order"]["fillstyle"] == "bottom"


def test_more_methods_than_looks_are_refused():
    with pytest.raises(UsageError, match="draw fewer"):
        method_looks(map(str, range(1000)))


def test_colours_differ_in_lightness_or_hue_for_every_kind_of_vision():
    """Okabe and Ito's palette; the grey is no other colour for the three kinds of colour blindness, simulated by the matrices of Viénot."""
    matrices = {
        "protan": ((0.152, 1.053, -0.205), (0.115, 0.786, 0.099), (-0.004, -0.048, 1.052)),
        "deutan": ((0.367, 0.861, -0.228), (0.280, 0.673, 0.047), (-0.012, 0.043, 0.969)),
        "tritan": ((1.256, -0.077, -0.179), (-0.078, 0.931, 0.148), (0.005, 0.691, 0.304)),
    }

    def linear(color):
        return [((int(color[k : k + 2], 16) / 255 + 0.055) / 1.055) ** 2.4 for k in (1, 3, 5)]

    for matrix in matrices.values():
        seen = [[sum(a * b for a, b in zip(line, linear(color), strict=True)) for line in matrix] for color in PALETTE]
        for a, b in itertools.combinations(seen, 2):
            assert max(abs(x - y) for x, y in zip(a, b, strict=True)) > 0.04
