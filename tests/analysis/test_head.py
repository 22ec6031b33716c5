from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from rdtools.analysis import head

FIGURES = Path(__file__).resolve().parents[2] / "figures"


@pytest.fixture(scope="module")
def rows():
    return pd.read_csv(FIGURES / "head.csv")


def test_the_rows_of_the_repository_say_what_the_text_claims(rows):
    """Steps by class stay within their bound; at every rate some ε has less KL than equal steps, at no more bits but its scales'."""
    assert (rows["step_ratio"] <= rows["largest_step_ratio"] * (1 + 1e-5)).all()
    equal = rows[rows["smoothing"] == 1].set_index("target_bpw")
    assert (equal["class_gain_bpw"].abs() < 1e-9).all()
    assert (equal["step_ratio"] - 1).abs().max() < 1e-9
    for target, own in rows[rows["smoothing"] < 1].groupby("target_bpw"):
        assert own["kl_high"].min() < equal["kl_low"][target]
    assert len(head.draw(rows).axes) == 1
