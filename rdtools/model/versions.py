"""Versions of what a Hessian depends on, without importing it."""

from __future__ import annotations

import platform
from importlib.metadata import version

from rdtools._version import __version__


def versions() -> dict[str, str]:
    """Versions of rdtools, Python and the libraries that a capture runs on."""
    return {
        "rdtools": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "transformers", "numpy")},
    }
