"""One task, in whatever process it runs."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from rdtools import __version__
from rdtools.compare import LayerFacts, compare, layer_facts
from rdtools.curves import CURVE_COLUMNS, theory_curves
from rdtools.errors import RateUnreachable, RdtoolsError
from rdtools.hessians.layer import Layer
from rdtools.hessians.store import Run, open_run
from rdtools.quantizers import Problem, Quantizer
from rdtools.records import LayerKey
from rdtools.runs.journal import Record
from rdtools.sweep.plan import LayerWork, Task

Row = dict[str, Any]

#: Columns of a row that say which versions made it.
VERSIONS = {"rdtools_version": __version__, "numpy_version": np.__version__, "python_version": platform.python_version()}


def _explained(error: BaseException) -> str:
    """Message of an error; its type too where it was not raised on purpose."""
    return str(error) if isinstance(error, RdtoolsError) else f"{type(error).__name__}: {error}"


def failed_row(quantizer: Quantizer, columns: Row, error: BaseException, *, seed: int) -> Row:
    """The row of a quantization that did not come about: status "unreachable" or "failed", and why."""
    return {
        **columns,
        "method": quantizer.method,
        "target_rate_bits": quantizer.rate_bits,
        "status": "unreachable" if isinstance(error, RateUnreachable) else "failed",
        "message": _explained(error),
        "seed": seed,
    }


def _key_columns(key: LayerKey, rows: int, columns: int) -> Row:
    """What is known of a layer that cannot be read or has no spectrum."""
    return {"model": key.model, "layer": key.name, "layer_type": key.type, "block": key.block, "rows": rows, "columns": columns}


def quantize_layer(layer: Layer, quantizers: Sequence[Quantizer], *, seed: int, facts: LayerFacts | None = None) -> Iterator[Row]:
    """One row for each quantizer, whatever goes wrong in it; those that agree in basis and damping share the factorization."""
    problems: dict[tuple[object, ...], Problem] = {}
    for quantizer in quantizers:
        started = time.perf_counter()
        try:
            facts = layer_facts(layer) if facts is None else facts
            quantizer.check_reachable(f"{layer.key.name}: {quantizer.method}")
            basis = quantizer.preparation
            if basis not in problems:
                problems[basis] = quantizer.prepare(layer, seed=seed)
            quantized = quantizer.quantize(layer, seed=seed, problem=problems[basis])
            row = compare(layer, quantizer, quantized, problems[basis], facts)
        except Exception as error:  # any one of them is this row's alone
            columns = _key_columns(layer.key, *layer.weight.shape) if facts is None else facts.columns
            row = failed_row(quantizer, columns, error, seed=seed)
        row["seconds"] = time.perf_counter() - started
        yield row | VERSIONS


def _failed_curves(work: LayerWork, error: BaseException) -> Record:
    return Record(work.curves_key, "curves", {"layer": work.name, "status": "failed", "message": _explained(error)})


def failed_layer(run: Run, work: LayerWork, error: BaseException, *, seed: int) -> Iterator[Record]:
    """Records of a layer of which nothing came about."""
    entry = next(entry for entry in run.layers if entry.name == work.name)
    columns = _key_columns(run.key(entry), *entry.shape)
    for quantizer, key in zip(work.quantizers, work.row_keys, strict=True):
        yield Record(key, "row", failed_row(quantizer, columns, error, seed=seed) | VERSIONS)
    if work.curve_rates:
        yield _failed_curves(work, error)


def _curves(layer: Layer, work: LayerWork, facts: LayerFacts) -> Record:
    try:
        points = [[row[name] for name in CURVE_COLUMNS[1:]] for row in theory_curves(layer, np.array(work.curve_rates), facts)]
    except Exception as error:  # as above
        return _failed_curves(work, error)
    return Record(work.curves_key, "curves", {"layer": work.name, "status": "ok", "points": points})


def run_task(task: Task) -> Iterator[Record]:
    """Records of a task, each as soon as it is finished; a layer that cannot be read gives failed rows, not an exception."""
    run = open_run(task.run, verified=True)
    for work in task.layers:
        try:
            layer = run[work.name]
            facts = layer_facts(layer)
        except Exception as error:  # as above
            yield from failed_layer(run, work, error, seed=task.seed)
            continue
        for key, row in zip(work.row_keys, quantize_layer(layer, work.quantizers, seed=task.seed, facts=facts), strict=True):
            yield Record(key, "row", row)
        if work.curve_rates:
            yield _curves(layer, work, facts)
