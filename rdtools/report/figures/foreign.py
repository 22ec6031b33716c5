"""Total rate above R(D) over total rate: files of others beside the methods of a run, fixed rates and entropy-coded ones on one axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from rdtools.report.figures.canvas import add_legend, empty_figure, new_figure
from rdtools.report.rows import bound_note, ok_rows
from rdtools.report.style import FULL, SCALAR, ZERO, method_looks
from rdtools.units import SCALAR_LOSS_BITS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Columns of the table of foreign files, and of the results, that are drawn.
READS_FOREIGN = ("file", "layer", "status", "total_bpw", "rate_gap_total_bpw", "stored_type")
READS = ("layer", "method", "status", "target_bpw", "rate_kind", "total_bpw", "rate_gap_total_bpw")
_MARKERS = ("*", "P", "X", "D", "s", "^", "v", "o")


def _label(file: str, rows: pd.DataFrame) -> str:
    kinds = rows["stored_type"].value_counts().index
    return f"{file.rstrip('/').rpartition('/')[2]} ({', '.join(kinds[:2])}{', …' if len(kinds) > 2 else ''})"


def draw(foreign: pd.DataFrame, results: pd.DataFrame) -> Figure:
    """Means over the matrices that every file and every method has, of rows that are ok.

    The rate of fixed-rate methods is log₂ of the number of levels, and scales; dashed lines join these, solid ones entropy-coded methods.
    """
    files, ok = (ok_rows(table).dropna(subset=["rate_gap_total_bpw"]) for table in (foreign, results))
    sets = [set(rows["layer"]) for _, rows in files.groupby("file")]
    common = set.intersection(*sets) if sets else set()
    ok = ok[ok["layer"].isin(common)]
    layer_counts = ok.groupby("method")["layer"].nunique()
    ok = ok[ok["method"].isin(layer_counts.index[layer_counts == len(common)])]
    if not common:
        return empty_figure("no matrix with status ok in every file: nothing to draw")
    figure = new_figure(FULL, 4.4)
    axis = figure.subplots()
    looks = method_looks(ok["method"])
    for method, rows in ok.groupby("method", sort=False):
        means = rows.groupby("target_bpw")[["total_bpw", "rate_gap_total_bpw"]].mean()
        fixed = bool(rows["rate_kind"].eq("fixed").all())
        kind = "fixed rate" if fixed else "entropy-coded"
        line: dict[str, Any] = {"linestyle": "--" if fixed else "-", "linewidth": 0.8}
        axis.plot(means["total_bpw"], means["rate_gap_total_bpw"], label=f"{method}, {kind}", **line, **looks[str(method)])
    for number, (file, rows) in enumerate(files.groupby("file", sort=False)):
        shown = rows[rows["layer"].isin(common)]
        look: dict[str, Any] = {"color": "black", "marker": _MARKERS[number % len(_MARKERS)], "markersize": 9, "linestyle": "none"}
        axis.plot([shown["total_bpw"].mean()], [shown["rate_gap_total_bpw"].mean()], label=_label(str(file), rows), **look)
    axis.axhline(SCALAR_LOSS_BITS, label="scalar integers, ideal coder, high rate", **SCALAR)
    axis.axhline(0.0, **ZERO)
    axis.set_xlabel("total rate (bpw)")
    axis.set_ylabel("total rate − R(D), one variance (bpw)")
    compared = f"mean over {len(common)} matrices, each method and file with its own coder"
    axis.set_title("\n".join(filter(None, (compared, bound_note(ok["method"])))))
    add_legend(figure, 2)
    return figure
