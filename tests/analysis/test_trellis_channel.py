from __future__ import annotations

import csv

import numpy as np
from rdtools.analysis import trellis_channel
from tolerances import STANDARD_ERRORS

from rdtools.theory.trellis_channel import COLUMNS, simulated


def test_the_script_makes_the_table_that_the_repository_has(tmp_path, monkeypatch):
    """Fewer samples, another walk: every number within four standard errors of both."""
    monkeypatch.setattr(trellis_channel, "WALK", 2**12)
    monkeypatch.setattr(trellis_channel, "OCTAVES", np.array([-1.0, 0.0, 1.5]))
    out = tmp_path / "channel.csv"
    assert trellis_channel.main(["--states", "4", "--batches", "8", "--out", str(out)]) == 0
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    known = {row[1]: row for row in simulated(4).tolist()}
    for row in rows:
        stored = dict(zip(COLUMNS, known[float(row["log2_step"])], strict=True))
        for name in ("bits", "correlation", "distortion"):
            doubt = np.hypot(float(row[f"{name}_stderr"]), stored[f"{name}_stderr"])
            assert (
                abs(float(row[name]) - stored[name]) <= 1.5 * STANDARD_ERRORS * doubt
            )  # errors of eight batches are themselves off by a quarter
