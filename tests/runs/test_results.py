from __future__ import annotations

import json
import shlex
from pathlib import Path

import pandas as pd
import pytest
from typer.main import get_command

from rdtools.cli.main import app
from rdtools.errors import CorruptFile, UsageError
from rdtools.jobs.calibration import CalibrationRequest
from rdtools.jobs.collect import collect
from rdtools.model.tokens import embedded_source
from rdtools.records.rows import COLUMNS, SCHEMA_VERSION
from rdtools.runs.plan import PlannedMethod, RunPlan, write_plan
from rdtools.runs.result_files import write_manifest
from rdtools.runs.results import read_curves, read_results, to_table
from rdtools.runs.run_manifest import read_manifest
from rdtools.runs.run_manifest import write_manifest as write_run_manifest


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


def _advice(folder) -> str:
    with pytest.raises(UsageError) as refusal:
        read_results(folder)
    return str(refusal.value)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("rdtools report --model 'my model' --out old --rates 3", ": rdtools report --model 'my model' --rates 3 --out"),
        ("rdtools report --out=old --text no.txt --fresh", ", from where no.txt is found: rdtools report --text no.txt --fresh --out"),
        ("rdtools report --text=no.txt --head --out old", ", from where no.txt is found: rdtools report --text=no.txt --head --out"),
    ],
)
def test_a_table_of_version_0_1_is_refused_with_the_command_that_makes_another(given, expected, tmp_path):
    """The command that is printed is one of the command line, and asks for another place."""
    _write(tmp_path, pd.DataFrame({"layer": ["a"], "layer_type": ["q"], "target_rate_bits": [3.0]}), command=given)
    advice = _advice(tmp_path)
    assert advice.endswith(
        f"columns of rdtools 0.1, which have other names now; make a new run{expected} {tmp_path}-schema-{SCHEMA_VERSION}"
    )
    words = shlex.split(advice[advice.index("rdtools report") :])
    options = get_command(app).commands["report"].make_context("report", words[2:]).params
    assert options["out"] == Path(f"{tmp_path}-schema-{SCHEMA_VERSION}")


@pytest.mark.parametrize("given", ["rdtools.run_report", "rdtools sweep config.toml", "rdtools report --text 'unbalanced", None])
def test_a_run_that_no_report_command_made_is_made_again_by_its_manifest(given, tmp_path, tiny_llama, tiny_tokens):
    """A command where the data are those of the embedded model, words where the run does not say where its data came from."""
    table, out = pd.DataFrame({"layer": ["a"], "layer_type": ["q"], "target_rate_bits": [3.0]}), f"{tmp_path}-schema-{SCHEMA_VERSION}"
    _write(tmp_path, table, command=given or "")
    if given is None:
        (tmp_path / "results.json").unlink()
    assert _advice(tmp_path).endswith(
        f"make a new run: rdtools report with its model as `model`, its calibration data as `text` or `tokens`, and {out} as `out`"
    )
    if given is not None:
        return
    run = tmp_path / "run"
    collect(str(tiny_llama), CalibrationRequest(tokens=tiny_tokens), out=run)
    table.to_parquet(run / "results.parquet", index=False)
    assert f"rdtools report with {tiny_llama} as `model`, {tiny_tokens.name} as `text` or `tokens`, and {run}-schema" in _advice(run)
    manifest = read_manifest(run)
    embedded = manifest.calibration.model_copy(update={"source": embedded_source("calibration")})
    write_run_manifest(run, manifest.model_copy(update={"calibration": embedded}))
    assert _advice(run).endswith(f"make a new run: rdtools report --out {run}-schema-{SCHEMA_VERSION}")


def test_a_table_beside_a_list_of_another_rdtools_is_told_its_schema_first(tmp_path):
    _write(tmp_path, to_table([ROW | {"schema_version": SCHEMA_VERSION - 1}]))
    content = json.loads((tmp_path / "results.json").read_text()) | {"version": 1}
    (tmp_path / "results.json").write_text(json.dumps(content))
    assert f"columns of version {SCHEMA_VERSION - 1}, this rdtools reads version {SCHEMA_VERSION}; make a new run: rdtools" in _advice(
        tmp_path
    )
    _write(tmp_path, to_table([ROW]))
    (tmp_path / "results.json").write_text(json.dumps(content))
    with pytest.raises(CorruptFile, match="of another rdtools: format version 1"):
        read_results(tmp_path)


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


def test_a_table_that_was_deleted_is_written_again_by_the_report_of_a_planned_method(tmp_path):
    with pytest.raises(UsageError, match=r"results.parquet: no such file; nothing was quantized in this run yet: rdtools report"):
        read_results(tmp_path)
    planned = PlannedMethod(method="hptq", settings="HPTQ()", rate_bits=2.5, seed=3, layers=["a", "b"])
    write_plan(RunPlan(methods=[planned]), tmp_path)
    expected = r"the report of one of its methods writes it again: .*hptq as `methods`, 2.5 as `rates`, 3 as `seeds`, a,b as `layers`, and"
    with pytest.raises(UsageError, match=expected):
        read_results(tmp_path)
