"""Summaries by metric and group, and the formats that they are written in."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

from rdtools.errors import CorruptFile, UsageError
from rdtools.report.formats import compressai_curves, latex_text, read_compressai, text_table, to_csv, to_latex, to_markdown, to_text
from rdtools.report.summaries import bd_rate, caption, long_rows, summaries

NAMES = ("model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj", "model.layers.1.mlp.up_proj")


def results():
    """Three layers, two methods, three rates: watersic needs 0.9 of hptq's rate at the same SQNR."""
    rows = []
    for number, layer in enumerate(NAMES):
        for target in (2.0, 3.0, 4.0):
            for method, kind, factor in (("hptq", "entropy_shared", 1.0), ("watersic", "entropy_column", 0.9)):
                rows.append(
                    {
                        "model": "tiny_llama",
                        "layer": layer,
                        "layer_type": layer.rpartition(".")[2],
                        "block": int(number > 0),
                        "rows": 10 * (number + 1),
                        "columns": 10,
                        "method": method,
                        "rate_kind": kind,
                        "target_bpw": target,
                        "status": "ok",
                        "total_bpw": factor * target,
                        "sqnr_db": 6 * target + number,
                        "relative_distortion": 10 ** -(0.6 * target + number / 10),
                        "rate_gap_total_bpw": factor * (number + 1) / 10,
                        "rate_gap_total_rowvar_bpw": 0.1,
                    }
                )
    return pd.DataFrame(rows)


def test_captions_of_gaps_name_another_bound():
    table = results().replace({"method": {"watersic": "watersic+bias"}})
    for metric, by in (("gap", "type"), ("gap-rowvar", "layer")):
        text = caption(summaries({"run": table}, metric=metric, by=by)[0])
        assert "model per column, bias per row: watersic+bias" in text
        assert text.endswith(" R(D) of watersic+bias is of the covariance of the input, below that of H.")
    assert "covariance" not in caption(summaries({"run": table}, metric="total")[0])
    assert "covariance" not in caption(summaries({"run": results()})[0])


def test_means_are_by_type_over_matrices_and_over_weights():
    (first, *others) = summaries({"run": results()})
    assert [one.target for one in (first, *others)] == [2.0, 3.0, 4.0]
    np.testing.assert_allclose(first.cells.loc[("run", "hptq")], [0.15, 0.3, 0.2, (10 * 0.1 + 20 * 0.2 + 30 * 0.3) / 60], rtol=1e-14)
    assert list(first.cells.columns) == ["q", "up", "all", "by weight"]
    assert caption(first) == (
        "Total rate of the file above R(D), one variance, in bpw at a target of 2 bpw; means over 3 matrices of tiny_llama. "
        "Coders: pooled table: hptq; model per column: watersic."
    )


def test_blocks_and_layers_go_down_and_rows_that_are_not_ok_do_not_count():
    table = results()
    table.loc[(table["layer"] == NAMES[2]) & (table["method"] == "hptq"), "status"] = "failed"
    (blocks,) = summaries({"run": table}, by="block", rates=[3.0], methods=["hptq", "watersic"])
    assert "means over the 2 of 3 matrices of tiny_llama that all methods have" in caption(blocks)
    np.testing.assert_allclose(blocks.cells[("run", "hptq")], [0.1, 0.2])
    np.testing.assert_allclose(blocks.cells[("run", "watersic")], [0.09, 0.18])
    table.loc[(table["layer"] == NAMES[1]) & (table["method"] == "hptq"), "status"] = "failed"
    (types,) = summaries({"run": table}, rates=[3.0])
    assert types.fewer == {"hptq": 1}
    assert "means over 3 matrices of tiny_llama (hptq: its own 1)" in caption(types)
    (layers,) = summaries({"run": table}, by="layer", rates=[3.0])
    assert list(layers.cells.index) == ["0.q_proj", "1.q_proj", "1.up_proj"]
    assert long_rows(layers).dropna()["value"].size == 4
    assert "means over 3 matrices of" in caption(layers)


def test_several_runs_stand_side_by_side():
    (one,) = summaries({"a": results(), "b": results().assign(rate_gap_total_bpw=1.0)}, rates=[2.0])
    assert one.cells.loc[("b", "hptq"), "all"] == 1.0
    assert "a: watersic" in to_text([one], 80)


def test_bjontegaard_difference_of_a_constant_factor_is_that_factor():
    pytest.importorskip("bjontegaard")
    (one,) = summaries({"run": results()}, metric="bd-rate")
    assert one.reference == "hptq"
    np.testing.assert_allclose(one.cells.loc[("run", "watersic")], -10.0, rtol=0, atol=1e-9)
    curve = results()[lambda t: (t["layer"] == NAMES[0]) & (t["method"] == "hptq")]
    assert bd_rate(curve, curve) == pytest.approx(0.0, abs=1e-12)
    assert np.isnan(bd_rate(curve, curve.iloc[:1]))
    assert np.isnan(bd_rate(curve, curve.assign(sqnr_db=curve["sqnr_db"] + 7)))  # less than half of 12 dB in common
    other_seed = results().assign(total_bpw=lambda t: t["total_bpw"] + 0.01, sqnr_db=lambda t: t["sqnr_db"] - 0.01)
    (both,) = summaries({"run": pd.concat([results(), other_seed])}, metric="bd-rate")  # at a higher rate and yet worse: no curve as it is
    np.testing.assert_allclose(both.cells.loc[("run", "watersic")], -10.0, rtol=0, atol=0.03)
    with pytest.raises(UsageError, match="no layer on which a method and the reference have two rates"):
        summaries({"run": results()}, metric="bd-rate", rates=[2.0])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"metric": "gaps"}, "`metric` gaps: expected one of gap"),
        ({"reference": "hptq"}, "`reference` hptq: gap is compared with no method; leave it out, or choose `metric` bd-rate"),
        ({"by": "size"}, "`by` size: expected one of type, block, layer"),
        ({"methods": ["gptq"]}, "`methods` gptq: none in these results, which have hptq, watersic"),
        ({"rates": [5.0]}, "`rates` 5: none in these results, which have 2, 3, 4"),
    ],
)
def test_what_is_not_there_is_named_beside_what_is(settings, sentence):
    with pytest.raises(UsageError, match=sentence):
        summaries({"run": results()}, **settings)


def test_nothing_to_show_is_said():
    with pytest.raises(UsageError, match="no row of these results has status ok"):
        summaries({"run": results().assign(status="failed")})


def test_csv_has_every_digit_and_markdown_a_cell_each():
    found = summaries({"run": results()})
    read = pd.read_csv(io.StringIO(to_csv(found)))
    assert read["target_bpw"].tolist() == [2, 2, 3, 3, 4, 4]
    assert read["by weight"].tolist()[:2] == found[0].cells["by weight"].tolist()
    lines = to_markdown(found[:1]).strip().split("\n")
    assert lines[2:] == ["| method | q | up | all | by weight |", "|---|---:|---:|---:|---:|", lines[4], lines[5]]
    assert lines[5] == "| `watersic` | **0.135** | **0.270** | **0.180** | **0.210** |"


def test_latex_is_whole_and_names_bound_and_coder(tmp_path):
    """Environments and braces are balanced, every line has its cells, nothing special is bare; compiled where there is TeX."""
    table = results()
    table["model"] = "a_b & 50 %"
    text = to_latex(summaries({"run": table}) + summaries({"run": table}, metric="sqnr", by="layer", rates=[2.0]))
    assert text.startswith("% needs \\usepackage{booktabs}\n")
    stack = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        stack.append(name) if kind == "begin" else stack.remove(name)
    assert not stack
    bare = re.sub(r"\\[&%$#_{}\\]", "", text.partition("\n")[2])
    assert bare.count("{") == bare.count("}")
    assert not re.search(r"[%#]|[^\x00-\x7f]", bare)
    assert "_" not in re.sub(r"\$[^$]*\$", "", bare)
    for body in re.findall(r"\\begin\{tabular\}\{(l r*|lr+)\}(.*?)\\end\{tabular\}", text, re.DOTALL):
        rows = [line for line in body[1].split("\n") if line.endswith("\\\\")]
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(body[0])}
    assert "above $R(D)$, one variance, in bits per weight at a target of 2 bpw" in text
    assert "Coders: pooled table: hptq; model per column: watersic." in text
    assert "a\\_b \\& 50 \\%" in text
    assert len(set(re.findall(r"\\label\{(.*?)\}", text))) == 4
    engine = shutil.which("pdflatex")
    if engine:
        (tmp_path / "t.tex").write_text(f"\\documentclass{{article}}\\usepackage{{booktabs}}\\begin{{document}}{text}\\end{{document}}")
        subprocess.run([engine, "-halt-on-error", "t.tex"], cwd=tmp_path, check=True, capture_output=True)


def test_text_for_latex_has_no_command_in_it():
    assert latex_text("\\~^&%$#_{}−é") == r"\textbackslash{}\textasciitilde{}\textasciicircum{}\&\%\$\#\_\{\}$-$?"


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_terminal_tables_keep_to_the_width_and_lose_no_column(width):
    text = to_text(summaries({"run": results()}), width)
    assert max(map(len, text.split("\n"))) <= width
    assert text.count("0.135*") == 3
    wide = list(text_table(["layer", *(f"column{i}" for i in range(30))], [["name", *map(str, range(30))]], width))
    assert {word for line in wide for word in line.split()} == {"layer", "name", *(f"column{i}" for i in range(30)), *map(str, range(30))}
    assert max(map(len, wide)) <= width


def test_curves_of_compressai_compare_methods_on_the_layers_that_all_have():
    """Without watersic's third layer at 3 bits the means of hptq are over two layers there, too, and the description says so."""
    table = results()
    lost = table["method"].eq("watersic") & table["layer"].eq(NAMES[2]) & table["target_bpw"].eq(3.0)
    curves = compressai_curves({"run": table.assign(status=np.where(lost, "failed", "ok"))})
    assert [curve["results"]["sqnr_db"] for curve in curves] == [pytest.approx([13, 18.5, 25])] * 2
    for curve in curves:
        assert "on 2 to 3 matrices of tiny_llama (means over the 2 to 3 of 3 layers that all methods have)" in curve["description"]


def test_curves_of_compressai_go_out_and_come_in(tmp_path):
    (hptq, watersic) = compressai_curves({"run": results()})
    assert hptq["name"] == "hptq"
    assert watersic["results"]["bpp"] == pytest.approx([1.8, 2.7, 3.6])
    assert watersic["results"]["sqnr_db"] == pytest.approx([13, 19, 25])
    path = tmp_path / "curves.json"
    path.write_text(json.dumps([hptq, watersic]))
    read = read_compressai(path)
    assert read[read["method"] == "watersic"]["total_bpw"].tolist() == watersic["results"]["bpp"]
    path.write_text(json.dumps({"name": "image codec", "results": {"bpp": [0.1, 0.2], "psnr-rgb": [27, 29.5]}}))
    assert read_compressai(path)["sqnr_db"].tolist() == [27, 29.5]
    for bad in ("x", "[]x", '{"results": 3}', '{"results": {"bpp": [1], "psnr": []}}', '{"results": {"bpp": [1], "psnr": ["a"]}}', "3"):
        path.write_text(bad)
        with pytest.raises(CorruptFile, match=r"curves\.json"):
            read_compressai(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_compressai(tmp_path / "none.json")
