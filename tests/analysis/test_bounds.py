from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rdtools.analysis import bounds
from tolerances import rounding

from rdtools.moments.layer import Layer

FIGURES = Path(__file__).resolve().parents[2] / "figures"


def test_bounds_are_at_one_distortion(monkeypatch, rng):
    """With H = I and one variance in each of two halves of the columns, the row variances say nothing and the aligned bound is at
    ½ log2 of the mean over the geometric mean lower, at a rate at which all is coded."""
    stds = np.repeat([1.0, 2.0], 32)
    layer = Layer.of(rng.standard_normal((1024, 64)) * stds, np.diag(np.linspace(1.0, 2.0, 64)))
    monkeypatch.setattr(bounds, "open_run", lambda folder: {"a": layer})
    rows = bounds.run([Path("anywhere")])
    assert rows["rd_bound_rate_bpw"].tolist() == pytest.approx(list(bounds.RATES), rel=rounding(1000))
    high = rows.iloc[-1]
    expected = 0.5 * np.log2(np.mean(stds**2)) - np.mean(np.log2(stds))
    for name in ("aligned", "covariance"):  # what the scale of a row knows of its 64 weights is counted in both, log2(e)/64 at most
        known = high["rd_bound_rowvar_rate_bpw"] - high[f"rd_bound_{name}_rate_bpw"]
        assert abs(known - expected) < np.log2(np.e) / 64
    assert 0 < high["rd_bound_covariance_stderr_bpw"] < 0.01
    assert len(bounds.draw(rows).axes) == 1


def test_the_rows_of_the_repository_say_what_the_gallery_claims():
    rows = pd.read_csv(FIGURES / "bounds.csv")
    assert rows["layer"].nunique() == 42
    assert (rows["rd_bound_rowvar_rate_bpw"] <= rows["rd_bound_rate_bpw"] + 1e-4).all()
    assert (rows["rd_bound_covariance_rate_bpw"] <= rows["rd_bound_rate_bpw"] + 0.01).all()
    assert len(bounds.draw(rows).axes) == 1
