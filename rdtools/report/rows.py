"""Rows that tables, figures and the page have in common."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from rdtools.model.layer_names import LAYER_TYPES


def ok_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Rows that may be averaged."""
    return table[table["status"] == "ok"]


def ordered_types(types: pd.Series) -> list[str]:
    """Layer types in the order of a Llama block, others after them by name."""
    present = set(types)
    return [t for t in LAYER_TYPES if t in present] + sorted(present - set(LAYER_TYPES))


def format_number(value: Any) -> str:
    """A table cell: short, never a bare nan.

    Examples
    --------
    >>> [format_number(v) for v in (3, 0.12345, 1.5e-9, float("nan"), float("inf"), "gptq")]
    ['3', '0.1235', '1.5e-09', '–', '∞', 'gptq']
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, float):
        if math.isinf(value):
            return "∞" if value > 0 else "−∞"
        return f"{value:.4g}" if value == 0 or 1e-4 <= abs(value) < 1e6 else f"{value:.2g}"
    return str(value)
