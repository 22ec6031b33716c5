from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from rdtools.analysis.page_speed import synthetic_curves, synthetic_run, synthetic_table
from report.unpacking import block_of

import rdtools.report.figures as figures
from rdtools.jobs.verify import VERDICT_VERSIONS
from rdtools.records.rows import COLUMNS
from rdtools.report import Verdicts, claims_table, paired_differences, read_verdicts, write_page
from rdtools.report.allocations_table import allocations_table
from rdtools.report.captions import Caption
from rdtools.report.decimals import decimals_of
from rdtools.report.inline_svg import MAX_CHARACTERS, inline_figure
from rdtools.report.page import _script_json
from rdtools.report.row_data import short_names
from rdtools.report.tables import problem_groups
from rdtools.runs.allocations import Allocation

METHODS = ("gptq", "hptq", "watersic")
NONE = Verdicts(pd.DataFrame(columns=["subject"]), "none")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return synthetic_run(tmp_path_factory.mktemp("run"), 9, columns=32)


@pytest.fixture(scope="module")
def table():
    return synthetic_table(9, methods=METHODS).assign(n_tokens=100_000)


def _page(run, table, *, drawn=None, verdicts=NONE, **tables):
    paired, command = paired_differences(table), "rdtools report"
    return write_page(run, table, synthetic_curves(9), paired, drawn or {}, verdicts=verdicts, command=command, **tables).read_text()


def test_another_bound_is_named_beside_gaps(run, table):
    """In the sentences on top, below the table of gaps, at the curves and the rows of a layer."""
    said = "R(D) of hptq+bias is of the covariance of the input, below that of H"
    assert said not in _page(run, table)
    assert _page(run, table.replace({"method": {"hptq": "hptq+bias"}})).count(said) >= 4


def test_plans_have_a_table_with_their_rates_by_type_and_the_kl_that_was_measured(run, table):
    """The evaluated row of a plan is the one of its label, budget and size; another budget's is not."""
    layers = [
        {"layer": f"model.layers.{block}.mlp.up_proj", "method": "watersic", "rate_bits": rate, "weights": 4, "total_bpw": rate + 0.1}
        | {"relative_distortion": 0.25}
        for block, rate in enumerate((2.0, 3.5))
    ]
    plan = Allocation(model="m", bits=3.0, rule="kl", source="measured", layers=layers, expected_kl_nats=0.05)
    row = {"allocation": "kl, measured", "status": "ok", "kl_nats": 0.0625, "kl_low": 0.06, "kl_high": 0.07, "hessians": "original"}
    others = [{"target_bpw": 4.0}, {"kl_nats": 0.5, "hessians": "sequential"}]
    evaluated = pd.DataFrame([row | {"target_bpw": 3.0, "total_bpw": 2.85} | other for other in ({}, *others)])
    shown = allocations_table({"3-kl": plan, "4-kl": plan.model_copy(update={"bits": 5.0})}, evaluated)
    assert shown.iloc[0].to_dict() == {
        **{"plan": "3-kl", "least": "kl, measured", "budget": "3", "files": "2.8500", "methods": "watersic", "up": "2.00 to 3.50"},
        **{"Σ D/D₀": "0.5", "KL expected": "0.05", "KL measured": "0.0625 (0.06 to 0.07)"},
    }
    assert shown["KL measured"].tolist()[1] == "–"
    page = _page(run, table, allocations=shown)
    assert '<a href="#allocations">' in page
    assert "<td>2.00 to 3.50</td>" in page[page.index('<section id="allocations">') :].split("</section>")[0]
    assert 'id="allocations"' not in _page(run, table)


def test_files_of_others_have_a_table_of_their_own(run, table):
    """Means by file and type as `foreign_by_type` gives them; no section where nothing was measured, or nothing is ok."""
    cells = {
        "file": "x<y>.gguf",
        "layer_type": "up_proj",
        "layer": "a",
        "stored_type": "Q2_K",
        "best_method": "watersic",
        "total_bpw": 2.625,
    }
    foreign = pd.DataFrame([{**cells, "status": status, "rate_gap_total_bpw": 0.5} for status in ("ok", "failed")])
    page = _page(run, table, foreign=foreign)
    section = page[page.index('<section id="foreign">') :].split("</section>")[0]
    for part in (
        "x&lt;y&gt;.gguf",
        "<td>up</td><td>1</td><td>Q2_K</td><td>2.625</td>",
        "<td>0.500</td>",
        "<td>watersic</td>",
        "R(D), one variance",
    ):
        assert part in section
    assert '<a href="#foreign">' in page
    for nothing in (None, foreign[foreign["status"] != "ok"]):
        assert 'id="foreign"' not in _page(run, table, foreign=nothing)


def test_the_page_is_the_same_bytes_again(run, table):
    assert _page(run, table) == _page(run, table)


def test_every_row_of_the_page_is_the_row_of_the_table_as_printed(run, table):
    rows = block_of(_page(run, table))["rows"]
    assert len(rows["layer"]) == len(table) == 81
    about = {column.name: column for column in COLUMNS}
    wanted = table.assign(target=[f"{t:g}" for t in table["target_bpw"]]).set_index(["layer", "method", "target"])
    keys = list(zip(rows["layer"], rows["method"], rows["target_bpw"], strict=True))
    assert len(set(keys)) == 81
    for name, shown in rows.items():
        values = wanted.loc[keys, name].to_list() if name in wanted else []
        if table[name].dtype.kind == "f" and name not in ("target_bpw", "damping"):
            decimals = decimals_of(about[name], table[name].to_numpy())
            assert shown == [decimals.text(value) for value in values], name
        elif name != "target_bpw" and name in wanted:
            assert shown == [str(value) for value in values], name
    assert {"rate_gap_total_bpw", "total_bpw", "sqnr_db", "status", "message"} <= set(rows)
    assert not {"low_rank", "activation_bits"} & set(rows)


def test_layers_have_their_spectra_curves_and_water_levels(run, table):
    tables = block_of(_page(run, table))
    assert tables["layers"]["layer"] == list(dict.fromkeys(table["layer"]))
    assert tables["hessian_of_layer"]["hessian"] == [str(entry.hessian) for entry in run.layers]
    spectra = tables["spectra"]
    assert spectra["kind"][:2] == ["eigenvalues of H", "ℓ²"]
    assert len(set(spectra["subject"])) == len(run.hessians)
    first = int(spectra["points"][0])
    ranks, logarithms = ([float(v) for v in tables["spectra_points"][axis][:first]] for axis in "xy")
    assert (ranks[0], ranks[-1]) == (1, 32)
    assert logarithms == sorted(logarithms, reverse=True)
    levels = [float(v) for v in tables["water_levels"]["level"][:3]]
    assert levels == sorted(levels, reverse=True), "more bits, a lower level"
    curves, points = tables["curves"], tables["curves_points"]
    assert set(curves["subject"]) == {str(i) for i in range(9)}
    count = int(curves["points"][0])
    energy = (table["distortion"] / table["relative_distortion"]).iloc[0]
    own = synthetic_curves(9).head(38)
    assert [float(v) for v in points["x"][:count]] == pytest.approx(own["rate_bpw"].to_list(), abs=5e-4)
    assert [float(v) for v in points["y"][:count]] == pytest.approx((-10 * np.log10(own["distortion"] / energy)).to_list(), abs=5e-3)


def test_a_figure_is_a_module_and_an_entry_and_no_edit_of_the_page(run, table, tmp_path, monkeypatch):
    (tmp_path / "mine.svg").write_text('<?xml?><svg width="72pt"><g id="a" style="fill: #000000"/><use xlink:href="#a"/></svg>')
    caption = Caption("My figure", "what is seen", "No bound; {{ layers }} layers. {% if run.heldout %}held out{% endif %}")
    monkeypatch.setitem(figures.CAPTIONS, "mine", caption)
    page = _page(run, table, drawn={"mine": tmp_path / "mine.png"})
    assert '<figure id="figure-mine">' in page
    assert "No bound; 9 layers. </figcaption>" in page
    assert '<g id="mine-a" style="fill: currentColor"/><use xlink:href="#mine-a"/>' in page


def test_every_figure_has_words_of_its_own():
    captions = list(figures.CAPTIONS.values())
    assert tuple(figures.CAPTIONS) == figures.PAGE
    assert len({caption.title for caption in captions}) == len({caption.alt for caption in captions}) == len(captions)


def test_a_figure_of_too_many_marks_is_a_picture(tmp_path):
    (tmp_path / "many.svg").write_text('<svg width="72pt">' + " " * MAX_CHARACTERS + "</svg>")
    (tmp_path / "many.png").write_bytes(b"picture")
    drawing, width = inline_figure(tmp_path / "many.png", "seen")
    assert drawing == '<img alt="seen" width="96" src="data:image/png;base64,cGljdHVyZQ==">'
    assert width == 88


def _verdicts(statuses):
    rows = [
        {"subject": f"model.layers.0.{kind}", "claim": claim, "status": status, "lhs": 0.5, "relation": "≤", "rhs": 1.0, "margin": margin}
        | {"unit": "bpw", "statement": "a ≤ b", "assumption": "why", "source": "paper v1"}
        for claim, kind, status, margin in statuses
    ]
    return pd.DataFrame(rows)


def test_claims_are_summed_up_and_violated_ones_come_first(run, table, monkeypatch):
    verdicts = _verdicts(
        [
            ("a.holds", "self_attn.q_proj", "holds", 0.25),
            ("a.holds", "mlp.up_proj", "not applicable", np.nan),
            ("b.violated", "self_attn.q_proj", "violated", -0.5),
            ("c.elsewhere", "of.another.run", "holds", 0.0),
        ]
    )
    summary = claims_table.claims_summary(verdicts)
    assert summary["claim"].tolist() == ["b.violated", "a.holds", "c.elsewhere"]
    assert summary.iloc[1][["holds", "not applicable", "least margin"]].tolist() == [1, 1, "0.25 bpw"]
    page = _page(run, table, verdicts=Verdicts(verdicts))
    assert "b.violated" in page
    assert "c.elsewhere" not in page
    assert block_of(page)["claims"]["lhs"] == ["5.000e-01"] * 3
    monkeypatch.setattr(claims_table, "MAX_SIDES", 2)
    assert block_of(_page(run, table, verdicts=Verdicts(verdicts)))["claims"]["lhs"] == ["–", "5.000e-01", "5.000e-01"]


def test_verdicts_of_other_versions_are_not_shown(tmp_path):
    path = tmp_path / "verification.parquet"
    assert "No claims were checked" in read_verdicts(path, VERDICT_VERSIONS).reason
    verdicts = _verdicts([("a", "q_proj", "holds", 1.0)])
    verdicts.to_parquet(path)
    assert "another version" in read_verdicts(path, VERDICT_VERSIONS).reason
    verdicts.attrs = dict(VERDICT_VERSIONS)
    verdicts.to_parquet(path)
    assert (read_verdicts(path, VERDICT_VERSIONS).reason, len(read_verdicts(path, VERDICT_VERSIONS).table)) == ("", 1)
    path.write_bytes(b"PAR1")
    assert "cannot be read" in read_verdicts(path, VERDICT_VERSIONS).reason


def test_rows_that_are_not_ok_are_counted_with_one_of_their_reasons(table):
    failed = table.assign(status=np.where(table["method"] == "gptq", "failed", "ok"), message="too small")
    groups = problem_groups(failed)
    assert groups[["method", "target", "status", "rows"]].to_numpy().tolist() == [["gptq", t, "failed", 9] for t in (2.0, 3.0, 4.0)]
    assert groups["whose message is"].tolist() == ["too small"] * 3


def test_no_text_ends_a_script_and_names_are_short():
    assert json.loads(_script_json({"a": "</script>"})) == {"a": "</script>"}
    assert "<" not in _script_json({"a": "</script>"})
    assert short_names(["a.b.q"])[0] == short_names(["q", "a.k"])[0] == ""
