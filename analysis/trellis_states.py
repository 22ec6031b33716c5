"""Rate above R(D) by the states of the trellis, and by the time of quantizing and coding, on three trained matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from rdtools.analysis.trellis_frontier import BLOCK, rows_of, trellis

from rdtools.ops import COSET_STATES
from rdtools.report.figures.trellis_states import PEERS as PEERS
from rdtools.report.figures.trellis_states import TIMED as TIMED
from rdtools.report.figures.trellis_states import draw as draw
from rdtools.runs.store import open_run

#: Types of the matrices that are measured.
TYPES = ("q_proj", "o_proj", "gate_proj")
RATES = (2.0, 3.0, 4.0)
METHODS: Mapping[str, Sequence[float]] = {
    **dict.fromkeys(PEERS, (TIMED,)),
    **{trellis(states, suffix): RATES for suffix in ("", "+adaptive") for states in COSET_STATES},
}


def run(folders: Sequence[Path]) -> pd.DataFrame:
    """Rows of the matrices of the block in the first run; the first is quantized beforehand too, so that nothing is compiled meanwhile."""
    opened = open_run(folders[0])
    layers = [layer for layer in (opened[name] for name in opened) if layer.key.block == BLOCK and layer.key.type in TYPES]
    for _ in rows_of(layers[0], "trained", dict.fromkeys(METHODS, (TIMED,))):
        pass
    rows = pd.DataFrame([row for layer in layers for row in rows_of(layer, "trained", METHODS)])
    weights = {layer.key.name: layer.weight.size for layer in layers}
    rows["encode_cpu_us_per_weight"] = 1e6 * rows["encode_cpu_s"] / rows["layer"].map(weights)
    states = rows["method"].str.extract(r"states=(\d+)")[0]
    rows["states"] = states.where(states.notna() | ~rows["method"].str.startswith("watersic-trellis"), "256").astype("Int64")
    return rows
