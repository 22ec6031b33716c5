"""One look for all figures: dictionaries that are applied with ``matplotlib.rc_context``, and a colour and marker for each method."""

from __future__ import annotations

from typing import Any

from rdtools.orders import ORDERS

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
    "svg.hashsalt": "rdtools",
}

# Okabe and Ito's palette, distinguishable without colour vision.
_BASE = {
    "rtn": ("#7f7f7f", "s"),
    "rtn-int": ("#b5b5b5", "v"),
    "rtn-column": ("#5f5f5f", "d"),
    "gptq": ("#0072B2", "o"),
    "gptq-int": ("#56B4E9", "^"),
    "gptq-column": ("#004c78", "d"),
    "watersic": ("#D55E00", "D"),
    "watersic-shared": ("#E69F00", "X"),
    "watersic-lmmse": ("#009E73", "P"),
    "watersic-lmmse-shared": ("#CC79A7", "X"),
    "watersic-mmse": ("#117733", "*"),
    "quip": ("#AA4499", "h"),
    "quip-sharp": ("#882255", "p"),
    "qtip": ("#332288", "H"),
}
LIMIT = {"color": "black", "linestyle": "-", "linewidth": 1.6}
JOINT_LIMIT = {"color": "black", "linestyle": ":", "linewidth": 1.4}
UNIVERSAL = {"color": "black", "linestyle": "-", "linewidth": 0.6}
SHANNON = {"color": "black", "linestyle": (0, (1, 4)), "linewidth": 1.0}


def method_style(method: str) -> dict[str, Any]:
    """Colour and marker of a method; a variant has those of the longest name that it begins with.

    In a rotated basis the marker is hollow, in another order of columns than the natural one half of it is.
    """
    base, *suffixes = method.split("+")
    known = max((name for name in _BASE if base == name or base.startswith(f"{name}-")), key=len, default=None)
    color, marker = ("#333333", ".") if known is None else _BASE[known]
    ordered = [s for s in suffixes if s in ORDERS]
    look = {"color": color, "marker": marker, "markerfacecolor": "white" if len(suffixes) > len(ordered) else color}
    return look | ({"fillstyle": "left", "markerfacecoloralt": "#dddddd"} if ordered else {})


#: Metadata without a date, so that the same rows give the same bytes.
SAVE_METADATA: dict[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None, "ModDate": None, "Producer": "rdtools", "Creator": "rdtools"},
    "png": {"Software": "rdtools"},
}
