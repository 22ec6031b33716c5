"""Scripts of the gallery: one for each figure that draws committed rows, written from the tables of figures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
from rdtools.analysis.make_all import FIGURES

from rdtools.report.figures import FIGURES as RUN_FIGURES
from rdtools.report.style import RC

FOLDER = Path(__file__).resolve().parents[2] / "figures"
_HEAD = "Figures\n=======\n\nEach is drawn here from the rows that the repository keeps, by the function that draws it for a paper.\n"


def captions() -> dict[str, str]:
    """Figure → what it shows, as ``figures/README.md`` says."""
    return dict(re.findall(r"^\| !\[\]\((\w+)\.png\) \| (.*?) \| `", (FOLDER / "README.md").read_text(), flags=re.MULTILINE))


def _script(name: str, caption: str, imports: str, drawn: str, command: str) -> str:
    title = name.replace("_", " ").capitalize()
    return (
        f'"""\n{title}\n{"=" * len(title)}\n\n{caption}.\n\nThe rows are written by ``{command}``.\n"""\n\n'
        f"import matplotlib\nimport pandas as pd\nfrom rdtools.analysis.docs.gallery import FOLDER as figures\n\n{imports}\n"
        f"from rdtools.report.style import RC\n\n"
        f"with matplotlib.rc_context(RC):\n    figure = {drawn}\n"
    )


def scripts() -> Iterator[tuple[str, str]]:
    """Name and text of each script."""
    said = captions()
    for name in RUN_FIGURES:
        tables = "pd.read_csv(figures / 'results.csv'), pd.read_csv(figures / 'curves.csv')"
        imports = "from rdtools.report.figures import FIGURES"
        yield name, _script(name, said[name], imports, f"FIGURES['{name}']({tables})", "python -m rdtools.analysis.make_all --run RUN")
    for name in FIGURES:
        command = f"python -m rdtools.analysis.make_all --only {name}"
        yield name, _script(name, said[name], f"from rdtools.analysis import {name}", f"{name}.draw(pd.read_csv(figures / '{name}.csv'))", command)


def write(folder: Path) -> None:
    """Write the scripts for sphinx-gallery."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.txt").write_text(_HEAD)
    for name, text in scripts():
        (folder / f"plot_{name}.py").write_text(text)


def scrape(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Save the figure of a script, which is no figure of pyplot, for sphinx-gallery."""
    figure = block_vars["example_globals"].pop("figure", None)
    if figure is None:
        return ""
    from sphinx_gallery.scrapers import figure_rst

    path = next(block_vars["image_path_iterator"])
    with matplotlib.rc_context(RC):
        figure.savefig(path, dpi=160)
    return str(figure_rst([path], gallery_conf["src_dir"]))
