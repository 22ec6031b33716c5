from __future__ import annotations

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from rdtools.cli.main import main
from rdtools.errors import UsageError
from rdtools.jobs.figures import figures, read_table
from rdtools.report.figures import MODULES
from rdtools.report.style import STYLES

KEPT = Path(__file__).resolve().parents[2] / "figures"


@pytest.fixture
def rows(tmp_path):
    """A folder with the rows of two figures."""
    for name in ("bounds", "default_model_loss"):
        shutil.copy(KEPT / f"{name}.csv", tmp_path)
    return tmp_path


def test_what_has_rows_is_drawn_twice_to_the_same_bytes_and_the_rest_is_told_what_makes_them(rows):
    formats = ("pdf", "svg")
    first, second = (figures(rows, rows / name, formats=formats) for name in "ab")
    assert set(first.files) == {"bounds", "default_model_loss"}
    for name, paths in first.files.items():
        assert [path.suffix for path in paths] == [".pdf", ".svg", ".txt"]
        assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in second.files[name]]
    assert "42 matrices in all" in (rows / "a" / "bounds.txt").read_text()
    assert set(first.missing) == set(MODULES) - set(first.files)
    assert f"rdtools verify {rows} makes them" in first.missing["tightness"]
    assert f"rdtools report --out {rows}" in first.missing["gap_depth"]
    assert "--only low_rate makes them" in first.missing["low_rate"]


@pytest.mark.parametrize("style", STYLES)
def test_a_style_has_its_width_and_its_size_of_text(style, rows):
    from PIL import Image

    paths = figures(rows, rows / style, names=["default_model_loss"], style=style, formats=["svg", "png"]).files["default_model_loss"]
    drawing = paths[0].read_text()
    assert float(re.search(r'<svg[^>]*\bwidth="([\d.]+)pt"', drawing)[1]) == pytest.approx(72 * STYLES[style].column, abs=0.01)
    sizes = {float(size) for size in re.findall(r"font(?:-size)?: ([\d.]+)px", drawing)}
    assert max(sizes) == STYLES[style].rc.get("font.size", 8)
    with Image.open(paths[1]) as image:
        assert image.width == round(200 * STYLES[style].column)


def test_the_power_law_of_a_run_is_through_rows_of_one_kind_of_inputs_and_tokens(tmp_path):
    """Layers quantized one after the other, or corrected, have distortions beside other inputs, plans other rates; none is on the line."""
    kept = pd.read_csv(KEPT / "equal_footing.csv").drop(columns=["kl_power", "kl_factor"])
    kept = kept.assign(status="ok", allocation=None, hessians="original", corrections="none", evaluation="text")
    other = kept.assign(kl_nats=9 * kept["kl_nats"])
    plan, sequential = other.assign(allocation="kl, measured"), other.iloc[1:].assign(hessians="sequential")
    mixed = pd.concat([other.iloc[:4].assign(evaluation="other text"), plan, sequential, kept], ignore_index=True)
    mixed.to_parquet(tmp_path / "evaluation.parquet")
    rows = read_table("equal_footing", tmp_path, {})
    assert sorted(rows["kl_nats"]) == sorted(kept["kl_nats"])
    power = pd.read_csv(KEPT / "equal_footing.csv")["kl_power"].iloc[0]
    assert rows["kl_power"].iloc[0] == pytest.approx(power, rel=1e-5)  # which is kept with six digits
    corrected = sequential.iloc[1:].assign(corrections="drift", kl_nats=1.0)
    pd.concat([sequential, corrected]).to_parquet(tmp_path / "evaluation.parquet")
    assert sorted(read_table("equal_footing", tmp_path, {})["kl_nats"]) == sorted(sequential["kl_nats"])
    plan.to_parquet(tmp_path / "evaluation.parquet")
    with pytest.raises(UsageError, match="no row of one method and rate"):
        figures(tmp_path, names=["equal_footing"])


def test_rows_that_can_be_made_of_a_run_are_made(rows, monkeypatch):
    """A folder of rows is no run."""
    (rows / "bounds.csv").unlink()
    made = {"bounds": lambda folder: pd.read_csv(KEPT / "bounds.csv")}
    with pytest.raises(UsageError, match=r"bounds: .* has no rows of it"):
        figures(rows, names=["bounds"], makers=made)
    monkeypatch.setattr("rdtools.jobs.figures.is_run", lambda folder: True)
    monkeypatch.setattr("rdtools.jobs.figures.read_manifest", lambda folder: None)
    assert list(figures(rows, names=["bounds"], makers=made, formats=["svg"]).files) == ["bounds"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--style", "nature"], "style 'nature', expected one of icml, neurips, ieee, slides"),
        (["--only", "gap"], "figure 'gap', expected one of gap_to_rd"),
        (["--format", "eps"], "format 'eps', expected one of png, pdf, svg, pgf"),
        (["--only", "low_rate"], "low_rate: .* has no rows of it: python -m rdtools.analysis.make_all"),
    ],
)
def test_what_cannot_be_drawn_is_a_sentence(options, message, rows, capsys):
    assert main(["figures", "--run", str(rows), *options]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_the_command_prints_what_it_drew(rows, capsys):
    assert main(["figures", "--run", str(rows), "--only", "default_model_loss", "--format", "svg"]) == 0
    assert capsys.readouterr().out == f"default_model_loss: {rows}/figures/icml/default_model_loss.svg\n"


def test_captions_say_what_is_compared():
    """Each names its coder, its bound, its layers and its bars, or says that there is none."""
    for name, module in MODULES.items():
        text = module.CAPTION.plain(layers=3, run=None)
        for word in ("coder|coded", "bound|R\\(D\\)", "layer|matri|Hessian", "bar|error|tick"):
            assert re.search(word, text, re.IGNORECASE), f"{name}: nothing of {word}"
