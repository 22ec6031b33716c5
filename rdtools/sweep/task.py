"""One task, in whatever process it runs."""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from rdtools._version import __version__
from rdtools.compare import LayerFacts, compare, layer_facts
from rdtools.compare.curves import CURVE_COLUMNS, theory_curves
from rdtools.errors import RateUnreachable, RdtoolsError
from rdtools.methods import format_method
from rdtools.moments.layer import Layer
from rdtools.quantizers import Preparation, Problem, Quantizer
from rdtools.records import LayerKey
from rdtools.runs.journal import Record
from rdtools.runs.store import Run, open_run
from rdtools.sweep.plan import LayerWork, Task

Row = dict[str, Any]
#: A layer and the quantizers that it is to be quantized with.
Job = tuple[Layer, Sequence[Quantizer]]

#: Columns of a row that say which versions made it.
VERSIONS = {"rdtools_version": __version__, "numpy_version": np.__version__, "python_version": platform.python_version()}


def _explained(error: BaseException) -> str:
    """Message of an error; its type too where it was not raised on purpose."""
    return str(error) if isinstance(error, RdtoolsError) else f"{type(error).__name__}: {error}"


def failed_row(quantizer: Quantizer, columns: Row, error: BaseException, *, seed: int) -> Row:
    """The row of a quantization that did not come about: status "unreachable" or "failed", and why."""
    return {
        **columns,
        "method": format_method(quantizer),
        "target_rate_bits": quantizer.rate_bits,
        "status": "unreachable" if isinstance(error, RateUnreachable) else "failed",
        "message": _explained(error),
        "seed": seed,
    }


def _key_columns(key: LayerKey, rows: int, columns: int) -> Row:
    """What is known of a layer that cannot be read or has no spectrum."""
    return {"model": key.model, "layer": key.name, "layer_type": key.type, "block": key.block, "rows": rows, "columns": columns}


def _by_preparation(jobs: Sequence[Job], seed: int) -> list[list[tuple[int, int, float]]]:
    """(job, quantizer, seconds that its settings took), those of one preparation together and in each of these those of one job; by first
    appearance.
    """
    groups: dict[Preparation | tuple[int, int], list[tuple[int, int, float]]] = {}
    for number, (layer, quantizers) in enumerate(jobs):
        for which, quantizer in enumerate(quantizers):
            key: Preparation | tuple[int, int] = (number, which)
            started = time.perf_counter()
            with contextlib.suppress(Exception):  # it is raised again where the row is made
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
                quantizer.check_reachable(f"{layer.key.name}: {format_method(quantizer)}")
                if number not in prepared:
                    prepared.clear()
                    prepared[number] = quantizer.prepare(layer, seed=seed)
                quantized = quantizer.quantize(layer, seed=seed, problem=prepared[number])
                row = compare(layer, quantizer, quantized, prepared[number], fact)
            except Exception as error:  # any one of them is this row's alone
                columns = _key_columns(layer.key, *layer.weight.shape) if fact is None else fact.columns
                row = failed_row(quantizer, columns, error, seed=seed)
            row["seconds"] = time.perf_counter() - started
            yield number, which, row | VERSIONS


def quantize_layer(layer: Layer, quantizers: Sequence[Quantizer], *, seed: int, facts: LayerFacts | None = None) -> Iterator[Row]:
    """One row for each quantizer, in their order, whatever goes wrong in it; one factorization serves all of one preparation."""
    rows = {which: row for _, which, row in quantize_layers([(layer, quantizers)], seed=seed, facts=[facts])}
    return (rows[which] for which in range(len(quantizers)))


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
    works: list[LayerWork] = []
    jobs: list[Job] = []
    facts: list[LayerFacts] = []
    for work in task.layers:
        try:
            layer = run[work.name]
            facts.append(layer_facts(layer))
        except Exception as error:  # as above
            yield from failed_layer(run, work, error, seed=task.seed)
            continue
        works.append(work)
        jobs.append((layer, work.quantizers))
    for number, which, row in quantize_layers(jobs, seed=task.seed, facts=facts):
        yield Record(works[number].row_keys[which], "row", row)
    for work, (layer, _), fact in zip(works, jobs, facts, strict=True):
        if work.curve_rates:
            yield _curves(layer, work, fact)
