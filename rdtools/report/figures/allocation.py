"""KL of models whose layers share one budget by several rules, measured and expected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rdtools.evaluation.power_law import PowerLaw
from rdtools.methods.table import BLUE, GREEN, ORANGE
from rdtools.report.captions import Caption
from rdtools.report.figures.canvas import add_legend, new_figure
from rdtools.report.style import FULL, ZERO

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = ("allocation",)
#: Words around it.
CAPTION = Caption(
    title="One budget for all layers, shared by several rules",
    alt="KL divergence by rule and model, relative to that at one rate for all matrices, measured and expected.",
    text=(
        "KL divergence of the original from models whose matrices share 3 total bits per weight of WaterSIC, with its Gaussian coder per "
        "column, by several rules, over that at one rate for all matrices; held-out windows. A rule minimizes the sum of m n D "
        "(uniform), of D/D₀ (relative) or of slope · D/D₀ (kl), with D measured, predicted at finite rate, or from R(D). Circles: "
        "measured, bars 95 % bootstrap intervals over sequences. Squares: expected by a power law in Σ slope · D/D₀, bars those of a "
        "new row; triangles: by one in Σ D/D₀, whose power is in the title with its 95 % interval; both are fitted to models with one "
        "rate for all matrices."
    ),
)


#: Prefix of the columns of a KL with its interval → how it is drawn.
LOOKS: dict[str, dict[str, Any]] = {
    "kl": {"label": "measured", "color": BLUE, "marker": "o"},
    "expected_kl": {"label": "expected by Σ slope · D/D₀", "color": ORANGE, "marker": "s"},
}


def law(rows: pd.DataFrame) -> PowerLaw:
    """The power law of KL in Σ D/D₀ through the rows of one model that have one rate for all matrices."""
    equal = rows[rows["allocation"].isna()]
    return PowerLaw(equal["summed_relative_distortion"].to_numpy(), equal["kl_nats"].to_numpy(), seed=0)


def draw(rows: pd.DataFrame) -> Figure:
    """KL of every plan over that of equal rates, with what was expected of it, a panel for each model."""
    panels = list(rows.groupby("model", sort=False))
    figure = new_figure(FULL, 3.0)
    for axis, (model, of_panel) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        plans = of_panel[of_panel["allocation"].notna()].set_index("allocation")
        base, x, fitted = float(plans["kl_nats"]["equal, measured"]), np.arange(len(plans)), law(of_panel)
        for shift, (name, look) in zip((0.0, 0.22), LOOKS.items(), strict=True):
            centre, low, high = (plans[f"{name}_{end}"] / base for end in ("nats", "low", "high"))
            style = {"linestyle": "none", "capsize": 1.5, "elinewidth": 0.7, **look}
            axis.errorbar(x + shift, centre, yerr=[centre - low, high - centre], **style)
        blind = [fitted.at(value).value / base for value in plans["summed_relative_distortion"]]
        axis.plot(x - 0.22, blind, "^", color=GREEN, label="expected by Σ D/D₀")
        axis.axhline(1, **ZERO)
        power = fitted.power
        axis.set_title(f"{model}: KL ∝ (Σ D/D₀)^{power.value:.2f} [{power.low:.2f}, {power.high:.2f}]")
        axis.set_xticks(x, list(plans.index), rotation=30, ha="right")
        axis.set_ylabel(f"KL over {base:.3g} nats,\nthat of equal rates")
    add_legend(figure, 3)
    return figure
