"""What the gallery says of SmolLM2-135M, of the rows that are kept."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "figures" / "smollm2"


@pytest.fixture(scope="module")
def rows():
    kept = pd.read_csv(FOLDER / "results.csv")
    return kept[(kept["status"] == "ok") & (kept["target_bpw"] == 3)]


def test_the_table_is_that_of_the_rows(rows):
    gallery = (FOLDER.parent / "README.md").read_text()
    table = gallery[gallery.index("| SmolLM2-135M, 3 bits |") :]
    means = rows.pivot_table(index="method", columns="layer_type", values="rate_gap_total_bpw")
    lines = re.findall(r"^\| `([a-z+-]+)`[^|]*\|(.*)\|$", table[: table.index("On all 210")], flags=re.MULTILINE)
    assert len(lines) == 7
    for method, cells in lines:
        shown = [float(cell.replace("−", "-")) for cell in cells.split("|")]
        types = [f"{kind}_proj" for kind in ("q", "k", "v", "o", "gate", "up", "down")]
        assert shown == pytest.approx(means.loc[method, types].tolist(), abs=5.1e-4)


def test_the_sentences_hold(rows):
    gap = rows.pivot_table(index="layer", columns="method", values="rate_gap_total_bpw")
    assert len(gap) == 210
    gain = gap["watersic-mmse"] - gap["watersic-trellis"]
    assert (round(gain.min(), 2), round(gain.max(), 2)) == (0.18, 0.22)
    assert (gap["watersic-trellis"] < 0).sum() == 79
    assert (gap["hptq+rotation"] < gap["hptq"]).sum() == 207
    rotated = rows[rows["method"] == "hptq+rotation"]["pred_gptq_gap_as_run_bpw"]
    assert (rotated < 0.1).sum() == 183
    assert rotated.max() == pytest.approx(0.69, abs=0.005)
    symbols = rows.pivot_table(index="layer", columns="method", values="rate_gap_symbols_bpw")
    theory = rows[rows["method"] == "hptq-column"].set_index("layer")["pred_gptq_gap_as_run_bpw"]
    beyond = symbols["hptq-column"] - symbols["watersic"] - theory
    assert (beyond.abs() < 0.03).mean() > 0.5
    assert beyond.idxmax() == "0.k"
    assert beyond["0.k"] == pytest.approx(0.81, abs=0.005)


def test_what_is_kept_is_small():
    assert all(path.stat().st_size < 300_000 for path in FOLDER.glob("*.csv"))
