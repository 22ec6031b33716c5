"""Scripts of the gallery: one for each figure that draws committed rows, written from the tables of figures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib

from rdtools.report.figures import MODULES
from rdtools.report.style import RC

FOLDER = Path(__file__).resolve().parents[2] / "figures"
_HEAD = "Figures\n=======\n\nEach is drawn here from the rows that the repository keeps, by the function that draws it for a paper.\n"
#: Words of names of figures that are spelled otherwise.
_SPELLED = {"rd": "R(D)", "gptq": "GPTQ", "watersic": "WaterSIC", "heldout": "held-out tokens"}
_SCRIPT = '''"""
{title}
{line}

{caption}.

Drawn from {tables}, which
``python -m rdtools.analysis.{command}`` writes.
"""

import matplotlib
import pandas as pd
from rdtools.analysis.docs.gallery import FOLDER

from rdtools.report.figures import MODULES, draw_figure
from rdtools.report.style import RC

tables = {{table: pd.read_csv(FOLDER / f"{{table}}.csv") for table in MODULES["{name}"].TABLES}}
with matplotlib.rc_context(RC):
    figure = draw_figure("{name}", tables)
'''


def captions() -> dict[str, str]:
    """Figure → what it shows, as ``figures/README.md`` says."""
    return dict(re.findall(r"^\| !\[\]\((\w+)\.png\) \| (.*?) \| `", (FOLDER / "README.md").read_text(), flags=re.MULTILINE))


def scripts() -> Iterator[tuple[str, str]]:
    """Name and text of each script."""
    said = captions()
    for name, module in MODULES.items():
        title = " ".join(_SPELLED.get(word, word) for word in name.split("_"))
        title = title[0].upper() + title[1:]
        yield (
            name,
            _SCRIPT.format(
                name=name,
                title=title,
                line="=" * len(title),
                caption=said[name],
                tables=", ".join(f"``figures/{table}.csv``" for table in module.TABLES),
                command="bench" if name == "bench" else "make_all --run RUN",
            ),
        )


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
