"""Loss curve of the embedded model."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from rdtools.report.figures.default_model_loss import draw as draw


def run(folder: Path) -> pd.DataFrame:
    """The rows that training wrote."""
    return pd.read_csv(folder / "default_model_loss.csv")
