"""All that can be said before anything is quantized."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from rdtools.compare import layer_columns, layer_status
from rdtools.runs.store import open_run


def theory(run: str | Path) -> pd.DataFrame:
    """Ranks, incoherence, critical rates and gaps of every layer of a run, one row each.

    Raises
    ------
    UsageError, CorruptFile
    """
    opened = open_run(run)
    layers = (opened[name] for name in opened)
    return pd.DataFrame([{**layer_columns(layer), "status": layer_status(layer)} for layer in layers])
