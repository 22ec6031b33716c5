"""One look for all figures: dictionaries that are applied with ``matplotlib.rc_context``, and looks of methods."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rdtools.errors import UsageError
from rdtools.methods import ORDERS, PALETTE, ROTATIONS, entry_of
from rdtools.methods.table import YELLOW

#: Inches that a figure is wide in one column and across the page; `STYLES` have their own in place of these.
COLUMN, FULL = 3.25, 6.75
#: Points of the smallest text that is printed.
SMALLEST_TEXT = 6.0


def _sizes(text: float) -> dict[str, Any]:
    """Sizes that go with a size of text: 8 points in print."""
    small, line = 7 / 8 * text, text / 8
    return {
        **dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize", "figure.titlesize", "figure.labelsize"), text),
        **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize", "legend.title_fontsize"), small),
        "lines.linewidth": line,
        "lines.markersize": 3.6 * line,
        **dict.fromkeys(("axes.linewidth", "grid.linewidth", "xtick.major.width", "ytick.major.width"), 0.6 * line),
        **dict.fromkeys(("xtick.minor.width", "ytick.minor.width"), 0.4 * line),
    }


#: rcParams of every figure, and alone those of the page.
RC: Any = {  # rcParams are typed key by key in matplotlib's stubs
    **_sizes(8),
    **dict.fromkeys(("xtick.minor.pad", "ytick.minor.pad"), 5.0),  # minor labels in line with major ones
    "figure.dpi": 150,
    "savefig.dpi": 200,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.unicode_minus": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 1.2,
    "legend.labelspacing": 0.3,
    "figure.constrained_layout.use": True,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "rdtools",
    "pgf.rcfonts": False,  # those of the document
}


@dataclass(frozen=True)
class Style:
    """The print of a figure in a venue.

    Attributes
    ----------
    rc : rcParams beside `RC`
    column, full : inches in place of `COLUMN` and `FULL`
    """

    rc: dict[str, Any]
    column: float
    full: float

    def sized(self, width: float) -> float:
        """Factor by which a figure of this width in inches, `COLUMN` or `FULL`, grows."""
        return self.full / FULL if width > COLUMN else self.column / COLUMN


#: Times, as far as it goes: matplotlib brings these fonts along, so that a figure is the same everywhere.
_TIMES = {"font.family": ["STIXGeneral", "DejaVu Serif"]}
#: Name → style, by the widths that templates of 2026 have.
STYLES = {
    "icml": Style(_TIMES, COLUMN, FULL),
    "neurips": Style(_TIMES, COLUMN, 5.5),
    "ieee": Style(_TIMES, 3.5, 7.16),
    "slides": Style(_sizes(14), 5.8, 12.0),
}

#: Shapes, those that are easily taken for another last.
_MARKERS = ("o", "s", "^", "D", "v", "X", "P", "*", ">", "<", "d", "h", "p", "8")
#: Pairs of fills, unrotated and rotated: by itself; in another order; with learnt models, a bias, or a file of several layers.
_FILLS = ("full", "hollow", "left", "bottom", "pale", "right")
BOUND: dict[str, Any] = {"color": "black", "linestyle": "-", "linewidth": 1.6}
#: Name → look of its curve; that of a bound without one.
BOUNDS: dict[str, dict[str, Any]] = {
    "rd_bound": BOUND,
    "rd_bound_rowvar": {"color": "black", "linestyle": ":", "linewidth": 1.4},
    "rd_bound_aligned": {"color": "black", "linestyle": "-.", "linewidth": 1.2},
    "rd_bound_covariance": {"color": "0.45", "linestyle": (0, (6, 2)), "linewidth": 1.4},
}
OTHER_BOUND = {"color": "black", "linestyle": (0, (3, 1, 1, 1, 1, 1)), "linewidth": 1.2}
#: Colour → line, the second code of a curve beside its marker.
LINES: dict[str, Any] = dict(
    zip(PALETTE, ("-", "--", "-.", ":", (0, (6, 1)), (0, (3, 1, 1, 1)), (0, (8, 1)), (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1))), strict=True)
)
#: A line that separates signs, the loss of scalar integers, and what theory predicts where its colour says for what.
ZERO: dict[str, Any] = {"color": "black", "linewidth": 0.6, "zorder": 1}
SCALAR: dict[str, Any] = {"color": "0.4", "linestyle": (0, (1, 1)), "linewidth": 0.9, "zorder": 1}
PREDICTED: dict[str, Any] = {"color": "black", "linestyle": "--", "linewidth": 0.8}
UNIVERSAL = {"color": "black", "linestyle": "-", "linewidth": 0.6}
SHANNON = {"color": "black", "linestyle": (0, (1, 4)), "linewidth": 1.0}


def _preferred(method: str) -> tuple[str, str, str]:
    """Colour, marker and fill that a method gets if they are free; a name that is no method begins with those of a circle in black."""
    entry, suffixes = entry_of(method)
    rotated, ordered = (any(s in known for s in suffixes) for known in (ROTATIONS, ORDERS))
    pair = 2 if any(s not in (*ROTATIONS, *ORDERS) for s in suffixes) else int(ordered)
    return *(("#000000", "8") if entry is None else (entry.color, entry.marker)), _FILLS[rotated + 2 * pair]


def _pale(color: str) -> str:
    """A colour with twice as much white."""
    return "#" + "".join(f"{(int(color[start : start + 2], 16) + 510) // 3:02x}" for start in (1, 3, 5))


def _drawn(color: str, marker: str, fill: str) -> dict[str, Any]:
    face = {"hollow": "white", "pale": _pale(color), "right": _pale(color)}.get(fill, color)
    look = {"color": color, "marker": marker, "markerfacecolor": face}
    if color == YELLOW:  # which is faint on white
        look["markeredgecolor"] = "black"
    return look if fill in ("full", "hollow", "pale") else {**look, "fillstyle": fill, "markerfacecoloralt": "white"}


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
    "png": {"Software": "rdtools"},
    "pdf": {"CreationDate": None, "ModDate": None, "Producer": "rdtools", "Creator": "rdtools"},
    "svg": {"Date": None, "Creator": "rdtools"},
}
