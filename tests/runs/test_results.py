from __future__ import annotations

import pandas as pd
import pytest

from rdtools.errors import CorruptFile, UsageError
from rdtools.records.rows import COLUMNS, SCHEMA_VERSION
from rdtools.runs.result_files import write_manifest
from rdtools.runs.results import read_curves, read_results, to_table


def _write(folder, table, name="results.parquet", command="rdtools report --model 'my model' --out old --rates 3"):
    table.to_parquet(folder / name, index=False, write_page_checksum=True)
    write_manifest(folder, [folder / name], versions={}, command=command)


ROW = {"layer": "a.q_proj", "method": "gptq", "target_bpw": 3.0, "status": "ok", "schema_version": SCHEMA_VERSION}


def test_a_table_has_all_columns_and_missing_cells_are_nan(tmp_path):
    table = to_table([ROW])
    assert list(table.columns) == [column.name for column in COLUMNS]
    assert table["total_bpw"].isna().all()
    _write(tmp_path, table)
    pd.testing.assert_frame_equal(read_results(tmp_path, ["total_bpw"]), table, check_dtype=False)


@pytest.mark.parametrize("listed", [True, False])
def test_a_table_of_version_0_1_is_refused_with_the_command_that_makes_another(tmp_path, listed):
    _write(tmp_path, pd.DataFrame({"layer": ["a"], "layer_type": ["q"], "target_rate_bits": [3.0]}))
    expected = f"rdtools report --model 'my model' --rates 3 --out {tmp_path}-schema-{SCHEMA_VERSION}"
    if not listed:
        (tmp_path / "results.json").unlink()
        expected = f"rdtools report --out {tmp_path}-schema-{SCHEMA_VERSION}"
    with pytest.raises(UsageError) as refusal:
        read_results(tmp_path)
    assert str(refusal.value).endswith(f"make a new run: {expected}")


def test_curves_of_version_0_1_are_refused(tmp_path):
    _write(tmp_path, pd.DataFrame({"layer": ["a"], "curve": ["limit"], "rate_bits": [0.0], "distortion": [1.0]}), "curves.parquet")
    with pytest.raises(UsageError, match=r"columns of rdtools 0\.1"):
        read_curves(tmp_path)


def test_a_table_of_a_later_schema_is_refused(tmp_path):
    _write(tmp_path, to_table([ROW | {"schema_version": SCHEMA_VERSION + 1}]))
    with pytest.raises(UsageError, match=f"columns of version {SCHEMA_VERSION + 1}, this rdtools reads version {SCHEMA_VERSION}"):
        read_results(tmp_path)


def test_readers_name_the_column_that_they_miss(tmp_path):
    _write(tmp_path, pd.DataFrame([ROW]))
    assert len(read_results(tmp_path)) == 1
    with pytest.raises(CorruptFile, match="no column 'total_bpw'"):
        read_results(tmp_path, ["total_bpw"])
