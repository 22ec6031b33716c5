"""Short representations of records that hold arrays: one line for a terminal, a table for a notebook."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from html import escape
from typing import Any


def short_repr(record: Any) -> str:
    """A dataclass as ``Name(field=value, …)``, arrays and tensors by dtype and shape; assign it to ``__repr__``.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> import numpy as np
    >>> @dataclass(repr=False)
    ... class Pair:
    ...     values: np.ndarray
    ...     name: str
    ...     __repr__ = short_repr
    >>> Pair(np.zeros((2, 3)), "x")
    Pair(values=float64(2, 3), name='x')
    """
    parts = (f"{field.name}={_short(getattr(record, field.name))}" for field in fields(record) if field.repr)
    return f"{type(record).__name__}({', '.join(parts)})"


def _short(value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype}{tuple(value.shape)}"
    return repr(value)


def by_size(rows: int, columns: int) -> str:
    """A matrix for people.

    Examples
    --------
    >>> by_size(1024, 64)
    '1024×64'
    """
    return f"{rows}×{columns}"


def html_table(title: str, facts: Iterable[tuple[str, object]]) -> str:
    """Facts of a record as a small table of HTML; numbers to four digits.

    Examples
    --------
    >>> html_table("Layer <a>", [("distortion", 0.123456)])
    '<table><caption>Layer &lt;a&gt;</caption><tr><th style="text-align:left">distortion</th><td>0.1235</td></tr></table>'
    """
    cells = ((name, f"{value:.4g}" if isinstance(value, float) else str(value)) for name, value in facts)
    rows = (f'<tr><th style="text-align:left">{escape(name)}</th><td>{escape(text)}</td></tr>' for name, text in cells)
    return f"<table><caption>{escape(title)}</caption>{''.join(rows)}</table>"
