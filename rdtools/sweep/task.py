"""One task, in whatever process it runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rdtools.compare import LayerFacts, compare, layer_facts
from rdtools.curves import theory_curves
from rdtools.errors import RateUnreachable, RdtoolsError
from rdtools.hessians.layer import Layer
from rdtools.hessians.store import Run, open_run
from rdtools.quantizers import Problem, Quantizer
from rdtools.records import LayerKey
from rdtools.sweep.plan import Task

Row = dict[str, Any]


def failed_row(quantizer: Quantizer, columns: Row, error: BaseException, *, seed: int) -> Row:
    """The row of a quantization that did not come about: status "unreachable" or "failed", and why."""
    status = "unreachable" if isinstance(error, RateUnreachable) else "failed"
    message = str(error) if isinstance(error, RdtoolsError) else f"{type(error).__name__}: {error}"
    return {
        **columns,
        "method": quantizer.method,
        "target_rate_bits": quantizer.rate_bits,
        "status": status,
        "message": message,
        "seed": seed,
    }


def _key_columns(key: LayerKey, rows: int, columns: int) -> Row:
    """What is known of a layer that cannot be read or has no spectrum."""
    return {"model": key.model, "layer": key.name, "layer_type": key.type, "block": key.block, "rows": rows, "columns": columns}


def quantize_layer(layer: Layer, quantizers: tuple[Quantizer, ...], *, seed: int, facts: LayerFacts | None = None) -> Iterator[Row]:
    """One row for each quantizer; those that agree in basis and damping share the factorization."""
    problems: dict[tuple[object, ...], Problem] = {}
    for quantizer in quantizers:
        started = time.perf_counter()
        try:
            facts = layer_facts(layer) if facts is None else facts
            basis = quantizer.preparation
            if basis not in problems:
                problems[basis] = quantizer.prepare(layer, seed=seed)
            quantized = quantizer.quantize(layer, seed=seed, problem=problems[basis])
            row = compare(layer, quantizer, quantized, problems[basis], facts)
        except (RdtoolsError, ArithmeticError, MemoryError, np.linalg.LinAlgError) as error:
            columns = _key_columns(layer.key, *layer.weight.shape) if facts is None else facts.columns
            row = failed_row(quantizer, columns, error, seed=seed)
        row["seconds"] = time.perf_counter() - started
        yield row


@dataclass
class Rows:
    """What tasks yield.

    Attributes
    ----------
    results : one row for each layer and quantizer
    curves : theory curves of each layer, see `rdtools.curves`
    """

    results: list[Row] = field(default_factory=list)
    curves: list[Row] = field(default_factory=list)


def failed_layer(run: Run, name: str, task: Task, error: BaseException) -> list[Row]:
    """The rows of a layer none of whose quantizations came about."""
    entry = next(entry for entry in run.layers if entry.name == name)
    columns = _key_columns(run.key(entry), *entry.shape)
    return [failed_row(q, columns, error, seed=task.seed) for q in task.quantizers]


def run_task(task: Task) -> Rows:
    """All rows of a task; a layer that cannot be read gives failed rows, not an exception."""
    run = open_run(task.run, verified=True)
    rows = Rows()
    for name in task.layers:
        try:
            layer = run[name]
            facts = layer_facts(layer)
        except (RdtoolsError, OSError, ArithmeticError, MemoryError, np.linalg.LinAlgError) as error:
            rows.results += failed_layer(run, name, task, error)
            continue
        rows.results += quantize_layer(layer, task.quantizers, seed=task.seed, facts=facts)
        if task.curve_rates:
            rows.curves += theory_curves(layer, np.array(task.curve_rates), facts)
    return rows
