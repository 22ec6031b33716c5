"""Scripts of the gallery: one for each figure that draws committed rows, written from the tables of figures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from rdtools.jobs.figures import NoRows, layer_count, read_table
from rdtools.report.figures import MODULES
from rdtools.report.figures.canvas import styled
from rdtools_docs import ROOT

FOLDER = ROOT / "figures"
_HEAD = "Figures\n=======\n\nEach is drawn here from the rows that the repository keeps, by the function that draws it for a paper.\n"
_SCRIPT = '''"""
{title}
{line}

{caption}

Drawn from the rows in ``figures/`` of the repository. ``rdtools figures --run RUN --only {name}`` draws it of a run of yours.
"""

from rdtools_docs.gallery import kept_tables

from rdtools.report.figures import draw_figure
from rdtools.report.figures.canvas import styled

with styled():
    figure = draw_figure("{name}", kept_tables("{name}"))
'''


def kept_tables(name: str) -> dict[str, pd.DataFrame]:
    """The tables that a figure draws, of the rows that the repository keeps; none where they are not all there."""
    module = MODULES[name]
    try:
        tables = {table: read_table(table, FOLDER, {}) for table in module.TABLES}
    except NoRows:
        return {}
    return tables if set(getattr(module, "READS", ())) <= set(tables[module.TABLES[0]]) else {}


def scripts() -> Iterator[tuple[str, str]]:
    """Name and text of each script."""
    for name, module in MODULES.items():
        if tables := kept_tables(name):
            title = module.CAPTION.title
            caption = re.sub(r"([*|]|_(?=\W|$))", r"\\\1", module.CAPTION.plain(layers=layer_count(tables[module.TABLES[0]])))
            yield name, _SCRIPT.format(name=name, title=title, line="=" * len(title), caption=caption)


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
    with styled():
        figure.savefig(path, dpi=160)
    return str(figure_rst([path], gallery_conf["src_dir"]))
