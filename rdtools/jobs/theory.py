"""All that can be said before anything is quantized."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from rdtools.compare import layer_facts
from rdtools.compare.facts import key_row
from rdtools.errors import explained
from rdtools.runs.run_manifest import LayerEntry
from rdtools.runs.store import Run, open_run


def theory(run: str | Path) -> pd.DataFrame:
    """Ranks, incoherence, critical rates and gaps of every layer of a run, one row each; "failed", with the reason, where one has none.

    Raises
    ------
    UsageError, CorruptFile
        Of the run itself.
    """
    opened = open_run(run)
    return pd.DataFrame([_row(opened, entry) for entry in opened.layers])


def _row(run: Run, entry: LayerEntry) -> dict[str, Any]:
    try:
        facts = layer_facts(run[entry.name], run.heldout(entry.hessian))
    except Exception as error:  # of this layer alone
        return {**key_row(run.key(entry), *entry.shape).to_row(), "status": "failed", "message": explained(error)}
    return {**facts.row.to_row(), "status": facts.status, "message": facts.message}
