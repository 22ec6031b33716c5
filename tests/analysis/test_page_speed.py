from __future__ import annotations

import pandas as pd
from rdtools.analysis import page_speed

from rdtools.records.rows import COLUMNS


def test_a_page_of_a_synthetic_run_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(page_speed, "write_figures", lambda table, curves, folder: {})
    monkeypatch.setattr(page_speed, "chromium", lambda: None)
    assert page_speed.main(["--layers", "2", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("78 rows of 2 layers: page written")
    assert "model.layers" in (tmp_path / "index.html").read_text()


def test_synthetic_rows_agree_with_themselves():
    table = page_speed.synthetic_table(3)
    assert list(table.columns) == [column.name for column in COLUMNS]
    ok = table[table["status"] == "ok"]
    assert len(ok) == 3 * 39 - 1
    pd.testing.assert_series_equal(ok["total_bpw"] - ok["rd_bound_rate_bpw"], ok["rate_gap_total_bpw"], check_names=False)
    assert table.loc[table["status"] != "ok", "distortion"].isna().all()
