"""Imports point one way, along the data flow."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

#: What each part may import besides itself. `theory` and `quantizers` never meet before `compare`; `measure` sees no theory.
BASE = {"units", "errors", "portable", "linalg", "records", "files", "seeds"}
ALLOWED = {
    "units": set(),
    "errors": set(),
    "portable": set(),
    "linalg": {"errors"},
    "seeds": {"errors"},
    "records": set(),
    "files": {"errors"},
    "orders": set(),
    "kernels": set(),
    "ops": BASE | {"kernels"},
    "transforms": BASE | {"ops"},
    "coding": BASE | {"transforms", "ops"},
    "data": set(),
    "hessians": BASE | {"transforms", "data", "ops"},
    "theory": BASE,
    "quantizers": BASE | {"ops", "orders", "transforms", "hessians", "coding"},
    "design": BASE | {"orders", "transforms", "hessians", "quantizers", "theory"},
    "measure": BASE | {"ops", "coding", "hessians"},
    "testing": BASE | {"hessians"},
    "predictions": BASE | {"coding", "hessians", "quantizers", "theory"},
    "compare": BASE | {"design", "predictions", "hessians", "quantizers", "measure", "theory"},
    "curves": BASE | {"hessians", "theory", "predictions", "compare"},
    "verify": BASE | {"design", "ops", "orders", "transforms", "hessians", "quantizers", "measure", "theory"},
    "sweep": BASE | {"ops", "hessians", "quantizers", "compare", "curves"},
    "report": BASE | {"orders", "hessians", "compare", "curves", "sweep"},
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
    return parts - {"__version__"}


@pytest.mark.parametrize("path", list(_files()), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_along_the_data_flow(path):
    part = _part(path)
    if part in LAZY:
        return
    assert _imported(path) - {part} <= ALLOWED[part]


@pytest.mark.parametrize("path", list(_files()), ids=lambda p: str(p.relative_to(ROOT)))
def test_only_capture_and_training_import_transformers(path):
    tops = {
        alias.name.split(".")[0] for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import) for alias in node.names
    } | {node.module.split(".")[0] for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom) and node.module}
    assert "transformers" not in tops or path.name in ("capture.py", "train_default_model.py")
