"""Every example in a docstring runs."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import rdtools

HOME = Path(rdtools.__file__).parent
MODULES = sorted(
    ".".join(("rdtools", *path.relative_to(HOME).with_suffix("").parts))
    for path in HOME.rglob("*.py")
    if not path.name.startswith("__") and path.relative_to(HOME).parts[0] not in ("analysis", "kernels")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
