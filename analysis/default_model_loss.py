"""Loss curve of the embedded model."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def run(folder: Path) -> pd.DataFrame:
    """The rows that training wrote."""
    return pd.read_csv(folder / "default_model_loss.csv")


def draw(rows: pd.DataFrame) -> Figure:
    """Training and held-out loss over tokens."""
    figure = Figure(figsize=(4.2, 2.8))
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    axis.plot(rows["tokens"] / 1e6, rows["training_loss_nats"], color="#0072B2", label="training, mean of 250 steps")
    axis.plot(rows["tokens"] / 1e6, rows["held_out_loss_nats"], color="#D55E00", label="held-out modules")
    axis.set_xlabel("tokens seen (millions)")
    axis.set_ylabel("loss (nats per token)")
    axis.legend()
    return figure
