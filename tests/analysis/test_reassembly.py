from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from rdtools.analysis import reassembly
from rdtools.analysis.make_all import write_figure

FIGURES = Path(__file__).resolve().parents[2] / "figures"


def test_rows_of_a_small_run_are_written_and_drawn(tmp_path, monkeypatch):
    for name, value in {"COLUMNS": 64, "ROWS": 16, "TOKENS": 100, "SEEDS": (0,), "THRESHOLDS": (0.3, 0.02)}.items():
        monkeypatch.setattr(reassembly, name, value)
    write_figure("reassembly", [], tmp_path)
    rows = pd.read_csv(tmp_path / "reassembly.csv")
    assert set(rows["variant"]) == {"before", *reassembly.VARIANTS}
    wide = rows[rows["threshold"] == 0.02]
    assert set(wide["variant"]) == {"split", "split, staggered"}, "there are too few channels to take away for so many copies"
    assert (rows["relative_error_with_weights"] > rows["relative_error"]).mean() > 0.9
    assert (tmp_path / "reassembly.pdf").is_file()


@pytest.fixture(scope="module")
def kept():
    rows = pd.read_csv(FIGURES / "reassembly.csv")
    return rows.set_index(["channels", "seed", "threshold"])


def test_at_equal_width_splitting_is_below_merging_and_that_below_pruning_and_nothing(kept):
    """θ = 6 % of the maximum, similar channels: the paper's metric, rescaled or not; the released metric is above it."""
    own = kept.loc["similar"].reset_index().query("threshold in (0.06, 1.0)")
    error = own.pivot(index="seed", columns="variant", values="relative_error")
    for merged in ("merged", "merged, rescaled"):
        assert (error["split"] <= error[merged]).all()
        assert (error[merged] < error["pruned"]).all()
    assert (error["pruned"] < error["before"]).all()
    assert (error["merged"] < error["merged, released metric"]).all()
    both = own.pivot(index="seed", columns="variant", values="relative_error_with_weights")
    assert (both["merged, rescaled"] < 0.6 * both["merged"]).all()
    assert (both["merged, rescaled"] < both["pruned"]).all()


def test_the_prediction_holds_where_the_step_is_small(kept):
    """θ ≤ 10 %: within 5 % and the standard error for independent channels, but for shifted copies, which are clipped by up to a third."""
    own = kept.loc["independent"].reset_index().query("threshold <= 0.1")
    ratio = own["relative_error"] / own["pred_relative_error"]
    band = 0.05 + 4 * own["relative_error_stderr"] / own["pred_relative_error"]
    shifted = own["variant"] == "split, staggered"
    assert ((ratio - 1).abs() < band)[~shifted].all()
    assert ratio[shifted].between(0.95, 1.4).all()


def test_the_best_threshold_is_inside_for_measurement_and_prediction(kept):
    own = kept.loc["independent"].reset_index().query("variant == 'split'").groupby("threshold").mean(numeric_only=True)
    assert 0.03 < own["relative_error"].idxmin() < 0.08
    assert 0.03 < own["pred_relative_error"].idxmin() < 0.08


def test_the_committed_rows_draw(kept):
    left, right = reassembly.draw(kept.reset_index()).axes
    assert [axis.get_title() for axis in (left, right)] == ["independent channels", "similar channels"]
    assert len(left.containers) == len(right.containers) == len(reassembly.VARIANTS)
