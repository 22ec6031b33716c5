from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rdtools.compare.curves import theory_curves
from rdtools.jobs.calibration import CalibrationRequest
from rdtools.jobs.collect import collect
from rdtools.methods import METHODS, make_quantizers, parse_method
from rdtools.model.layer_names import LAYER_TYPES
from rdtools.moments.layer import Layer
from rdtools.records import Hessian, LayerKey
from rdtools.records.additive_codes import AdditiveCodes
from rdtools.report.figures import (
    MODULES,
    PAGE,
    draw_figure,
    gptq_watersic_gap,
    heldout,
    legend_entries,
    write_figures,
)
from rdtools.report.figures.canvas import styled
from rdtools.report.tables import by_type, knowing_rows, layer_means, status_counts, terminal_tables
from rdtools.report.whole_names import parts_of
from rdtools.runs.results import to_table
from rdtools.sweep.task import quantize_layer

KEPT = Path(__file__).resolve().parents[2] / "figures"


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    results, curves = [], []
    for block in range(3):
        for kind in ("q_proj", "down_proj"):
            X = rng.standard_normal((200, 16)) * np.exp(rng.standard_normal(16))
            key = LayerKey("m", f"model.layers.{block}.{kind}", kind, block)
            layer = Layer(key, rng.standard_normal((48, 16)), Hessian(X.T @ X / 200, 200))
            results += quantize_layer(layer, tuple(make_quantizers(["hptq", "hptq+rotation", "watersic"], [2.0, 3.0])), seed=0)
            curves += theory_curves(layer, np.linspace(0, 4, 9))
    return to_table(results), pd.DataFrame(curves)


@pytest.mark.parametrize("name", PAGE)
def test_figures_survive_poor_tables(name, rows):
    """One point, no row that is ok, only failures: drawn or said, never an exception."""
    table, curves = rows
    failed = table.assign(status="failed", distortion=np.nan)
    for case in (table, table.head(1), table[table["method"] == "hptq"], failed, table.head(0)):
        figure = draw_figure(name, {"results": case, "curves": curves})
        assert figure.get_axes() or figure.texts


def test_figures_are_the_same_bytes_again_and_leave_settings_alone(rows, tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    first = write_figures(*rows, tmp_path / "a")
    second = write_figures(*rows, tmp_path / "b")
    assert dict(matplotlib.rcParams) == before
    for name in first:
        for kind in (".png", ".pdf", ".svg"):
            assert first[name].with_suffix(kind).read_bytes() == second[name].with_suffix(kind).read_bytes()


def test_means_are_over_layers_that_are_ok(rows):
    table, _ = rows
    broken = table.copy()
    broken.loc[broken["layer"] == "model.layers.0.q_proj", "status"] = "undersampled"
    means = by_type(broken, target=2.0, value="rate_gap_total_bpw")
    own = table[(table["method"] == "hptq") & (table["target_bpw"] == 2.0) & (table["layer"] != "model.layers.0.q_proj")]
    assert means.loc["hptq", "q_proj"] == pytest.approx(own[own["layer_type"] == "q_proj"]["rate_gap_total_bpw"].mean())
    assert means.loc["hptq", "all"] == pytest.approx(own["rate_gap_total_bpw"].mean())
    assert list(means.columns) == ["q_proj", "down_proj", "all", "by weights"]
    assert status_counts(broken) == {"ok": 30, "undersampled": 6}


@pytest.mark.parametrize("name", ["gap_to_rd", "rate_kinds"])
def test_figures_of_means_compare_methods_on_the_layers_that_all_have(name, rows):
    """One row of one method fails: its layer leaves the means of the others at that rate, too, and the title counts."""
    table, curves = rows
    lost = (table["layer"] == "model.layers.0.q_proj") & (table["method"] == "hptq") & (table["target_bpw"] == 2.0)
    columns = {"rate_kind": "entropy_shared", "symbol_bpw": 2.0, "entropy_pooled_bpw": 1.9}
    titles = []
    for status in ("ok", "failed"):
        shown = table.assign(**columns, status=table["status"].where(~lost, status))
        titles.append(draw_figure(name, {"results": shown, "curves": curves}).axes[0].get_title())
    every = table["layer"].nunique()
    assert titles == ["", f"means over the {every - 1} to {every} of {every} layers that all methods have"]


@pytest.mark.parametrize(
    ("name", "column"),
    [("rate_split", "payload_bpw"), ("low_rate", "rate_gap_total_bpw"), ("trellis_frontier", "rate_gap_total_bpw")]
    + [(name, "rate_gap_total_bpw") for name in ("trellis_states", "trellis_stacked")],
)
def test_figures_of_kept_rows_compare_methods_on_the_layers_that_all_have(name, column):
    """As above, where the trellis lacks the last of the trained matrices."""
    kept = pd.read_csv(KEPT / f"{name}.csv")
    lost = kept.index[kept["method"].eq("watersic-trellis")][-1]
    figure = draw_figure(name, {name: kept.assign(**{column: kept[column].where(kept.index != lost)})})
    assert any("that all methods have" in text for text in (figure.get_suptitle(), *(axis.get_title() for axis in figure.axes)))


@pytest.mark.parametrize("name", ["gap_to_rd", "rate_kinds", "gap_depth", "rate_distortion"])
def test_another_bound_is_named_where_gaps_or_bounds_are_drawn(name, rows):
    """With a bias per row R(D) is of the covariance of the input; without such methods nothing is said."""
    table, curves = rows
    columns = {"rate_kind": "entropy_shared", "symbol_bpw": 2.0, "entropy_pooled_bpw": 1.9}
    said = []
    for replaced in ("hptq+rotation", "hptq+bias"):
        shown = table.assign(**columns, method=table["method"].replace("hptq+rotation", replaced).replace("watersic", "rtn"))
        shown = shown[shown["method"] != "hptq"]
        figure = draw_figure(name, {"results": shown, "curves": curves})
        said.append([text for text in (figure.get_suptitle(), *(axis.get_title() for axis in figure.axes)) if "covariance" in text])
    assert said == [[], ["R(D) of hptq+bias is of the covariance of the input, below that of H"]]


def test_a_legend_names_what_any_panel_shows(rows):
    """GPTQ is missing in the first panel, at 2 bits, and in the first layer type; WaterSIC in the second."""
    table, curves = rows
    kept = (table["method"] == "hptq") == ((table["target_bpw"] == 3.0) & (table["layer_type"] == "down_proj"))
    for name in ("predicted_measured", "rate_distortion"):
        figure = draw_figure(name, {"results": table[kept], "curves": curves})
        legends = [*figure.legends, *(axis.get_legend() for axis in figure.axes if axis.get_legend() is not None)]
        shown = {text.get_text() for legend in legends for text in legend.get_texts()}
        drawn = {label for axis in figure.axes for label in axis.get_legend_handles_labels()[1]}
        assert shown == drawn
        assert any(label.startswith("hptq") for label in drawn - set(figure.axes[0].get_legend_handles_labels()[1]))


def test_which_rows_know_the_variances_of_rows_is_what_their_files_hold():
    """By the registry for fixed rates, beside what a quantizer of each really stores."""
    rng = np.random.default_rng(3)
    layer = Layer(LayerKey("m", "a.q_proj", "q_proj", 0), rng.standard_normal((512, 16)), Hessian(np.eye(16), 0))
    seen = {}
    for name, rate in (("rtn", 3), ("gptq-g128", 3), ("gptq-waterfilled", 3), ("quip", 3), ("quip-sharp", 2), ("qtip", 2), ("crvq", 2.5)):
        symbols = parse_method(name, rate).quantize(layer).weight.symbols
        scales = symbols.scales if isinstance(symbols, AdditiveCodes) else getattr(getattr(symbols, "grid", None), "rows", None)
        seen[name] = scales is not None
    assert seen == {name: METHODS[name].row_scales for name in seen}
    assert all(METHODS[name].fixed_coder for name in seen)
    kinds = {"hptq": "entropy_shared", "watersic": "entropy_column", "watersic-histogram": "entropy_histogram", "other": "fixed"}
    table = pd.DataFrame({"method": [*seen, *kinds], "rate_kind": ["fixed"] * len(seen) + list(kinds.values())})
    assert set(knowing_rows(table)["method"]) == {name for name, known in seen.items() if known} | {"watersic"}


def test_a_legend_is_no_wider_than_its_figure(rows):
    """In the narrowest style, of the figure with the longest labels."""
    table, curves = rows
    with styled("neurips"):
        figure = draw_figure("rate_distortion", {"results": table, "curves": curves})
        (legend,) = figure.legends
        assert legend.get_window_extent(figure.canvas.get_renderer()).width <= figure.bbox.width == 5.5 * figure.dpi


def test_methods_look_the_same_in_every_figure_of_a_report_and_are_in_its_order(rows):
    table, curves = rows
    shuffled = (("gap_to_rd", table.iloc[::-1]), ("predicted_measured", table))
    gap, predicted = (draw_figure(name, {"results": results, "curves": curves}) for name, results in shuffled)
    assert [label for label in legend_entries(gap.axes)[1] if label in set(table["method"])] == ["hptq", "hptq+rotation", "watersic"]
    looks = []
    for figure in (gap, predicted):
        handles, labels = legend_entries(figure.axes)
        lines = dict(zip(labels, (handle[0] if isinstance(handle, tuple) else handle for handle in handles), strict=True))
        looks.append(
            {
                label: (line.get_color(), line.get_marker(), line.get_markerfacecolor())
                for label, line in lines.items()
                if label in set(table["method"])
            }
        )
    assert looks[0] == looks[1]


def test_tables_are_made_without_matplotlib():
    code = (
        "import sys\n"
        "import rdtools.report.tables, rdtools.report.rows, rdtools.report\n"
        "from rdtools.cli import theory\n"
        "assert 'matplotlib' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_theory_command_loads_no_matplotlib(tiny_llama, tiny_tokens, tmp_path):
    code = (
        "import sys\nfrom rdtools.cli.main import main\nassert main(['theory', sys.argv[1]]) == 0\nassert 'matplotlib' not in sys.modules\n"
    )
    collect(str(tiny_llama), CalibrationRequest(tokens=tiny_tokens), out=tmp_path / "run")
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "R_c" in done.stdout


def test_gptq_is_compared_with_watersic_of_the_same_coder():
    """Two panels, a pair in each; without a partner of its coder a method is left out, and with none the figure says what it needs."""
    rng = np.random.default_rng(1)
    key = LayerKey("m", "model.layers.0.q_proj", "q_proj", 0)
    layer = Layer(key, rng.standard_normal((64, 16)), Hessian(np.diag(np.geomspace(1, 50, 16)), 0))
    names = [name for pair in gptq_watersic_gap.PAIRS.values() for name in pair]
    table = to_table(list(quantize_layer(layer, make_quantizers(names, [4.0]), seed=0)))
    by_method = table.set_index("method")["rate_gap_symbols_bpw"]
    figure = gptq_watersic_gap.draw(table)
    assert len(figure.axes) == len(gptq_watersic_gap.PAIRS) == 2
    for axis, (gptq, watersic) in zip(figure.axes, gptq_watersic_gap.PAIRS.values(), strict=True):
        theory, measured = (line.get_ydata().item() for line in axis.get_lines()[:2])
        assert theory == table.set_index("method")["pred_gptq_gap_as_run_bpw"][gptq]
        assert measured == by_method[gptq] - by_method[watersic]
    (gptq, _), (_, watersic) = gptq_watersic_gap.PAIRS.values()
    unlike = gptq_watersic_gap.draw(table[table["method"].isin([gptq, watersic])])
    assert not unlike.axes
    assert "needs rows of" in unlike.texts[0].get_text()


def test_figures_read_the_columns_that_they_say(rows):
    table, curves = rows
    for name in PAGE:
        assert draw_figure(name, {"results": table[list(MODULES[name].READS)], "curves": curves}) is not None


def test_means_over_layers_count_matrices_or_weights():
    table = pd.DataFrame({"method": ["a", "a", "b"], "rows": [1, 3, 5], "columns": [2, 2, 5], "x": [1.0, 2.0, 7.0]})
    means = layer_means(table, "x")
    assert means.loc["a"].tolist() == [1.5, 1.75]
    assert means.loc["b"].tolist() == [7.0, 7.0]
    assert np.isnan(layer_means(table.assign(x=[np.nan, 2.0, np.nan]), "x").reindex(["a", "b"]).loc["b", "all"])


@pytest.mark.parametrize("method", ["watersic+rotation", "watersic(damping=0.01,precision=float32)+hadamard+act-order"])
@pytest.mark.parametrize("width", [80, 60, 30])
def test_the_terminal_tables_fit_with_all_digits(method, rows, width):
    """A long name takes more lines, columns that do not fit are in further tables, and no digit is cut."""
    from rich.console import Console

    console = Console(width=width)
    table = rows[0]
    shown = pd.concat([table.assign(layer_type=kind, layer=table["layer"] + kind) for kind in LAYER_TYPES])
    with console.capture() as captured:
        parts = terminal_tables(shown.replace({"method": {"hptq+rotation": method}}), target=2.0, width=width)
        for part in parts:
            console.print(part)
    text = captured.get()
    assert (len(parts) == 1) == (width == 80)
    assert text.count("hptq") >= len(parts)
    assert len(re.findall(r"\d\.\d{3}(?!\d)", text)) == 3 * (len(LAYER_TYPES) + 2) + 1
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    printed = {line.split()[0] for line in text.splitlines() if line.strip()}
    assert {part for part in parts_of(method) if width > 30 or len(part) < 12} <= {part for word in printed for part in parts_of(word)}
    for heading in ("q", "down", "all", "weight", "var."):
        assert heading in text


def test_the_heldout_figure_counts_the_layers_that_a_panel_leaves_out(rows):
    """Of six layers, one has an infinite N_eff, one none, and one no ratio, which no panel can show."""
    table, _ = rows
    layers = table["layer"].unique()
    full = table.assign(heldout_over_calibration=1.1, distinct_tokens=200, effective_tokens=100.0)
    assert not any(axis.get_title() for axis in heldout.draw(full).axes)
    poor = full.copy()
    poor.loc[poor["layer"] == layers[0], "effective_tokens"] = np.inf
    poor.loc[poor["layer"] == layers[1], "effective_tokens"] = np.nan
    poor.loc[poor["layer"] == layers[2], "heldout_over_calibration"] = np.nan
    left, right = heldout.draw(poor).axes
    assert left.get_title().startswith("1 of 6 layers left out: N or ratio")
    assert right.get_title().startswith("3 of 6 layers left out: N_eff or ratio")
    for axis, shown in ((left, 5), (right, 3)):
        drawn = [line for line in axis.get_lines() if str(line.get_label()) in set(table["method"])]
        assert {len(line.get_xdata()) for line in drawn} == {shown}
