"""The KL that is expected of a plan, from the rows of a run that were evaluated at one rate for all layers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rdtools.evaluation.power_law import PowerLaw
from rdtools.jobs.evaluate import FOLDER
from rdtools.runs.journal import read_journals
from rdtools.runs.results import read_results


def expected_kl(path: Path, distortions: Mapping[str, float], slopes: Mapping[str, float] | None, seed: int) -> dict[str, Any]:
    """Fields of a plan, see `rdtools.runs.allocations.Allocation`.

    Parameters
    ----------
    path : of the run
    distortions : D/D₀ by layer
    slopes : of KL by layer, None where they were not measured
    seed : of the run and of the bootstrap
    """
    law = evaluated_law(path, slopes, seed)
    weighted = sum((1.0 if slopes is None else slopes[name]) * value for name, value in distortions.items())
    expected = None if law is None else law.at(weighted)
    return {
        "expected_kl_nats": None if expected is None else expected.value,
        "expected_kl_low": None if expected is None else expected.low,
        "expected_kl_high": None if expected is None else expected.high,
        "expected_kl_by_slopes_nats": None if slopes is None else weighted,
    }


def evaluated_law(path: Path, slopes: Mapping[str, float] | None = None, seed: int = 0) -> PowerLaw | None:
    """The power law of KL on Σ slope · D/D₀, or on Σ D/D₀ without slopes, through a run's evaluated rows; None for fewer than three.

    Rows of the noise floor, of plans, of quantized activations and of layers quantized one after the other are left out; of several
    protocols or tokens, those of most rows stay. A row that is weighted by slopes needs a row of each layer in the run's table. A sum of
    slopes alone is KL to first order; that the whole differs from the sum of its parts is in the factor and the power.
    """
    rows = [record.value for record in read_journals(path / FOLDER).records.values()]
    usable = [
        row
        for row in rows
        if row["status"] == "ok"
        and row["hessians"] == "original"
        and "allocation" not in row
        and math.isnan(row.get("activation_bits", math.nan))
    ]
    tokens = Counter((row["protocol"], row["evaluation"], row["scored_tokens"]) for row in usable)
    compared = [row for row in usable if (row["protocol"], row["evaluation"], row["scored_tokens"]) == tokens.most_common(1)[0][0]]
    pairs = [(row["summed_relative_distortion"], row["kl_nats"]) for row in compared]
    if slopes is not None and compared:
        weighted = _weighted(path, slopes, seed)
        pairs = [(weighted[of], row["kl_nats"]) for row in compared if (of := (row["method"], row["target_bpw"])) in weighted]
    if len(pairs) < 3 or len({x for x, _ in pairs}) < 2:
        return None
    points = np.array(pairs)
    return PowerLaw(points[:, 0], points[:, 1], seed=seed)


def _weighted(path: Path, slopes: Mapping[str, float], seed: int) -> dict[tuple[str, float], float]:
    """Σ slope · D/D₀ by method and target rate, of those that have a row of every layer."""
    table = read_results(path, ("relative_distortion", "seed"))
    rows = table[(table["status"] == "ok") & (table["seed"] == seed) & table["layer"].isin(list(slopes))].copy()
    rows["weighted"] = rows["layer"].map(slopes) * rows["relative_distortion"]
    sums = rows.groupby(["method", "target_bpw"])["weighted"].agg(["sum", "size"])
    complete = sums[sums["size"] == len(slopes)].reset_index()
    return {(str(m), float(t)): float(v) for m, t, v in zip(complete["method"], complete["target_bpw"], complete["sum"], strict=True)}
