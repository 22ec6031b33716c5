from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rdtools.analysis import critical_channels

FIGURES = Path(__file__).resolve().parents[2] / "figures"


@pytest.fixture(scope="module")
def rows():
    return pd.read_csv(FIGURES / "critical_channels.csv")


def test_the_law_holds_for_codes_that_are_chosen_without_the_hessian(rows):
    """1 − (1 − c₄/c₁) φ(λ) within 0.03 at every share, on both diagonal Hessians."""
    plain = rows[rows["epochs"] == 0]
    assert set(plain["hessian"]) == {"lognormal", "ten heavy"}
    for _, own in plain.groupby("hessian"):
        base = own[own["critical_groups"] == 0].iloc[0]
        measured, law = (own[column] / base[column] for column in ("relative_distortion", "pred_relative_distortion"))
        assert law.to_numpy() == pytest.approx(1 - (1 - 0.0134 / 0.327) * own["energy_share"].to_numpy(), abs=1e-4)
        assert measured.to_numpy() == pytest.approx(law.to_numpy(), abs=0.03)


def test_order_and_share_decide_as_the_gallery_says(rows):
    """Sorting costs where a few channels are heavy; stratified ones gain from the first groups on, and never lose to sorted ones."""
    trained = rows[rows["epochs"] > 0].pivot(index=["hessian", "critical_groups"], columns="order", values="relative_distortion")
    for name in critical_channels.HESSIANS:
        own = trained.loc[name]
        assert own.loc[0, "sorted"] > 1.2 * own.loc[0, "natural_rest"]
        assert (own["stratified_rest"] <= 1.01 * own["sorted"]).all()
    heavy = trained.loc["ten heavy"]
    assert heavy.loc[2, "stratified_rest"] <= 0.85 * heavy.loc[0, "natural_rest"]
    assert heavy.loc[2, "sorted"] >= 0.98 * heavy.loc[0, "natural_rest"]


def test_every_bit_is_in_the_total_and_nothing_is_below_the_bound(rows):
    """Total rate: the terms of theory, and a head of less than 200 bytes with what fills up bytes."""
    over = (rows["total_bpw"] - rows["formula_bpw"]) * critical_channels.ROWS * critical_channels.COLUMNS
    assert over.between(-10, 8 * 200).all()  # six digits are kept
    assert (rows["relative_distortion"] > rows["bound_relative_distortion"]).all()


def test_rows_are_made_and_drawn(rows, monkeypatch):
    for name, value in {"ROWS": 256, "COLUMNS": 32, "GROUPS": (0, 1), "TRAINED": (0, 1), "EPOCHS": 1, "ITERATIONS": 2}.items():
        monkeypatch.setattr(critical_channels, name, value)
    made = critical_channels.run()
    assert list(made) == list(rows)
    assert len(made) == 2 * 2 + 3 * 3 * 2
    assert np.isfinite(made.drop(columns="pred_relative_distortion").select_dtypes("number")).all().all()
    for table in (made, rows):
        assert len(critical_channels.draw(table).axes) == 3
