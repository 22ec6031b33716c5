from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from rdtools.analysis import one_file

from rdtools.measure import measure
from rdtools.methods import parse_method
from rdtools.moments.layer import Layer
from rdtools.moments.synthetic import ar1_moment

FIGURES = Path(__file__).resolve().parents[2] / "figures"


class _Run(dict):
    layers = tuple(SimpleNamespace(name=name, hessian=input_) for name, input_ in (("k", "x"), ("o", "y"), ("q", "x")))


def test_one_file_has_the_same_integers_in_fewer_bytes(monkeypatch):
    """The gap falls by what the file does, and a matrix that is alone at its input stays as it is."""
    moment, rng = ar1_moment(24, 0.9) * np.outer(*[np.arange(1.0, 25.0)] * 2), np.random.default_rng(0)
    run = _Run({name: Layer.of(rng.standard_normal((32, 24)), moment, name=name) for name in "koq"})
    monkeypatch.setattr(one_file, "open_run", lambda folder: run)
    rows = one_file.run(Path("anywhere"), rates=(3.0,), methods=("watersic",))
    assert rows["method"].tolist() == ["watersic"] * 3 + ["watersic+one-file"] * 3
    assert rows["container_layers"].tolist() == [1, 1, 1, 2, 1, 2]
    alone, together = (rows[rows["method"] == name].set_index("layer") for name in ("watersic", "watersic+one-file"))
    assert alone.at["q", "total_bpw"] == measure(run["q"], parse_method("watersic", 3.0).quantize(run["q"])).total_bpw
    saved = alone["total_bpw"] - together["total_bpw"]
    assert saved["o"] == 0
    assert saved["k"] + saved["q"] > 0
    assert (alone["rate_gap_total_bpw"] - together["rate_gap_total_bpw"]).tolist() == pytest.approx(saved.tolist(), abs=1e-12)


def test_the_gallery_prints_the_rows():
    """Means by matrix and by number of weights, and the largest, over the 42 matrices of the embedded model."""
    rows = pd.read_csv(FIGURES / "one_file.csv")
    gallery = (FIGURES / "README.md").read_text()
    table = gallery[gallery.index("`one_file`:") : gallery.index("All 30 matrices")]
    printed = re.findall(r"^\| `(watersic-trellis\S*)` \| (.*) \|$", table, flags=re.MULTILINE)
    assert [name for name, _ in printed] == [f"{method}{suffix}" for method in one_file.METHODS for suffix in ("", "+one-file")]
    for name, cells in printed:
        expected = []
        for rate in one_file.RATES:
            own = rows[(rows["method"] == name) & (rows["target_bpw"] == rate)]
            assert len(own) == 42
            gap = own["rate_gap_total_bpw"]
            expected += [gap.mean(), np.average(gap, weights=own["weights"]), gap.max()]
        assert cells.replace("−", "-").split(" | ") == [f"{value:.3f}" for value in expected]
