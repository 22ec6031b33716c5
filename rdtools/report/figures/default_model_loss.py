"""Loss of the embedded model while it was trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from rdtools.report.figures.canvas import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = ("default_model_loss",)


def draw(rows: pd.DataFrame) -> Figure:
    """Training and held-out loss over tokens."""
    figure = new_figure(4.2, 2.8)
    axis = figure.subplots()
    axis.plot(rows["tokens"] / 1e6, rows["training_loss_nats"], color="#0072B2", label="training, mean of 250 steps")
    axis.plot(rows["tokens"] / 1e6, rows["held_out_loss_nats"], color="#D55E00", label="held-out modules")
    axis.set_xlabel("tokens seen (millions)")
    axis.set_ylabel("loss (nats per token)")
    axis.legend()
    return figure
