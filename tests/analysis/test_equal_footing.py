from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from rdtools.analysis import equal_footing

from rdtools.evaluation.power_law import with_power_law

FIGURES = Path(__file__).resolve().parents[2] / "figures"


@pytest.fixture(scope="module")
def rows():
    return pd.read_csv(FIGURES / "equal_footing.csv")


def test_the_rows_of_the_repository_say_what_the_figure_claims(rows):
    """KL and Σ D/D₀ order the methods alike at every rate but where they tie; each bit is worth a factor; all is far above the noise. From
    2 bits one law holds within 8 %, and at 1.5 bits KL is up to 16 % above it.
    """
    floor = rows.loc[rows["method"] == "bf16-noise", "kl_high"].iloc[0]
    measured = rows[rows["method"] != "bf16-noise"]
    assert (measured["kl_low"] > 100 * floor).all()
    at = measured.pivot_table(index="target_bpw", columns="method", values="kl_nats")
    assert (at["watersic-trellis"] < at["watersic-mmse"]).all()
    assert (at["watersic-mmse"] < at["hptq"]).all()
    assert (at["watersic"] < at["hptq"]).all()
    power, factor = rows[["kl_power", "kl_factor"]].iloc[0]
    again = with_power_law(rows).iloc[0]
    assert (again["kl_power"], again["kl_factor"]) == pytest.approx((power, factor), rel=1e-4)  # rows keep six digits
    assert power == pytest.approx(1, abs=0.05)
    assert (abs(measured["kl_nats"] / (factor * measured["summed_relative_distortion"] ** power) - 1) < 0.15).all()
    high = measured["target_bpw"] >= 2
    power, factor = with_power_law(measured[high])[["kl_power", "kl_factor"]].iloc[0]
    ratio = measured["kl_nats"] / (factor * measured["summed_relative_distortion"] ** power)
    assert (abs(ratio[high] - 1) < 0.08).all()
    assert ratio[~high].between(1.02, 1.16).all()
    assert measured.groupby("method").size().eq(4).all()


def test_rows_are_drawn_and_have_the_columns_of_an_evaluation(rows):
    from rdtools.records.evaluation_row import EVALUATION_COLUMNS

    assert list(rows) == list(equal_footing.COLUMNS)
    assert set(rows) - {"kl_power", "kl_factor"} <= {column.name for column in EVALUATION_COLUMNS}
    assert len(equal_footing.draw(rows).axes) == 3
