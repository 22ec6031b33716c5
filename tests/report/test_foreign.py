from __future__ import annotations

import pandas as pd

from rdtools.records import LayerRow
from rdtools.records.foreign_rows import FOREIGN_COLUMNS, BesideRow, ForeignRow
from rdtools.records.rows import COLUMNS, LAYER_COLUMNS
from rdtools.report.figures.foreign import draw
from rdtools.report.foreign import foreign_by_type


def _row(layer: str, kind: str, total: float, *, status="ok", beside=None, **more) -> dict:
    facts = LayerRow("m", layer, layer.rpartition(".")[2], 0, 4, 3)
    settings = {
        "file": "x.gguf",
        "format": "gguf",
        "tensor": "x.gguf: blk",
        "named_type": "Q2_K",
        "fallback": False,
        "reading": "as stored",
    }
    bits = {"code_bpw": total, "scale_bpw": 0.0, "other_bpw": 0.0, "total_bpw": total}
    errors = {"distortion": 0.1, "distortion_stderr": 0.0, "relative_distortion": 0.1, "sqnr_db": 10.0}
    return ForeignRow(facts, stored_type=kind, status=status, message="", beside=beside, **settings, **bits, **errors, **more).to_row()


def test_means_of_a_file_by_type_leave_out_rows_that_are_not_ok():
    table = pd.DataFrame(
        [
            _row("a.up_proj", "Q2_K", 2.0, rate_gap_total_bpw=0.5, beside=BesideRow("watersic", 2.0, 0.05)),
            _row("b.up_proj", "Q4_0", 4.0, rate_gap_total_bpw=1.5),
            _row("c.up_proj", "Q8_0", 8.0, status="undersampled"),
            _row("a.q_proj", "Q2_K", 2.625),
        ]
    )
    q_proj, up_proj = foreign_by_type(table).to_dict("records")
    assert (q_proj["type"], q_proj["n"], q_proj["best here"], q_proj["− R(D)"]) == ("q", "1", "–", "–")
    assert (up_proj["stored"], up_proj["n"], up_proj["bpw"], up_proj["− R(D)"]) == ("Q2_K, Q4_0", "2", "3", "1.000")
    assert (up_proj["best here"], up_proj["best D/D₀"]) == ("watersic", "0.05")
    assert list(foreign_by_type(table[table["status"] != "ok"]).columns) == []


def test_files_and_methods_are_drawn_on_one_axis_over_the_matrices_that_all_have():
    gaps = {"rate_gap_total_bpw": 0.5}
    table = pd.DataFrame([_row(f"{name}.up_proj", "Q2_K", 2.5, **gaps) for name in "ab"] + [_row("c.up_proj", "Q2_K", 9.0)])
    shared = {"status": "ok", "target_bpw": 2.0, "total_bpw": 2.1, "rate_gap_total_bpw": 0.2}
    methods = [("hptq", "entropy_shared", "ab"), ("gptq", "fixed", "ab"), ("watersic", "entropy_column", "a")]
    results = pd.DataFrame(
        [shared | {"layer": f"{name}.up_proj", "method": m, "rate_kind": kind} for m, kind, names in methods for name in names]
    )
    (axis,) = draw(table, results).get_axes()
    assert axis.get_title().startswith("mean over 2 matrices")
    lines = {line.get_label(): line for line in axis.get_lines()}
    assert {"hptq, entropy-coded", "gptq, fixed rate", "x.gguf (Q2_K)"} < set(lines)
    assert not any(label.startswith("watersic") for label in lines)  # it lacks a matrix
    assert lines["x.gguf (Q2_K)"].get_xydata().tolist() == [[2.5, 0.5]]
    assert lines["gptq, fixed rate"].get_linestyle() == "--"
    assert draw(table.head(0), results).texts


def test_columns_that_both_tables_have_mean_the_same():
    assert FOREIGN_COLUMNS[: len(LAYER_COLUMNS)] == LAYER_COLUMNS
    units = {column.name: (column.unit, column.kind) for column in COLUMNS}
    shared = [column for column in FOREIGN_COLUMNS if column.name in units]
    assert len(shared) > len(LAYER_COLUMNS) + 10
    assert all(units[column.name] == (column.unit, column.kind) for column in shared)
    assert all(column.name.endswith("_bpw") == column.unit.startswith("b") for column in FOREIGN_COLUMNS)
