from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rdtools.report.paired import paired_differences, paired_lines, paired_table, write_paired
from rdtools.report.tables import bound_note


def _table(gaps: dict[str, tuple[str, list[float]]]) -> pd.DataFrame:
    """Results of methods on the matrices 0.q_proj, 0.o_proj, 1.q_proj, …: method → rate kind and gaps."""
    return pd.DataFrame(
        [
            {"layer": f"{i // 2}.{kind}", "layer_type": kind, "method": method, "rate_kind": coder, "target_bpw": 3.0, "status": "ok",
             "rate_gap_total_bpw": gap}
            for method, (coder, values) in gaps.items()
            for i, gap in enumerate(values)
            for kind in [("q_proj", "o_proj")[i % 2]]
        ]
    )  # fmt: skip


def test_differences_are_paired_over_matrices_and_counted_by_type():
    """The means of each method differ by 0.1 too, but their spread over matrices is ten times that of the differences."""
    rng = np.random.default_rng(0)
    level = rng.uniform(0, 1, 12)
    differences = -0.1 + 0.03 * rng.standard_normal(12)
    differences[1] = 0.02
    table = _table({"a": ("entropy_shared", [*(level + differences)]), "b": ("entropy_shared", [*level])})
    found = paired_differences(table).set_index("layer_type")
    assert list(found.index) == ["all", "q_proj", "o_proj"]
    assert found["matrices"].tolist() == [12, 6, 6]
    assert found["wins"].tolist() == [11, 6, 5]
    assert found.loc["all", "difference_bpw"] == pytest.approx(differences.mean())
    # resampled means are near normal, of the plug-in variance over n
    reach = 1.96 * differences.std() / np.sqrt(12)
    assert differences.mean() - found.loc["all", "low_bpw"] == pytest.approx(reach, rel=0.2)
    assert found.loc["all", "high_bpw"] - differences.mean() == pytest.approx(reach, rel=0.2)
    assert paired_differences(table).equals(paired_differences(table))
    assert paired_table(paired_differences(table)).iloc[0].to_dict() == {
        "bits": "3",
        "coder of both": "pooled table",
        "method − reference": "a − b",
        "difference (bpw)": f"{differences.mean():+.3f} [{found.loc['all', 'low_bpw']:+.3f}, {found.loc['all', 'high_bpw']:+.3f}]",
        "wins all": "11/12",
        "wins q": "6/6",
        "wins o": "5/6",
    }


def test_only_methods_with_the_same_coder_are_compared_on_matrices_that_both_have(tmp_path):
    one = [0.5, 0.5]
    kinds = {"b": "entropy_column", "histograms": "entropy_histogram", "trellis": "entropy_trellis", "grid": "fixed"}
    table = _table({"a": ("entropy_shared", [1.0, 2.0]), "c": ("entropy_shared", [1.5, np.nan])} | {m: (k, one) for m, k in kinds.items()})
    found = paired_differences(table)
    assert set(zip(found["method"], found["reference"], found["matrices"], strict=True)) == {("a", "c", 1)}
    assert found["low_bpw"].isna().all()
    paths = write_paired(found, tmp_path)
    pd.testing.assert_frame_equal(pd.read_parquet(paths[0]), found)
    assert len(pd.read_csv(paths[1])) == len(found)
    assert len(paired_table(paired_differences(table.head(0)))) == 0


def test_fixed_rates_are_paired_by_what_their_symbols_are():
    """Grids with grids, whatever their settings; lattice words, trellis paths and codebooks, and what no method is, with none of them."""
    names = ["rtn", "gptq(group_size=64)+haar", "quip", "quip-sharp", "qtip", "aqlm-2x8", "no-method"]
    found = paired_differences(_table({name: ("fixed", [0.5, 0.4]) for name in names}))
    assert set(found["coder"]) == {"fixed rate, uniform grid"}
    assert set(found["method"]) | set(found["reference"]) == {"rtn", "gptq(group_size=64)+haar", "quip"}
    two = paired_differences(_table({name: ("fixed", [0.5]) for name in ("qtip", "qtip-published", "crvq", "aqlm-2x8")}))
    assert set(zip(two["coder"], two["method"], strict=True)) == {("fixed rate, trellis path", "qtip"), ("fixed rate, codebooks", "crvq")}


def test_rows_with_a_bias_whose_bound_is_another_are_paired_among_themselves():
    """Else the difference of the gaps would be of two bounds, too; tables of all methods say that there are two."""
    found = paired_differences(_table({name: ("entropy_shared", [0.5, 0.4]) for name in ("hptq", "hptq+bias", "hrtn+bias", "hrtn")}))
    assert set(zip(found["method"], found["reference"], found["coder"], strict=True)) == {
        ("hptq", "hrtn", "pooled table"),
        ("hptq+bias", "hrtn+bias", "pooled table, bias per row"),
    }
    assert "+bias is that of the covariance" in bound_note(["hptq", "hptq+bias"])
    assert bound_note(["hptq"]) == ""


@pytest.mark.parametrize("width", [80, 40])
def test_paired_lines_fit_the_terminal_and_lose_nothing(width):
    rng = np.random.default_rng(0)
    names = ["hptq", "hptq+act-order", "watersic-shared", "watersic-lmmse-shared"]
    differences = paired_differences(_table({name: ("entropy_shared", [*rng.uniform(0, 1, 12)]) for name in names}))
    lines = paired_lines(differences, width)
    assert max(map(len, lines)) <= width
    words = " ".join(lines).split()
    for row in paired_table(differences).to_dict("records"):
        assert set(row["difference (bpw)"].split()) <= set(words)
        assert f"all {row['wins all']}" in " ".join(words)
    assert " ".join(words).count("pooled table") == 1
