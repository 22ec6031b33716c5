from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from rdtools.report import figures
from rdtools.report.figures.canvas import new_figure, save_figure, styled
from rdtools.report.latex import latex_text


def _drawn(path: Path) -> str:
    with styled("icml"):
        figure = new_figure(3.25, 1.5)
        axis = figure.subplots()
        axis.bar([0.0, 1.0], [1.0, 2.0], hatch="////")
        axis.pcolormesh([0.0, 1.0], [0.0, 1.0], [[1.0, 2.0], [3.0, 4.0]])
        axis.set(xlabel="N_eff & 50 % of #1 {Σ D/D₀ − λ²}^½", ylabel="tr HᵀH̃ over ‖μ‖")
        axis.set_xticks([0.0, 1.0], ["a_b", "c"], rotation=30)
        return save_figure(figure, path, ["pgf"]).read_text()


def test_pgf_is_one_file_in_ascii_with_no_image_and_the_same_again(tmp_path):
    """Text is plain, so that LaTeX takes none of it for a command, whatever font a document has."""
    text = _drawn(tmp_path / "a")
    assert text.isascii()
    assert "includegraphics" not in text
    assert r"N\_eff \& 50 \% of \#1 \{$\Sigma$ D/D$_{0}$ $-$ $\lambda$$^{2}$\}\textasciicircum{}$\frac12$" in text
    assert re.search(r"\\pgfqpoint\{3\.250000in\}\{1\.500000in\}", text)
    assert text.replace("a.pgf", "b.pgf") == _drawn(tmp_path / "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pgf", "b.pgf"]


def test_every_character_of_the_figures_is_known_to_latex():
    """Those of their sources, which hold all words of theirs."""
    sources = "".join(path.read_text(encoding="utf-8") for path in Path(figures.__file__).parent.glob("*.py"))
    unknown = {c for c in sources if latex_text(c, unknown="?") == "?" != c}
    assert not unknown


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no TeX engine here: install texlive-latex-base and texlive-pictures")
def test_pdflatex_typesets_it(tmp_path):
    _drawn(tmp_path / "a")
    document = r"\documentclass{article}\usepackage{pgf}\begin{document}\noindent\input{a.pgf}\end{document}"
    (tmp_path / "t.tex").write_text(document)
    ran = subprocess.run(["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-2000:]
    assert "Overfull" not in ran.stdout
