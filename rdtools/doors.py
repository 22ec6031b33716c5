"""Doors: what users call on a record, and which a part that stands above the record does; that part is loaded when it is called."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def behind(part: str, name: str) -> Any:
    """Load a part of rdtools, and return what it calls by a name.

    Imports point one way; this is the one way up, for methods that only pass their record on to where the work is done.

    Examples
    --------
    >>> behind("units", "SCALAR_LOSS_BITS") > 0.25
    True
    """
    return getattr(import_module(f"rdtools.{part}"), name)
