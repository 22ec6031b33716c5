"""One task, in whatever process it runs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rdtools.compare import LayerFacts, compare, layer_facts
from rdtools.curves import theory_curves
from rdtools.errors import RateUnreachable, RdtoolsError
from rdtools.hessians.layer import Layer
from rdtools.hessians.store import Run, open_run
from rdtools.quantizers import Preparation, Problem, Quantizer
from rdtools.records import LayerKey
from rdtools.sweep.plan import Task

Row = dict[str, Any]
#: A layer and the quantizers that it is to be quantized with.
Job = tuple[Layer, Sequence[Quantizer]]


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


_CAUGHT = (RdtoolsError, ArithmeticError, MemoryError, np.linalg.LinAlgError)


def _by_preparation(jobs: Sequence[Job], seed: int) -> list[list[tuple[int, int, float]]]:
    """(job, quantizer, seconds that its settings took), those of one preparation together and in each of these those of one job; by first
    appearance.
    """
    groups: dict[Preparation | tuple[int, int], list[tuple[int, int, float]]] = {}
    for number, (layer, quantizers) in enumerate(jobs):
        for which, quantizer in enumerate(quantizers):
            key: Preparation | tuple[int, int] = (number, which)
            started = time.perf_counter()
            with contextlib.suppress(*_CAUGHT):  # it is raised again where the row is made
                key = quantizer.for_layer(layer, seed=seed).preparation
            groups.setdefault(key, []).append((number, which, time.perf_counter() - started))
    return list(groups.values())


def quantize_layers(jobs: Sequence[Job], *, seed: int, facts: Sequence[LayerFacts | None] | None = None) -> Iterator[tuple[int, int, Row]]:
    """Rows as they are finished: (number of the job, number of its quantizer, row).

    Rows of one preparation follow one another, so that layers of one Hessian share its factor and no other factor is alive beside it.

    Parameters
    ----------
    jobs : layers with their quantizers; those of one input gain most
    seed : of the run
    facts : of the layers; worked out here where not given
    """
    known: list[LayerFacts | None] = [None] * len(jobs) if facts is None else list(facts)
    for pairs in _by_preparation(jobs, seed):
        prepared: dict[int, Problem] = {}
        for number, which, before in pairs:
            layer, quantizer = jobs[number][0], jobs[number][1][which]
            started, fact = time.perf_counter() - before, known[number]
            try:
                known[number] = fact = layer_facts(layer) if fact is None else fact
                quantizer.check_reachable(f"{layer.key.name}: {quantizer.method}")
                if number not in prepared:
                    prepared.clear()
                    prepared[number] = quantizer.prepare(layer, seed=seed)
                quantized = quantizer.quantize(layer, seed=seed, problem=prepared[number])
                row = compare(layer, quantizer, quantized, prepared[number], fact)
            except _CAUGHT as error:
                columns = _key_columns(layer.key, *layer.weight.shape) if fact is None else fact.columns
                row = failed_row(quantizer, columns, error, seed=seed)
            row["seconds"] = time.perf_counter() - started
            yield number, which, row


def quantize_layer(layer: Layer, quantizers: Sequence[Quantizer], *, seed: int, facts: LayerFacts | None = None) -> Iterator[Row]:
    """One row for each quantizer, in their order; those that agree in their preparation share the factorization."""
    rows = {which: row for _, which, row in quantize_layers([(layer, quantizers)], seed=seed, facts=[facts])}
    return (rows[which] for which in range(len(quantizers)))


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
    layers: dict[str, Layer] = {}
    facts: dict[str, LayerFacts] = {}
    results: dict[str, list[Row]] = {}
    for name in task.layers:
        try:
            layers[name] = run[name]
            facts[name] = layer_facts(layers[name])
        except (*_CAUGHT, OSError) as error:
            layers.pop(name, None)
            results[name] = failed_layer(run, name, task, error)
    names = list(layers)
    results |= {name: [{} for _ in task.quantizers] for name in names}
    jobs = [(layer, task.quantizers) for layer in layers.values()]
    for number, which, row in quantize_layers(jobs, seed=task.seed, facts=list(facts.values())):
        results[names[number]][which] = row
    rows = Rows([row for name in task.layers for row in results[name]])
    if task.curve_rates:
        for name in names:
            rows.curves += theory_curves(layers[name], np.array(task.curve_rates), facts[name])
    return rows
