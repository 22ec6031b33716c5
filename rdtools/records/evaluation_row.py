"""Rows of the table of whole models. Every column is described here, on the field that holds it, and nowhere else."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from rdtools.records.about import About
from rdtools.records.rows import Provenance, cells_of, columns_of

_ENDS = "ends of the 95 % bootstrap interval over clusters, nan for fewer than three"
_LOW, _HIGH = f"lower {_ENDS}", f"upper {_ENDS}"
_SE = "standard error by the same bootstrap"


@dataclass(frozen=True)
class LayerSums:
    """Columns about the quantized layers of a model; nan where layers are not measured, as of noise."""

    layers: Annotated[int, About("", "setting", "quantized matrices; the rest of the model is the original's")]
    weights: Annotated[int, About("", "setting", "weights in them")]
    total_bpw: Annotated[float, About("bpw", "measured", "bits of the coded files of all quantized matrices over their weights")] = math.nan
    summed_distortion: Annotated[
        float, About("", "measured", "Σ over matrices of m n D: squared error of the outputs per token, beside the inputs of `hessians`")
    ] = math.nan
    summed_relative_distortion: Annotated[float, About("", "measured", "Σ over matrices of D/D₀")] = math.nan
    summed_heldout_distortion: Annotated[
        float, About("", "measured", "Σ over matrices of D′/D₀′ over the run's held-out tokens; nan without these")
    ] = math.nan
    activation_bits: Annotated[
        float, About("bits", "setting", "of every input of the quantized layers; nan where they are not quantized")
    ] = math.nan
    activation_scope: Annotated[str | None, About("", "setting", "where activations are quantized and where they are not")] = None
    online_maps: Annotated[
        str | None, About("", "measured", "links of the maps that run before the rounding of activations, by the number of inputs")
    ] = None


@dataclass(frozen=True)
class ModelScores:
    """Columns that are measured on tokens; p is the original's prediction, q the quantized model's."""

    perplexity_original: Annotated[float, About("", "measured", "exp of the mean −ln p of the tokens that came")]
    perplexity: Annotated[float, About("", "measured", "exp of the mean −ln q of the tokens that came")]
    perplexity_stderr: Annotated[float, About("", "measured", _SE)]
    perplexity_low: Annotated[float, About("", "measured", _LOW)]
    perplexity_high: Annotated[float, About("", "measured", _HIGH)]
    nll_increase_nats: Annotated[float, About("nats", "measured", "mean of ln p − ln q of the tokens that came, paired by token")]
    nll_increase_stderr: Annotated[float, About("nats", "measured", _SE)]
    nll_increase_low: Annotated[float, About("nats", "measured", _LOW)]
    nll_increase_high: Annotated[float, About("nats", "measured", _HIGH)]
    kl_nats: Annotated[float, About("nats", "measured", "mean over tokens of KL(p‖q) = Σ p ln(p/q)")]
    kl_stderr: Annotated[float, About("nats", "measured", _SE)]
    kl_low: Annotated[float, About("nats", "measured", _LOW)]
    kl_high: Annotated[float, About("nats", "measured", _HIGH)]
    kl_p99_nats: Annotated[float, About("nats", "measured", "99 % quantile of KL(p‖q) over tokens")]
    kl_p99_low: Annotated[float, About("nats", "measured", _LOW)]
    kl_p99_high: Annotated[float, About("nats", "measured", _HIGH)]
    kl_cvar1_nats: Annotated[float, About("nats", "measured", "mean KL(p‖q) of the worst 1 % of the tokens")]
    kl_cvar1_low: Annotated[float, About("nats", "measured", _LOW)]
    kl_cvar1_high: Annotated[float, About("nats", "measured", _HIGH)]
    acceptance: Annotated[float, About("", "measured", "expected acceptance rate: mean of Σ min(p, q) = 1 − total variation")]
    acceptance_low: Annotated[float, About("", "measured", _LOW)]
    acceptance_high: Annotated[float, About("", "measured", _HIGH)]
    top1_agreement: Annotated[float, About("", "measured", "share of tokens at which p and q have their greatest probability in one place")]
    top1_agreement_low: Annotated[float, About("", "measured", _LOW)]
    top1_agreement_high: Annotated[float, About("", "measured", _HIGH)]


@dataclass(frozen=True, kw_only=True)
class EvaluationRow:
    """A whole model beside the original on held-out tokens."""

    model: Annotated[str, About("", "setting", "name of the original model")]
    method: Annotated[
        str,
        About("", "setting", "of every quantized layer, several joined by &; bf16-noise: weights moved by noise of that rounding's size"),
    ]
    target_bpw: Annotated[float, About("bpw", "setting", "the rate that was asked for; of an allocation the budget; nan for noise")]
    status: Annotated[Literal["ok", "failed"], About("", "measured", "ok, or failed as the message says")]
    seed: Annotated[int, About("", "setting", "of rotations, of noise and of the bootstrap")]
    hessians: Annotated[str, About("", "setting", "inputs that the quantizer saw: of the original, or of the partly quantized model")]
    corrections: Annotated[str, About("", "setting", "corrections of WaterSIC that were on, joined by +, or none")]
    protocol: Annotated[
        str,
        About(
            "",
            "setting",
            "windows of L: windows of L tokens that do not overlap, each token but the first of one scored from those before; top K of the "
            "original: all tokens but its K most probable ones count as one, which makes KL a lower bound and acceptance an upper one",
        ),
    ]
    evaluation: Annotated[str, About("", "setting", "source of the held-out tokens")]
    windows: Annotated[int, About("", "setting", "windows scored")]
    scored_tokens: Annotated[int, About("tokens", "setting", "tokens scored")]
    clusters: Annotated[int, About("", "setting", "sequences that the windows are cut from, or documents, which the bootstrap draws whole")]
    sums: LayerSums
    scores: ModelScores | None = None
    allocation: Annotated[
        str | None, About("", "setting", "rule and source of rates that differ by layer, see rdtools allocate; none for one rate")
    ] = None
    fused: Annotated[
        str | None, About("", "setting", "what rdtools rotate put into the weights of the original, which then costs nothing online")
    ] = None
    expected_kl_nats: Annotated[
        float,
        About(
            "nats", "predicted", "KL that a plan expects of the power law through the run's rows of one rate for all layers; nan without"
        ),
    ] = math.nan
    expected_kl_low: Annotated[
        float, About("nats", "predicted", "lower end of its 95 % prediction interval, of another row of one rate for all layers")
    ] = math.nan
    expected_kl_high: Annotated[
        float, About("nats", "predicted", "upper end of its 95 % prediction interval, of another row of one rate for all layers")
    ] = math.nan
    expected_kl_by_slopes_nats: Annotated[
        float, About("nats", "predicted", "Σ slope · D/D₀ of a plan: KL if that of layers quantized one by one added up; nan without")
    ] = math.nan
    message: Annotated[str, About("", "measured", "why a row failed")] = ""
    wall_s: Annotated[float, About("s", "measured", "wall time of the round of rows that this one was made in")] = math.nan
    provenance: Provenance = field(default_factory=Provenance)

    def to_row(self) -> dict[str, Any]:
        """Columns by name; those that are None are left out, as are scores that are not there."""
        return dict(cells_of(self))


#: Every column of the table of whole models, in order.
EVALUATION_COLUMNS = tuple(columns_of(EvaluationRow))
