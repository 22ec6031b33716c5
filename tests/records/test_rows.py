from __future__ import annotations

import json
from dataclasses import replace

import pytest

from rdtools.cli.main import main
from rdtools.records import LayerRow, ResultRow
from rdtools.records.rows import COLUMNS, LAYER_COLUMNS, SCHEMA_VERSION

#: Names that other programs read.
FIXED = {
    *(
        "layer",
        "layer_type",
        "method",
        "target_bpw",
        "symbol_bpw",
        "overhead_bpw",
        "total_bpw",
        "symbol_active_bpw",
        "rate_gap_symbols_bpw",
    ),
    *("rate_gap_total_bpw", "rate_gap_total_rowvar_bpw", "relative_distortion", "status"),
    *("schema_version", "container_layers", "wall_s"),
}


def test_every_column_is_described_once():
    names = [column.name for column in COLUMNS]
    assert len(set(names)) == len(names)
    assert set(names) >= FIXED
    assert COLUMNS[: len(LAYER_COLUMNS)] == LAYER_COLUMNS
    for column in COLUMNS:
        assert column.meaning
        assert column.kind in ("setting", "bound", "predicted", "measured")
        assert column.name.endswith("_bpw") == column.unit.startswith("b"), column.name


def test_a_row_without_a_point_has_what_is_known():
    row = ResultRow(LayerRow("m", "a.q_proj", "q_proj", 0, 4, 3), "gptq", 2.5, "infeasible", 0, "no such rate").to_row()
    assert set(row) < {column.name for column in COLUMNS}
    assert {"total_bpw", "rank", "rotation"}.isdisjoint(row)
    assert (row["status"], row["columns"], row["schema_version"]) == ("infeasible", 3, SCHEMA_VERSION)


def test_rows_are_frozen():
    row = LayerRow("m", "a.q_proj", "q_proj", 0, 4, 3)
    with pytest.raises(AttributeError):
        row.rank = 3  # type: ignore[misc]
    assert replace(row, rank=3).to_row()["rank"] == 3


def test_the_columns_command_prints_the_one_description(capsys):
    assert main(["columns", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["schema_version"] == SCHEMA_VERSION
    assert [(c["name"], c["unit"], c["kind"], c["meaning"]) for c in printed["columns"]] == [column[:4] for column in COLUMNS]
    assert main(["columns"]) == 0
    text = capsys.readouterr().out
    assert all(column.name in text for column in COLUMNS)
