"""Imports point one way, along the data flow."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

#: The ground floor: no part of the data flow.
_FLOOR = (
    *("_version", "errors", "arrays", "units", "reprs", "seeds", "threads", "linalg", "in_place", "triangular", "normal", "rounded"),
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


def _imported(path: Path) -> set[str]:
    """Parts of rdtools that a file imports, anywhere in it."""
    parts = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module] if node.module != "rdtools" else [f"rdtools.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        parts |= {name.split(".")[1] for name in names if name.startswith("rdtools.")}
    return parts


@pytest.mark.parametrize("path", list(_files()), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_along_the_data_flow(path):
    part = _part(path)
    if part in LAZY:
        return
    imported = _imported(path) - {part}
    assert imported <= ONLY.get(part, set(ORDER[: ORDER.index(part)]))


@pytest.mark.parametrize("path", list(_files()), ids=lambda p: str(p.relative_to(ROOT)))
def test_only_loading_and_training_import_transformers(path):
    tops = {
        alias.name.split(".")[0] for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import) for alias in node.names
    } | {node.module.split(".")[0] for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom) and node.module}
    assert "transformers" not in tops or path.name in ("pretrained.py", "train_default_model.py")


def test_files_are_short():
    """One algorithm in a file; a paper's claims stand together."""
    long = [path.relative_to(ROOT).parts for path in _files() if len(path.read_text().splitlines()) > 300]
    assert not [parts for parts in long if parts[0] == "rdtools" and parts[1] != "claims"]
