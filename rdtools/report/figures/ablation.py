"""KL of the whole quantized model by the corrections that are on, added one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from rdtools.corrections.table import CORRECTIONS
from rdtools.report.captions import Caption
from rdtools.report.figures.canvas import add_legend, log_axes, new_figure
from rdtools.report.style import FULL, method_looks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = ("ablation",)
#: Words around it.
CAPTION = Caption(
    title="Methods on equal footing, corrections added one at a time",
    alt="KL divergence of quantized models by method over the number of corrections that are on.",
    text=(
        "KL divergence of the original from the quantized model, all matrices by one method, with WaterSIC's corrections added from left "
        "to right. All methods see moments of the partly quantized model with damping 1e-4; their coder has a Gaussian model per column, "
        "of those called adaptive learnt models; no bound enters. Panels are of one model, rate and number of scored tokens. "
        "Marks without a neighbour were not measured further. Bars: 95 % "
        "bootstrap intervals over windows."
    ),
)
#: Corrections that are on in each step, one more each time, as rows name them.
STEPS = tuple("+".join(one.name for one in CORRECTIONS[:count]) or "none" for count in range(len(CORRECTIONS) + 1))


def draw(rows: pd.DataFrame) -> Figure:
    """KL by corrections, a panel for each model, rate and number of scored tokens."""
    models = list(dict.fromkeys(rows["model"]))
    panels = sorted(rows.groupby(["model", "target_bpw", "scored_tokens"]), key=lambda panel: (models.index(panel[0][0]), *panel[0][1:]))
    figure = new_figure(FULL, 3.0)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    looks = method_looks(rows["method"].drop_duplicates())
    for ax, ((model, rate, tokens), of_panel) in zip(axes, panels, strict=True):
        for method, look in looks.items():
            some = of_panel[of_panel["method"] == method].set_index("corrections").reindex(list(STEPS)).dropna(how="all")
            if len(some):
                bars = [some["kl_nats"] - some["kl_low"], some["kl_high"] - some["kl_nats"]]
                style = {"capsize": 1.5, "elinewidth": 0.7, "label": method, **look, "linestyle": "-"}
                ax.errorbar([STEPS.index(name) for name in some.index], some["kl_nats"], yerr=bars, **style)
        ax.set_xticks(range(len(STEPS)), ["none", *(f"+{one.name}" for one in CORRECTIONS)], rotation=45, ha="right")
        log_axes(ax, "y")
        ax.set(title=f"{model}, {rate:g} bits,\n{tokens} tokens", ylabel="KL (nats per token)" if ax is axes[0] else "")
    add_legend(figure, 4)
    return figure
