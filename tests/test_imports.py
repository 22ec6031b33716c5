"""Imports point one way, along the data flow."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

#: The ground floor: no part of the data flow.
_FLOOR = (
    *("_version", "errors", "arrays", "units", "reprs", "seeds", "threads"),
    *("widths", "linalg", "in_place", "triangular", "normal", "rounded"),
    *("files", "machine", "devices", "orphans", "doors", "docstrings"),
)
#: Order of the parts: each imports only those before it.
ORDER = (
    *_FLOOR,
    *("records", "kernels", "ops", "transforms", "coding", "moments", "data", "model", "foreign", "runs"),
    *("theory", "quantizers", "measure", "corrections", "planning", "methods", "compare", "claims"),
    *("sweep", "evaluation", "report", "plot", "jobs", "cli", "testing"),
)
#: What else a part may not see: `theory` and `quantizers` first meet above both, and `measure` cannot borrow a formula.
GROUND = set(_FLOOR)
ONLY = {
    "records": GROUND,
    "theory": GROUND | {"records", "ops"},
    "quantizers": GROUND | {"records", "ops", "transforms", "coding", "moments"},
    "measure": GROUND | {"records", "ops", "transforms", "coding", "moments"},
    "moments": GROUND | {"records", "ops", "transforms"},
    "testing": GROUND | {"records", "moments"},
}
LAZY = {"__init__", "__main__", "cli", "analysis"}


def _files():
    for folder in ("rdtools", "kernels", "analysis"):
        yield from sorted((ROOT / folder).rglob("*.py"))


def _part(path: Path) -> str:
    relative = path.relative_to(ROOT)
    return relative.parts[0] if relative.parts[0] != "rdtools" else relative.parts[1].removesuffix(".py")


@functools.cache
def _modules(path: Path) -> frozenset[str]:
    """Modules that a file imports, anywhere in it."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names += [node.module] if node.module != "rdtools" else [f"rdtools.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return frozenset(names)


def _imported(path: Path) -> set[str]:
    """Parts of rdtools that a file imports."""
    return {name.split(".")[1] for name in _modules(path) if name.startswith("rdtools.")}


def _tops(path: Path) -> set[str]:
    return {name.split(".")[0] for name in _modules(path)}


def test_imports_point_along_the_data_flow():
    wrong = {}
    for path in _files():
        part = _part(path)
        if part not in LAZY:
            other = _imported(path) - {part} - ONLY.get(part, set(ORDER[: ORDER.index(part)]))
            wrong |= {str(path.relative_to(ROOT)): sorted(other)} if other else {}
    assert wrong == {}


def test_only_loading_and_training_import_transformers():
    allowed = ("pretrained.py", "train_default_model.py")
    assert [str(path.relative_to(ROOT)) for path in _files() if path.name not in allowed and "transformers" in _tops(path)] == []


def test_files_are_short():
    """One algorithm in a file; a paper's claims stand together."""
    long = [path.relative_to(ROOT).parts for path in _files() if len(path.read_text().splitlines()) > 300]
    assert not [parts for parts in long if parts[0] == "rdtools" and parts[1] != "claims"]
