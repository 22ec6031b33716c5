"""Four rate–distortion bounds of every matrix of a run: by how much those whose decoder knows more lie below R(D), one variance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from rdtools.compare import BOUNDS, layer_facts
from rdtools.report.figures.bounds import REFERENCE
from rdtools.report.figures.bounds import draw as draw
from rdtools.runs.store import open_run

RATES = (2.0, 3.0, 4.0)


def run(folders: Sequence[Path]) -> pd.DataFrame:
    """A row for each matrix of the first run and each rate of R(D), one variance: every bound at the same distortion."""
    opened, rows = open_run(folders[0]), []
    for name in opened:
        facts = layer_facts(opened[name])
        for rate in RATES:
            distortion = float(BOUNDS[REFERENCE].distortion(facts, rate))
            bound_rates = {f"{bound.name}_rate_bpw": bound.rate(facts, distortion) for bound in BOUNDS.values()}
            stderr = facts.row.row_covariance_saving_stderr_bpw
            named = {"layer": name, "layer_type": facts.row.layer_type, "block": facts.row.block, "weights": opened[name].weight.size}
            rows.append({**named, "rows": facts.row.rows, **bound_rates, "rd_bound_covariance_stderr_bpw": stderr})
    return pd.DataFrame(rows)
