"""Several methods at several rates on layers at hand, as one table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from rdtools.errors import UsageError, WrongType
from rdtools.jobs.arguments import method_names, target_rates
from rdtools.methods import make_quantizers
from rdtools.moments.layer import Layer
from rdtools.runs.results import to_table
from rdtools.seeds import check_seed
from rdtools.sweep import quantize_layers
from rdtools.threads import one_blas_thread


def _layers(items: object) -> list[Layer]:
    several = list(items.values()) if isinstance(items, Mapping) else [items] if isinstance(items, Layer) else items
    if not isinstance(several, Iterable) or isinstance(several, str | bytes):
        raise WrongType(f"compare: got {type(items).__name__}, expected a Layer, several of them, or a run: compare(layer, ['gptq'], [3])")
    layers = list(several)
    wrong = next((item for item in layers if not isinstance(item, Layer)), None)
    if wrong is not None or not layers:
        kind = "nothing" if not layers else type(wrong).__name__
        raise WrongType(f"compare: got {kind} among the layers, expected Layers; make one with Layer.of(weight, hessian)")
    return layers


def compare(
    layers: Layer | Iterable[Layer] | Mapping[str, Layer],
    methods: str | Sequence[str],
    bits: float | Sequence[float] = (2, 3, 4),
    *,
    damping: float | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Quantize, code, decode and measure: one row for each layer, method and rate, with bounds and predictions beside what was measured.

    A rate that a method cannot have on a layer has a row with status "infeasible"; ``rdtools columns`` describes the columns.

    Parameters
    ----------
    layers : one, several, or a mapping to them such as a run
    methods : a name of ``rdtools.methods()``, or several
    bits : a target rate in bits per active weight, or several
    damping : of methods whose name gives none
    seed : of everything drawn

    Raises
    ------
    WrongType, UnknownMethod, InvalidRate, UsageError

    Examples
    --------
    >>> import numpy as np
    >>> layer = Layer.of(np.random.default_rng(0).standard_normal((64, 16)), np.eye(16))
    >>> table = compare(layer, ["rtn", "hptq"], bits=3)
    >>> table[["method", "status"]].to_dict("list")
    {'method': ['rtn', 'hptq'], 'status': ['ok', 'ok']}
    """
    chosen = _layers(layers)
    quantizers = make_quantizers(method_names("compare", methods), target_rates("compare", "bits", bits), damping=damping)
    seed = check_seed(seed)
    if len({layer.key.name for layer in chosen}) < len(chosen):
        raise UsageError("compare: two layers have one name, by which rows are told apart; name them: Layer.of(…, name='0.q_proj')")
    with one_blas_thread():
        rows: dict[tuple[int, int], Any] = {
            (number, index): row for number, index, row in quantize_layers([(layer, quantizers) for layer in chosen], seed=seed)
        }
    return to_table([rows[key] for key in sorted(rows)])
