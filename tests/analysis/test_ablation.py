from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from rdtools.analysis import ablation

FIGURES = Path(__file__).resolve().parents[2] / "figures"


@pytest.fixture(scope="module")
def rows():
    return pd.read_csv(FIGURES / "ablation.csv")


def test_rows_that_are_there_are_not_made_again(rows):
    """A table with all rows lacks none; of a row that is taken out, exactly that one."""
    asked = "m", ("hptq", "watersic"), (2.0, 3.0), ((), ("drift",))
    everything = list(ablation.rows_missing(pd.DataFrame(), *asked))
    assert len(everything) == 8
    table = pd.DataFrame(
        [
            {"model": "m", "method": method, "target_bpw": rate, "corrections": ablation.step_name(names)}
            for method, rate, names in everything
        ]
    )
    assert list(ablation.rows_missing(table.drop(index=3), *asked)) == [everything[3]]
    assert not list(ablation.rows_missing(table, *asked))
    assert len(list(ablation.rows_missing(table, "other", *asked[1:]))) == 8


def test_every_step_adds_one_correction():
    assert [len(names) for names in ablation.STEPS] == list(range(7))
    assert ablation.step_name(ablation.STEPS[-1]) == "drift+residual+dead+rescale+attention+mixing"


def test_the_rows_of_the_repository_say_what_the_gallery_says(rows):
    """Corrections lower the KL of every method, on the small Llama by more than both intervals, and cost at most 0.03 bit; WaterSIC's KL is
    below HPTQ's and that of a trellis below both, with them and without.
    """
    assert list(rows) == list(ablation.COLUMNS)
    assert not rows.duplicated(["model", "method", "target_bpw", "corrections"]).any()
    keys = ["model", "method", "target_bpw"]
    plain = rows[rows["corrections"] == "none"].set_index(keys)
    corrected = rows[rows["corrections"] == ablation.step_name(ablation.STEPS[4])].set_index(keys)
    both = plain.merge(corrected, left_index=True, right_index=True, suffixes=("_plain", ""))
    assert len(both) >= 3
    assert (both["kl_nats"] < both["kl_nats_plain"]).all()
    small = both.loc["stories260K"]
    assert (small["kl_high"] < small["kl_low_plain"]).all()
    assert (both["total_bpw"] <= both["total_bpw_plain"] + 0.03).all()
    for _, own in rows.groupby(["model", "target_bpw", "corrections"]):
        kl = own.set_index("method")["kl_nats"]
        assert kl["watersic"] < kl["hptq-column"]
        if "watersic-trellis" in kl:
            assert kl["watersic-trellis"] < 0.8 * kl["watersic"]


def test_rows_are_drawn(rows):
    figure = ablation.draw(rows)
    assert len(figure.axes) == len(rows[["model", "target_bpw", "scored_tokens"]].drop_duplicates())
