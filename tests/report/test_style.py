from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdtools.errors import UsageError
from rdtools.methods import DEFAULT_METHODS, METHODS
from rdtools.report.style import LINES, PALETTE, RC, SMALLEST_TEXT, STYLES, method_looks, method_style
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


def test_only_a_rotated_basis_is_hollow():
    """A bias, learnt models and a common file have a pale marker; with a rotation, one that is pale on one side and hollow on the other."""
    looks = {name: method_style(name) for name in ("hptq+bias", "watersic-trellis+adaptive", "watersic+one-file", "hptq+act-order+bias")}
    assert looks["hptq+bias"]["markerfacecolor"] == "#aad0e5", "two thirds of the way from #0072B2 to white"
    assert all("fillstyle" not in look and look["markerfacecolor"] not in ("white", look["color"]) for look in looks.values())
    both = method_style("hptq+rotation+bias")
    assert (both["markerfacecolor"], both["markerfacecoloralt"]) == (looks["hptq+bias"]["markerfacecolor"], "white")


def test_more_methods_than_looks_are_refused():
    with pytest.raises(UsageError, match="draw fewer"):
        method_looks(map(str, range(1000)))


#: Machado, Oliveira and Fernandes, 2009, severity 1, on linear RGB.
VISIONS = {
    "normal": np.eye(3),
    "protan": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    "deutan": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
    "tritan": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]),
}


def cielab(linear):
    """CIELAB under D65 of linear sRGB."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(linear, 0, 1) / to_xyz.sum(axis=1)
    x, y, z = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def linear_rgb(color):
    c = np.array([int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def test_cielab_of_white_and_of_red():
    """Of white by definition; of the red of sRGB as tables have it."""
    assert cielab(np.ones(3)) == pytest.approx([100, 0, 0], abs=1e-9)
    assert cielab(linear_rgb("#ff0000")) == pytest.approx([53.24, 80.09, 67.20], abs=0.05)


@pytest.mark.parametrize("vision", VISIONS)
def test_colours_differ_for_every_kind_of_vision(vision):
    """ΔE of 1976 of any two colours of the palette is at least 16: seven times what is just noticed."""
    seen = {color: cielab(VISIONS[vision] @ linear_rgb(color)) for color in PALETTE}
    assert min(np.linalg.norm(seen[a] - seen[b]) for a, b in itertools.combinations(PALETTE, 2)) >= 16


def test_marker_and_line_are_a_second_code():
    """Without colour, default methods still differ by marker and fill, and curves of two colours by their line."""
    shapes = [
        (look["marker"], look.get("fillstyle", look["markerfacecolor"] == "white")) for look in method_looks(DEFAULT_METHODS).values()
    ]
    assert len(set(shapes)) == len(DEFAULT_METHODS)
    assert list(LINES) == list(PALETTE)
    assert len({str(line) for line in LINES.values()}) == len(PALETTE)


@pytest.mark.parametrize("name", STYLES)
def test_no_style_has_text_below_six_points(name):
    rc = {**RC, **STYLES[name].rc}
    sizes = [value for key, value in rc.items() if key.endswith(("size", "fontsize")) and not key.startswith("lines")]
    assert min(sizes) >= SMALLEST_TEXT
    assert 5 / 6 * rc["font.size"] >= SMALLEST_TEXT, "what matplotlib calls small"
