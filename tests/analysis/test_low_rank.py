from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from rdtools.analysis import low_rank

FIGURES = Path(__file__).resolve().parents[2] / "figures"


@pytest.fixture(scope="module")
def rows():
    return pd.read_csv(FIGURES / "low_rank.csv")


def test_the_rows_of_the_repository_say_what_the_figure_claims(rows):
    """Never below the bound; more bits of weights leave the noise of activations, a term that knows of it does not."""
    assert (rows["distortion"] >= rows["reduced_rank_bound_distortion"] * (1 - 1e-5)).all()  # six digits are kept
    for _, own in rows.groupby("beta"):
        base = own[own["correction"] == "none"]
        assert base["heldout_distortion"].iloc[-1] > 0.85 * base["heldout_distortion"].iloc[0]
        coded = own[own["correction"] == "none, entropy-coded"]  # fewer bits for the same, and no less than what activations leave
        assert (coded["total_bpw"].to_numpy() < base["total_bpw"].to_numpy()[:4] + 0.01).all()
        assert (coded["heldout_distortion"].to_numpy()[:3] < base["heldout_distortion"].to_numpy()[:3]).all()  # at 10 bits both are there
        assert (coded["heldout_distortion"] > 0.99 * base["heldout_distortion"].iloc[-1]).all()
        joint = own[own["correction"] == "joint"].set_index("rank_share")["heldout_distortion"]
        assert joint.is_monotonic_decreasing
        for other in ("svd", "weights"):
            assert (joint < own[own["correction"] == other].set_index("rank_share")["heldout_distortion"]).all()
    half = rows[(rows["beta"] == 0.5) & (rows["rank_share"] == 0.1) & (rows["correction"] == "joint")].iloc[0]
    assert half["heldout_distortion"] < 0.5 * rows[rows["beta"] == 0.5].iloc[0]["heldout_distortion"]
    assert half["factors_bpw"] == 3.25


def test_rows_are_made_and_drawn(rows, monkeypatch):
    monkeypatch.setattr(low_rank, "SIZE", 32)
    monkeypatch.setattr(low_rank, "TOKENS", (600, 200))
    made = low_rank.run((0.5,), (0.1, 0.3))
    assert list(made) == list(rows)
    assert len(made) == 6 + 4 + 3 * 2
    assert len(low_rank.draw(made).axes) == 1
    assert len(low_rank.draw(rows).axes) == 2
