"""Additions to Sphinx for the build: pages from tables, numbers from rows, docstrings with types, and formulas as MathML."""

from __future__ import annotations

import inspect
import shutil
import sys
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.config import Config

from rdtools_docs import DOCS, gallery, inventories, pages, reference


def _generate(app: Sphinx, config: Config) -> None:
    folder = DOCS / "generated"
    shutil.rmtree(folder, ignore_errors=True)
    config.intersphinx_mapping = inventories.write(folder / "inventories")
    pages.write(folder)
    gallery.write(folder / "gallery_scripts")


def _fill(app: Sphinx, name: str, source: list[str]) -> None:
    if not name.startswith("generated/"):
        source[0] = pages.fill(source[0])


def _docstring(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    if what == "module" or not lines:
        return
    module = inspect.getmodule(value.fget if isinstance(value, property) else value)
    owner = name.rpartition(".")[0]
    parent = reference.resolve(owner, sys.modules["rdtools"], None) if what in ("method", "property", "attribute") else None
    if module is not None and module.__name__.startswith("rdtools"):
        lines[:] = reference.numpydoc_form(value, "\n".join(lines).strip("\n"), module, parent).splitlines()


def _visit_math(self: Any, node: nodes.math) -> None:
    self.body.append(tex2mathml(node.astext(), as_block=False))
    raise nodes.SkipNode


def _visit_display(self: Any, node: nodes.math_block) -> None:
    self.body.append(f'<div class="math">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the above."""
    app.connect("config-inited", _generate, priority=10)
    app.connect("source-read", _fill)
    app.connect("autodoc-process-docstring", _docstring, priority=400)
    app.add_html_math_renderer("mathml", (_visit_math, None), (_visit_display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
