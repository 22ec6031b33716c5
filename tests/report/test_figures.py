from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rdtools.cli.methods import DEFAULT_METHODS, METHODS, make_quantizers
from rdtools.curves import theory_curves
from rdtools.hessians.layer import Layer
from rdtools.records import Hessian, LayerKey
from rdtools.report.figures import FIGURES, write_figures
from rdtools.report.style import method_style
from rdtools.report.tables import by_type, status_counts
from rdtools.sweep import to_table
from rdtools.sweep.task import quantize_layer


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    results, curves = [], []
    for block in range(3):
        for kind in ("q", "down"):
            X = rng.standard_normal((200, 16)) * np.exp(rng.standard_normal(16))
            key = LayerKey("m", f"model.layers.{block}.{kind}", kind, block)
            layer = Layer(key, rng.standard_normal((48, 16)), Hessian(X.T @ X / 200, 200))
            results += quantize_layer(layer, tuple(make_quantizers(["gptq", "gptq+rotation", "watersic"], [2.0, 3.0])), seed=0)
            curves += theory_curves(layer, np.linspace(0, 4, 9))
    return to_table(results), pd.DataFrame(curves)


@pytest.mark.parametrize("name", FIGURES)
def test_figures_survive_poor_tables(name, rows):
    """One point, no row that is ok, only failures: drawn or said, never an exception."""
    table, curves = rows
    failed = table.assign(status="failed", distortion=np.nan)
    for case in (table, table.head(1), table[table["method"] == "gptq"], failed, table.head(0)):
        assert FIGURES[name](case, curves).get_axes() or FIGURES[name](case, curves).texts


def test_figures_are_the_same_bytes_again_and_leave_settings_alone(rows, tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    first = write_figures(*rows, tmp_path / "a")
    second = write_figures(*rows, tmp_path / "b")
    assert dict(matplotlib.rcParams) == before
    for name in first:
        for kind in (".png", ".pdf"):
            assert first[name].with_suffix(kind).read_bytes() == second[name].with_suffix(kind).read_bytes()


def test_means_are_over_layers_that_are_ok(rows):
    table, _ = rows
    broken = table.copy()
    broken.loc[broken["layer"] == "model.layers.0.q", "status"] = "undersampled"
    means = by_type(broken, target=2.0, value="coded_gap_bits")
    own = table[(table["method"] == "gptq") & (table["target_rate_bits"] == 2.0) & (table["layer"] != "model.layers.0.q")]
    assert means.loc["gptq", "q"] == pytest.approx(own[own["layer_type"] == "q"]["coded_gap_bits"].mean())
    assert means.loc["gptq", "all"] == pytest.approx(own["coded_gap_bits"].mean())
    assert list(means.columns) == ["q", "down", "all"]
    assert status_counts(broken) == {"ok": 30, "undersampled": 6}


def test_every_method_of_a_report_has_its_own_look_and_variants_that_of_their_family():
    bases = {name.partition("+")[0] for name in DEFAULT_METHODS}
    looks = {(style["color"], style["marker"]) for style in map(method_style, bases)}
    assert len(looks) == len(bases)
    assert all(method_style(name)["marker"] != "." for name in METHODS)
    assert method_style("quip-published") == method_style("quip")
    assert method_style("gptq+haar")["markerfacecolor"] == "white"
    assert method_style("gptq+act-order")["fillstyle"] == "left"
    looks = [tuple(sorted(method_style(name).items())) for name in DEFAULT_METHODS]
    assert len(set(looks)) == len(looks)
