"""Table of the plans of a run that share a budget of bits out among its layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from rdtools.model.layer_names import layer_type
from rdtools.report.rows import ordered_types
from rdtools.runs.allocations import AllocatedLayer, Allocation

ALLOCATIONS_HEAD = (
    "Plans of rdtools allocate: target rates of the layers of a type in bits per weight, min to max, under one budget of total bits per "
    "weight over all layers, each method with its own coder; files, expected bits of all files over all weights; Σ D/D₀ over layers; KL of "
    "the model to the original in nats per token: expected by the power law through the evaluated rows of the run, with its 95 % interval, "
    "and measured by rdtools eval --allocation. Where distortions are from R(D), it is that of one variance."
)


def _rates(layers: Sequence[AllocatedLayer]) -> str:
    low, high = min(entry.rate_bits for entry in layers), max(entry.rate_bits for entry in layers)
    return f"{low:.2f}" if low == high else f"{low:.2f} to {high:.2f}"


def _kl(value: float | None, low: float | None = None, high: float | None = None) -> str:
    if value is None or np.isnan(value):
        return "–"
    return f"{value:.3g}" if low is None or high is None else f"{value:.3g} ({low:.3g} to {high:.3g})"


def _measured(plan: Allocation, evaluated: pd.DataFrame) -> str:
    """KL of the last evaluated row of the plan: of its label, its budget and the size of its files, with the inputs of the original."""
    if not {"allocation", "target_bpw", "total_bpw", "kl_nats", "status", "hessians"} <= set(evaluated):
        return "–"
    same = evaluated["allocation"].eq(plan.label) & evaluated["target_bpw"].eq(plan.bits) & evaluated["status"].eq("ok")
    same &= evaluated["hessians"].eq("original")
    rows = evaluated[same & np.isclose(evaluated["total_bpw"], plan.total_bpw, rtol=1e-6)]
    return _kl(*rows[["kl_nats", "kl_low", "kl_high"]].iloc[-1]) if len(rows) else "–"


def allocations_table(plans: Mapping[str, Allocation], evaluated: pd.DataFrame) -> pd.DataFrame:
    """One row of text for each plan.

    Parameters
    ----------
    plans : by file name
    evaluated : rows of `rdtools eval` on the run, empty where there are none
    """
    rows = []
    for name, plan in plans.items():
        kinds = pd.Series([layer_type(entry.layer) for entry in plan.layers])
        types = {
            kind.removesuffix("_proj"): _rates([entry for entry, of in zip(plan.layers, kinds, strict=True) if of == kind])
            for kind in ordered_types(kinds)
        }
        rows.append(
            {
                "plan": name,
                "least": plan.label,
                "budget": f"{plan.bits:g}",
                "files": "–" if np.isnan(plan.total_bpw) else f"{plan.total_bpw:.4f}",
                **types,
                "Σ D/D₀": "–" if np.isnan(plan.summed_relative_distortion) else f"{plan.summed_relative_distortion:.4g}",
                "KL expected": _kl(plan.expected_kl_nats, plan.expected_kl_low, plan.expected_kl_high),
                "KL measured": _measured(plan, evaluated),
                "methods": ", ".join(plan.methods),
            }
        )
    return pd.DataFrame(rows).fillna("–")
