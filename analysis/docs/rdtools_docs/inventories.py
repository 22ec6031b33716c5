"""Names of other projects that the documentation refers to, kept as text beside it, so that a build needs no network.

A line of ``inventories/<project>.txt`` is that of a Sphinx inventory: name, ``domain:role``, priority, place below the project's address,
and the name shown (``-`` for the name itself). The first line is the address.
"""

from __future__ import annotations

import zlib
from functools import cache
from pathlib import Path
from typing import Any

from rdtools_docs import DOCS

FOLDER = DOCS / "inventories"


@cache
def _lines(project: str) -> tuple[str, tuple[str, ...]]:
    address, *lines = (FOLDER / f"{project}.txt").read_text().splitlines()
    return address, tuple(line for line in lines if line)


def projects() -> list[str]:
    """Names of the inventories."""
    return sorted(path.stem for path in FOLDER.glob("*.txt"))


@cache
def _names() -> dict[str, str]:
    return {line.split()[0].rpartition(".")[2]: line.split()[0] for project in projects() for line in _lines(project)[1]}


def external_name(kind: Any) -> str | None:
    """Name of a class of another project in its inventory; None where it has no line."""
    name = _names().get(getattr(kind, "__name__", ""))
    home = getattr(kind, "__module__", "")
    return name if name and (home == "builtins" or home.split(".")[0].strip("_") == name.split(".")[0] or "." not in name) else None


def write(folder: Path) -> dict[str, tuple[str, str]]:
    """Write the inventories as Sphinx reads them; returns the setting `intersphinx_mapping`."""
    folder.mkdir(parents=True, exist_ok=True)
    mapping = {}
    for project in projects():
        address, lines = _lines(project)
        head = f"# Sphinx inventory version 2\n# Project: {project}\n# Version: \n# The remainder of this file is compressed using zlib.\n"
        path = folder / f"{project}.inv"
        path.write_bytes(head.encode() + zlib.compress("\n".join(lines).encode() + b"\n"))
        mapping[project] = (address, str(path))
    return mapping
