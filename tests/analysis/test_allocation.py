from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from rdtools.analysis import allocation

FIGURES = Path(__file__).resolve().parents[2] / "figures"


@pytest.fixture(scope="module")
def rows():
    return pd.read_csv(FIGURES / "allocation.csv")


def test_the_rows_of_the_repository_say_what_the_text_claims(rows):
    """Files take 99.8 to 100 % of 3 bits. Only slopes of KL beat equal rates, beyond both intervals, on both models; Σ D/D₀ is
    least under its own rule, whose KL is above that of equal rates. Expected and measured KL meet in an interval of one but once."""
    plans = rows[rows["allocation"].notna()]
    assert plans["total_bpw"].between(0.998 * 3, 3).all()
    for _, own in plans.groupby("model"):
        by = own.set_index("allocation")
        equal = by.loc["equal, measured"]
        assert by.loc["kl, measured", "kl_high"] < equal["kl_low"]
        assert (by.drop(index=["equal, measured", "kl, measured"])["kl_nats"] > equal["kl_nats"]).all()
        assert by["summed_relative_distortion"].idxmin() == "relative, measured"
    met = plans["expected_kl_nats"].between(plans["kl_low"], plans["kl_high"]) | plans["kl_nats"].between(
        plans["expected_kl_low"], plans["expected_kl_high"]
    )
    assert plans.loc[~met, ["model", "allocation"]].to_numpy().tolist() == [["stories260K", "uniform, measured"]]
    for by in ("kl_nats", "expected_kl_by_slopes_nats"):
        order = [own.sort_values(by)["allocation"].tolist()[:2] for _, own in plans.groupby("model")]
        assert order == [["kl, measured", "equal, measured"]] * 2
    powers = {model: allocation.law(own).power for model, own in rows.groupby("model")}
    assert powers["embedded"].value == pytest.approx(1.02, abs=0.005)
    assert powers["stories260K"].low > 1.2


def test_rows_are_drawn_and_have_the_columns_of_an_evaluation(rows):
    from rdtools.records.evaluation_row import EVALUATION_COLUMNS

    assert list(rows) == list(allocation.COLUMNS)
    assert set(rows) <= {column.name for column in EVALUATION_COLUMNS}
    assert len(allocation.draw(rows).axes) == rows["model"].nunique()
