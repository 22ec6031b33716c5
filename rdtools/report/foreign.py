"""Tables of foreign files for people."""

from __future__ import annotations

import pandas as pd

from rdtools.report.rows import ok_rows, ordered_types

FOREIGN_HEAD = (
    "Files of others: bits per weight of their tensors, distortion of what they decode to under this run's Hessians, "
    "rate above R(D), one variance, "
    "and the method of this run with the least D/D₀ at that rate"
)
#: Heading and format of the columns that `foreign_by_type` averages.
_MEANS = {
    "total_bpw": ("bpw", ".4g"),
    "relative_distortion": ("D/D₀", ".3g"),
    "sqnr_db": ("dB", ".2f"),
    "rate_gap_total_bpw": ("− R(D)", ".3f"),
    "best_method_relative_distortion": ("best D/D₀", ".3g"),
}


def foreign_by_type(table: pd.DataFrame) -> pd.DataFrame:
    """Means over the matrices of each file and layer type, of rows that are ok, as text.

    Beside them the types that are stored, and the method of the run that is best on most of the matrices.
    """
    ok = ok_rows(table).reindex(columns=["file", "layer_type", "layer", "stored_type", "best_method", *_MEANS])
    rows = []
    for file, of_file in ok.groupby("file", sort=False):
        for kind in ordered_types(of_file["layer_type"]):
            part = of_file[of_file["layer_type"] == kind]
            best, means = part["best_method"].dropna(), part[list(_MEANS)].mean()
            cells = {head: "–" if pd.isna(means[name]) else format(means[name], digits) for name, (head, digits) in _MEANS.items()}
            types = ", ".join(sorted(set(part["stored_type"])))
            head = {"file": str(file), "type": kind.removesuffix("_proj"), "n": str(len(part)), "stored": types}
            rows.append({**head, **cells, "best here": best.mode().iloc[0] if len(best) else "–"})
    return pd.DataFrame(rows)
