"""Error of four-bit weights and activations beside a low-rank term, over total rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from rdtools.methods.table import BLACK, BLUE, ORANGE, PURPLE, SKY, VERMILLION
from rdtools.report.captions import Caption
from rdtools.report.figures.canvas import add_legend, log_axes, new_figure
from rdtools.report.style import FULL

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = ("low_rank",)
#: Words around it.
CAPTION = Caption(
    title="A low-rank term beside four-bit weights and activations",
    alt="Held-out distortion over that of GPTQ at four bits against total rate, for four ways to spend further bits.",
    text=(
        "Held-out distortion of one synthetic layer with a low-rank term on unquantized activations, over that of GPTQ with weights "
        "and activations of 4 bits, against the total rate with 16-bit factors; grids of fixed rate, WaterSIC's Gaussian coder apart; "
        "{{ layers }} layers, one of each kind of weights; one draw each, so there are no bars. Solid: reduced-rank bound, the least "
        "distortion of any weights and any term of the rank; dotted: tail energy of W; dashed: weights of 16 bits without a term."
    ),
)


#: Correction → colour, marker and name.
LOOKS = {
    "joint": (VERMILLION, "o", "LRC"),
    "svd": (ORANGE, "D", "leading part of W"),
    "weights": (PURPLE, "v", "term for the error of the weights"),
    "none": (SKY, "s", "GPTQ, more bits of weights"),
    "none, entropy-coded": (BLUE, "^", "WaterSIC, more bits of weights"),
}


def draw(rows: pd.DataFrame) -> Figure:
    """D over that of GPTQ at four bits against total bits, held out; lines: the reduced-rank bound at the bits of its factors over four."""
    betas = list(dict.fromkeys(rows["beta"]))
    figure = new_figure(FULL, 2.5)
    axes = figure.subplots(1, len(betas), squeeze=False)[0]
    for beta, axis in zip(betas, axes, strict=True):
        of_beta = rows[rows["beta"] == beta]
        base = of_beta[of_beta["correction"] == "none"].iloc[0]
        for correction, (color, marker, label) in LOOKS.items():
            part = of_beta[of_beta["correction"] == correction].sort_values("total_bpw")
            ratio = part["heldout_distortion"] / base["heldout_distortion"]
            axis.plot(part["total_bpw"], ratio, color=color, marker=marker, linestyle="none", label=label)
        floor = of_beta[of_beta["correction"] == "none"].sort_values("total_bpw").iloc[-1]
        level = floor["heldout_distortion"] / base["heldout_distortion"]
        axis.axhline(level, color=SKY, linewidth=0.7, linestyle="--", label="weights of 16 bits, activations of 4")
        joint = pd.concat([base.to_frame().T, of_beta[of_beta["correction"] == "joint"]])
        bits = base["total_bpw"] + joint["factors_bpw"]
        bound = joint["reduced_rank_bound_distortion"] / base["distortion"]
        axis.plot(bits, bound, color=BLACK, label="least D of any weights and term of the rank")
        axis.plot(bits, joint["tail_energy"], color=BLACK, linestyle=":", label="tail energy of W")
        log_axes(axis, "y")
        axis.set_title("independent weights" if beta == 0 else f"singular values i^−{beta:g}")
        axis.set_xlabel("total rate (bpw), 16-bit factors included")
    axes[0].set_ylabel("D held out / that of W4A4 GPTQ")
    add_legend(figure, 3)
    return figure
