"""Smoke tests of the code behind the embedded model and the figures."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rdtools.analysis import default_model_loss, make_all, train_default_model

from rdtools.records.rows import COLUMNS, SCHEMA_VERSION
from rdtools.report.figures import MODULES
from rdtools.report.style import COLUMN, FULL, SMALLEST_TEXT
from rdtools.runs.result_files import write_manifest

FIGURES = Path(__file__).resolve().parents[2] / "figures"


def test_training_writes_a_model_that_can_be_reported_on(tmp_path, monkeypatch):
    from rdtools.model.checkpoint import open_checkpoint
    from rdtools.model.tokens import load_tokens

    documents = [f"def f{i}(x):\n    return x * {i} + {i * i}\n" * 40 for i in range(200)]
    monkeypatch.setattr(train_default_model, "read_corpus", lambda library: (documents, documents[:100]))
    for name, value in (("CONTEXT", 16), ("BATCH", 2), ("VOCABULARY", 400), ("EVALUATE_EVERY", 2)):
        monkeypatch.setattr(train_default_model, name, value)
    out = tmp_path / "model"
    code = train_default_model.main(["--steps", "3", "--out", str(out), "--curve", str(tmp_path / "curve.csv")])
    assert code == 0
    assert pd.read_csv(tmp_path / "curve.csv")["step"].tolist() == [2, 3]
    assert "model.layers.5.mlp.down_proj.weight" in open_checkpoint(out).shard_of
    assert load_tokens(out / "calibration.safetensors").ids.shape == (128, 16)


def test_corpus_is_split_by_module(tmp_path):
    for name in ("pathlib.py", "argparse.py", "test/test_x.py", "encodings/cp1.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    training, held_out = train_default_model.read_corpus(tmp_path)
    assert (training, held_out) == (["argparse.py"], ["pathlib.py"])


def test_learning_rate_rises_then_falls():
    rates = [train_default_model.learning_rate(step, 4000) for step in range(4000)]
    peak = int(np.argmax(rates))
    assert peak in (train_default_model.WARMUP_STEPS - 1, train_default_model.WARMUP_STEPS)
    assert max(rates) == pytest.approx(train_default_model.PEAK_RATE)
    assert rates[-1] == pytest.approx(0.05 * train_default_model.PEAK_RATE, rel=1e-3)


def smallest_text(pdf):
    """Points of the smallest text of a page, and its width in inches."""
    pypdfium2 = pytest.importorskip("pypdfium2")
    from pypdfium2 import raw

    with contextlib.closing(pypdfium2.PdfDocument(pdf)) as document:
        page = document[0]
        text = page.get_textpage()
        sizes = [raw.FPDFText_GetFontSize(text, i) for i in range(text.count_chars()) if raw.FPDFText_GetUnicode(text, i) > 32]
        return min(sizes), page.get_width() / 72


def test_the_gallery_is_complete_and_its_rows_draw(tmp_path, monkeypatch):
    """Every figure kept has its rows beside it, is in the gallery, is drawn again from a run's tables, and can be read in print."""
    results, curves = pd.read_csv(FIGURES / "results.csv"), pd.read_csv(FIGURES / "curves.csv")
    # the repository keeps the columns that figures read
    results.reindex(columns=list(dict.fromkeys([*results.columns, *(column.name for column in COLUMNS)]))).assign(
        schema_version=SCHEMA_VERSION
    ).to_parquet(tmp_path / "results.parquet")
    curves.to_parquet(tmp_path / "curves.parquet")
    write_manifest(tmp_path, [tmp_path / "results.parquet", tmp_path / "curves.parquet"], versions={}, command="")
    for name in ("default_model_loss", "bench", "verdicts"):
        shutil.copy(FIGURES / f"{name}.csv", tmp_path)
    kept = [FIGURES / f"{name}.csv" for name in make_all.FIGURES]
    for path, (_, digits) in zip(kept, list(make_all.FIGURES.values()), strict=True):  # the tables are no run with Hessians
        monkeypatch.setitem(make_all.FIGURES, path.stem, (lambda runs, path=path: pd.read_csv(path), digits))
    monkeypatch.setattr(make_all, "FORMATS", ("pdf",))
    assert make_all.main(["--run", str(tmp_path), "--out", str(tmp_path)]) == 0
    for path in kept:
        pd.testing.assert_frame_equal(pd.read_csv(tmp_path / path.name), pd.read_csv(path))
    gallery = (FIGURES / "README.md").read_text()
    assert {path.stem for path in tmp_path.glob("*.pdf")} == {*MODULES, *make_all.FIGURES}
    for path in tmp_path.glob("*.pdf"):
        assert (FIGURES / path.name).is_file()
        assert (FIGURES / path.with_suffix(".png").name).is_file()
        assert f"]({path.stem}.png)" in gallery
        size, width = smallest_text(path)
        assert size >= SMALLEST_TEXT - 0.01, path.name  # pdfium gives sizes in float32
        assert round(width, 2) in (COLUMN, FULL), path.name


def test_loss_curve_ends_where_the_model_card_says():
    rows = default_model_loss.run(FIGURES)
    assert rows["step"].iloc[-1] == 4000
    assert rows["held_out_loss_nats"].iloc[-1] == pytest.approx(3.139, abs=5e-4)
