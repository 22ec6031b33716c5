"""One look for all figures: dictionaries that are applied with ``matplotlib.rc_context``, and looks of methods."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from rdtools.errors import UsageError
from rdtools.methods import ORDERS, PALETTE, entry_of

#: rcParams of every figure.
RC: Any = {  # rcParams are typed key by key in matplotlib's stubs
    "figure.dpi": 150,
    "savefig.dpi": 150,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.5,
    "figure.constrained_layout.use": True,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "rdtools",
}

#: Shapes, those that are easily taken for another last.
_MARKERS = ("o", "s", "^", "D", "v", "X", "P", "*", ">", "<", "d", "h", "p", "8")
#: Full in the natural basis and order, hollow in a rotated basis, half full in another order, or both.
_FILLS = ("full", "hollow", "left", "bottom")
BOUND = {"color": "black", "linestyle": "-", "linewidth": 1.6}
#: Name → look of its curve; that of a bound without one.
BOUNDS = {
    "rd_bound": BOUND,
    "rd_bound_rowvar": {"color": "black", "linestyle": ":", "linewidth": 1.4},
    "rd_bound_aligned": {"color": "black", "linestyle": "-.", "linewidth": 1.2},
    "rd_bound_covariance": {"color": "0.45", "linestyle": (0, (6, 2)), "linewidth": 1.4},
}
OTHER_BOUND = {"color": "black", "linestyle": (0, (3, 1, 1, 1, 1, 1)), "linewidth": 1.2}
UNIVERSAL = {"color": "black", "linestyle": "-", "linewidth": 0.6}
SHANNON = {"color": "black", "linestyle": (0, (1, 4)), "linewidth": 1.0}


def _preferred(method: str) -> tuple[str, str, str]:
    """Colour, marker and fill that a method gets if they are free; a name that is no method begins with those of a circle in black."""
    entry, suffixes = entry_of(method)
    ordered = any(s in ORDERS for s in suffixes)
    rotated = any(s not in ORDERS for s in suffixes)
    return *(("#000000", "8") if entry is None else (entry.color, entry.marker)), _FILLS[rotated + 2 * ordered]


def _drawn(color: str, marker: str, fill: str) -> dict[str, Any]:
    if fill in ("full", "hollow"):
        return {"color": color, "marker": marker, "markerfacecolor": color if fill == "full" else "white"}
    return {"color": color, "marker": marker, "markerfacecolor": color, "fillstyle": fill, "markerfacecoloralt": "white"}


def method_looks(methods: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Colour, marker and fill of every method of a figure, no two alike.

    They depend on the names, not on their order, so that figures of the same methods agree. Short names choose first. A name whose look is
    taken keeps its colour as long as a marker is free in it, else in another fill of it, and only then goes to another colour.
    """
    looks: dict[str, dict[str, Any]] = {}
    taken: set[tuple[str, str, str]] = set()
    for method in sorted(set(methods), key=lambda name: (len(name), name)):
        color, marker, fill = _preferred(method)
        candidates = itertools.product(dict.fromkeys((color, *PALETTE)), dict.fromkeys((fill, *_FILLS)), dict.fromkeys((marker, *_MARKERS)))
        look = next(((c, m, f) for c, f, m in candidates if (c, m, f) not in taken), None)
        if look is None:
            raise UsageError(f"{len(taken) + 1} methods in one figure, expected at most {len(taken)}, which is all looks; draw fewer")
        taken.add(look)
        looks[method] = _drawn(*look)
    return looks


def method_style(method: str) -> dict[str, Any]:
    """The look of a method on its own, which it has beside others too unless a shorter name took it."""
    return method_looks([method])[method]


#: Metadata without a date, so that the same rows give the same bytes.
SAVE_METADATA: dict[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None, "ModDate": None, "Producer": "rdtools", "Creator": "rdtools"},
    "png": {"Software": "rdtools"},
    "svg": {"Date": None, "Creator": "rdtools"},
}
