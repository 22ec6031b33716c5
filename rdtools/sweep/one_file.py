"""Layers of one input in one file: methods that ask for it wait until all of them are quantized."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rdtools.compare import LayerFacts, result_row
from rdtools.measure.point import CodedWeight, coded
from rdtools.moments.layer import Layer
from rdtools.quantizers import Quantizer, SettledQuantizer, prepare, shares_file
from rdtools.records import QuantizedLayer, ResultRow
from rdtools.runs.store import open_run
from rdtools.sweep.plan import LayerWork, Task


@dataclass(frozen=True)
class Waiting:
    """A quantized layer that waits for the others of its input.

    Attributes
    ----------
    number, index : of its job, and of its quantizer there
    layer : where it was worked on
    quantizer, settled : the method, and with the settings that it has on this layer
    quantized : its answer
    facts : of the layer
    seconds : that the integers took
    """

    number: int
    index: int
    layer: Layer
    quantizer: Quantizer
    settled: SettledQuantizer
    quantized: QuantizedLayer
    facts: LayerFacts
    seconds: float


def file_order(quantizer: Quantizer, order: dict[Quantizer, int]) -> int:
    """Place of a quantizer among others: those that put layers into one file come last, one after another."""
    return order.setdefault(quantizer, len(order) + 1) if shares_file(quantizer) else 0


def rows_in_one_file(waiting: Sequence[Waiting], seed: int) -> Iterator[tuple[Waiting, ResultRow | Exception]]:
    """Rows of the layers of each input, coded in one file or each in its own, whichever is smaller in all; an error in place of a row."""
    inputs: dict[int, list[Waiting]] = {}
    for one in waiting:
        inputs.setdefault(id(one.layer.hessian), []).append(one)
    for layers in inputs.values():
        started = time.perf_counter()
        files: Sequence[CodedWeight | Exception]
        try:
            files = coded([one.quantized.weight for one in layers], [one.layer.key.name for one in layers])
        except Exception as error:  # of these rows alone
            files = [error] * len(layers)
        share = (time.perf_counter() - started) / len(layers)
        for one, file in zip(layers, files, strict=True):
            started = time.perf_counter()
            try:
                if isinstance(file, Exception):
                    raise file
                problem = prepare(one.layer, one.settled.preparation, seed=seed)
                row = result_row(one.layer, one.quantizer, one.quantized, problem, one.facts, file=file)
                yield one, replace(row, wall_s=one.seconds + share + time.perf_counter() - started)
            except Exception as error:  # of this row alone
                yield one, error


def with_companions(task: Task) -> tuple[LayerWork, ...]:
    """The work of a task with all layers that methods with files of several layers need beside it; their rows have no key.

    The layers of an input are in one file whichever of them are asked for, and whichever rows are finished.
    """
    sharing = list(dict.fromkeys(q for work in task.layers for q in work.quantizers if shares_file(q)))
    if not sharing:
        return task.layers
    names = [entry.name for entry in open_run(task.run, verified=True).layers if entry.hessian == task.hessian]
    by_name = {work.name: work for work in task.layers}
    works = []
    for name in names:
        work = by_name.get(name, LayerWork(name, (), ()))
        missing = tuple(q for q in sharing if q not in work.quantizers)
        works.append(replace(work, quantizers=(*work.quantizers, *missing), row_keys=(*work.row_keys, *("" for _ in missing))))
    return tuple(works)
