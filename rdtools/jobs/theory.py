"""All that can be said before anything is quantized."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from rdtools.compare import layer_facts
from rdtools.runs.store import open_run


def theory(run: str | Path) -> pd.DataFrame:
    """Ranks, incoherence, critical rates and gaps of every layer of a run, one row each.

    Raises
    ------
    UsageError, CorruptFile
    """
    opened = open_run(run)
    facts = (layer_facts(opened[entry.name], opened.heldout(entry.hessian)) for entry in opened.layers)
    return pd.DataFrame([{**fact.row.to_row(), "status": fact.status} for fact in facts])
