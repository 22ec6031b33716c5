"""Loss of the embedded model while it was trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from rdtools.methods.table import BLUE, VERMILLION
from rdtools.report.captions import Caption
from rdtools.report.figures.canvas import add_legend, new_figure
from rdtools.report.style import COLUMN

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = ("default_model_loss",)
#: Words around it.
CAPTION = Caption(
    title="Training of the embedded model",
    alt="Training and held-out loss over tokens seen.",
    text=(
        "Loss of the embedded model while it was trained: mean of 250 steps, and on modules that training has not seen. No layer is "
        "quantized, so that no coder or bound enters; there are no bars."
    ),
)


def draw(rows: pd.DataFrame) -> Figure:
    """Training and held-out loss over tokens."""
    figure = new_figure(COLUMN, 2.2)
    axis = figure.subplots()
    axis.plot(rows["tokens"] / 1e6, rows["training_loss_nats"], color=BLUE, label="training, mean of 250 steps")
    axis.plot(rows["tokens"] / 1e6, rows["held_out_loss_nats"], color=VERMILLION, linestyle="--", label="held-out modules")
    axis.set_xlabel("tokens seen (millions)")
    axis.set_ylabel("loss (nats per token)")
    add_legend(figure, 2)
    return figure
