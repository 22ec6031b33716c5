"""One task, in whatever process it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rdtools.compare import ActivationInputs, LayerFacts, layer_facts, result_row
from rdtools.compare.curves import theory_curves
from rdtools.compare.facts import key_row
from rdtools.devices import HOST, naming_stage
from rdtools.errors import NotEnoughMemory, RateUnreachable, explained
from rdtools.methods import format_method
from rdtools.moments.heldout import HeldoutMoment
from rdtools.moments.layer import Layer
from rdtools.moments.spectrum import remembered_spectrum
from rdtools.quantizers import Preparation, Problem, Quantizer, SettledQuantizer, prepare, shares_file
from rdtools.records import CURVE_COLUMNS, LayerRow, ResultRow
from rdtools.records.rows import Status
from rdtools.runs.journal import Record
from rdtools.runs.store import Run, open_run
from rdtools.sweep.activations import ActivationMemory
from rdtools.sweep.one_file import Waiting, file_order, rows_in_one_file, with_companions
from rdtools.sweep.plan import LayerWork, Task

Row = dict[str, Any]
#: A layer and the quantizers that it is to be quantized with.
Job = tuple[Layer, Sequence[Quantizer]]


def failed_row(quantizer: Quantizer, layer: LayerRow, error: BaseException, *, seed: int) -> ResultRow:
    """The row of a quantization that did not come about: status "infeasible" or "failed", and why."""
    status: Status = "infeasible" if isinstance(error, RateUnreachable) else "failed"
    return ResultRow(layer, format_method(quantizer), quantizer.rate_bits, status, seed, explained(error))


@dataclass(frozen=True)
class _Settled:
    """A quantizer of a job with the settings that it has on its layer, or the error of finding them, where it works, and the seconds that
    its settings took.
    """

    number: int
    index: int
    quantizer: SettledQuantizer | Exception
    device: str
    seconds: float


def _by_preparation(jobs: Sequence[Job], seed: int, device: str) -> list[list[_Settled]]:
    """The quantizers of all jobs, those of one preparation and place together and in each of these those of one job; by appearance."""
    groups: dict[tuple[Preparation, str] | tuple[int, int], list[_Settled]] = {}
    for number, (layer, quantizers) in enumerate(jobs):
        for index, quantizer in enumerate(quantizers):
            key: tuple[Preparation, str] | tuple[int, int] = (number, index)
            started, works_on = time.perf_counter(), HOST
            try:
                settled: SettledQuantizer | Exception = (settled_quantizer := quantizer.for_layer(layer, seed=seed))
                works_on = device if settled_quantizer.on_device else HOST
                key = settled_quantizer.preparation, works_on
            except Exception as error:  # raised where the row is made
                settled = error
            groups.setdefault(key, []).append(_Settled(number, index, settled, works_on, time.perf_counter() - started))
    return list(groups.values())


def _prepared(layer: Layer, device: str, preparation: Preparation, stage: Callable[[str], Any], *, seed: int) -> tuple[Layer, Problem]:
    """A layer where it is worked on, and its problem."""
    with stage("its weights and Hessian are copied"):
        moved = layer if device == HOST else layer.on(device)
    with stage("its basis is changed and its Hessian factored"):
        return moved, prepare(moved, preparation, seed=seed)


#: The moments of activations that a method needs, for layers of the input that is worked on; None for a method that needs none.
Activations = Callable[[Quantizer], ActivationInputs | None]


def quantize_layers(
    jobs: Sequence[Job],
    *,
    seed: int,
    facts: Sequence[LayerFacts | None] | None = None,
    activations: Activations = lambda quantizer: None,
    device: str = HOST,
) -> Iterator[tuple[int, int, Row]]:
    """Rows as they are finished: (number of the job, number of its quantizer, row).

    Rows of one preparation and place follow one another, so that layers of one Hessian share its factor and no other is alive beside it.
    Those of a method that puts layers of one input into one file come once all of them are quantized.

    Parameters
    ----------
    jobs : layers with their quantizers; those of one input gain most
    seed : of the run
    facts : of the layers; worked out here where not given
    activations : moments for methods that quantize activations, which fail without
    device : of torch, on which methods work that can; the others work in main memory, and each row says where it was
    """
    known: list[LayerFacts | None] = [None] * len(jobs) if facts is None else list(facts)
    for group in _by_preparation(jobs, seed, device):
        prepared: dict[int, tuple[Layer, Problem]] = {}
        waiting: list[Waiting] = []
        order: dict[Quantizer, int] = {}
        group.sort(key=lambda job: file_order(jobs[job.number][1][job.index], order))
        for place_in_group, job in enumerate(group):
            row: ResultRow | None = None
            number, settled, works_on = job.number, job.quantizer, job.device
            layer, quantizer = jobs[number][0], jobs[number][1][job.index]
            started, fact = time.perf_counter() - job.seconds, known[number]
            try:
                known[number] = fact = layer_facts(layer) if fact is None else fact
                quantizer.check_reachable(f"{layer.key.name}: {format_method(quantizer)}")
                if isinstance(settled, Exception):
                    raise settled
                stage = partial(naming_stage, works_on, name=layer.key.name, shape=layer.weight.shape)
                if number not in prepared:
                    prepared.clear()
                    prepared[number] = _prepared(layer, works_on, settled.preparation, stage, seed=seed)
                inputs = activations(settled)
                moments = None if inputs is None else inputs.calibration
                with stage("its integers are decided"):
                    quantized = settled.quantize(prepared[number][0], seed=seed, problem=prepared[number][1], activations=moments)
                if shares_file(quantizer):
                    took = time.perf_counter() - started
                    waiting.append(Waiting(number, job.index, prepared[number][0], quantizer, settled, quantized, fact, took))
                else:
                    with stage("what was decoded is measured"):
                        row = result_row(prepared[number][0], quantizer, quantized, prepared[number][1], fact, inputs)
                del quantized  # which holds its layer: none of another preparation stays beside the next one
            except Exception as error:  # any one of them is this row's alone
                if isinstance(error, NotEnoughMemory):
                    prepared.clear()
                    error.__cause__ = None  # whose frames hold what did not fit
                known_of = key_row(layer.key, *layer.weight.shape) if fact is None else fact.row
                row = failed_row(quantizer, known_of, error, seed=seed)
                if row.status == "infeasible" and fact is not None and layer.hessian.distinct_tokens == 0:
                    row = replace(row, status=fact.status, message=fact.message)  # an expert that no token reached has no rate but 0
            if row is not None:
                yield number, job.index, replace(row, wall_s=time.perf_counter() - started).to_row()
            after = group[place_in_group + 1 : place_in_group + 2]
            if waiting and not (after and jobs[after[0].number][1][after[0].index] == quantizer):
                prepared.clear()
                for one, result in rows_in_one_file(waiting, seed):
                    result = failed_row(one.quantizer, one.facts.row, result, seed=seed) if isinstance(result, Exception) else result
                    yield one.number, one.index, result.to_row()
                waiting.clear()


def quantize_layer(layer: Layer, quantizers: Sequence[Quantizer], *, seed: int, facts: LayerFacts | None = None) -> Iterator[Row]:
    """One row for each quantizer, in their order, whatever goes wrong in it; one factorization serves all of one preparation."""
    rows = {index: row for _, index, row in quantize_layers([(layer, quantizers)], seed=seed, facts=[facts])}
    return (rows[index] for index in range(len(quantizers)))


def _failed_curves(work: LayerWork, error: BaseException) -> Record:
    return Record(work.curves_key, "curves", {"layer": work.name, "status": "failed", "message": explained(error)})


def failed_layer(run: Run, work: LayerWork, error: BaseException, *, seed: int) -> Iterator[Record]:
    """Records of a layer of which nothing came about."""
    entry = next(entry for entry in run.layers if entry.name == work.name)
    known = key_row(run.key(entry), *entry.shape)
    for quantizer, key in zip(work.quantizers, work.row_keys, strict=True):
        if not key:
            continue
        yield Record(key, "row", failed_row(quantizer, known, error, seed=seed).to_row())
    if work.curve_rates:
        yield _failed_curves(work, error)


def _curves(layer: Layer, work: LayerWork, facts: LayerFacts) -> Record:
    try:
        points = [[row[name] for name in CURVE_COLUMNS[1:]] for row in theory_curves(layer, np.array(work.curve_rates), facts)]
    except Exception as error:  # as above
        return _failed_curves(work, error)
    return Record(work.curves_key, "curves", {"layer": work.name, "status": "ok", "points": points})


class LayerMemory:
    """Layers of the input that was worked on last, with their facts: tasks of one input read and analyse each layer once per worker.

    Parameters
    ----------
    device : of torch, on which eigenvectors are computed and methods work that can
    """

    def __init__(self, device: str = HOST) -> None:
        self.device = device
        self._input: tuple[Path, int] | None = None
        self._run: Run | None = None
        self._heldout: HeldoutMoment | None = None
        self._activations: ActivationMemory | None = None
        self._layers: dict[str, tuple[Layer, LayerFacts]] = {}

    def read(self, task: Task, name: str) -> tuple[Layer, LayerFacts]:
        """A layer of a task; those of another input are let go first."""
        if self._run is None or self._input != (task.run, task.hessian):
            self._layers.clear()
            self._run = open_run(task.run, verified=True)
            self._heldout = self._run.heldout(task.hessian)
            self._activations = ActivationMemory(self._run, task.hessian)
            self._input = task.run, task.hessian
        if name not in self._layers:
            layer = self._run[name]
            if self.device != HOST and remembered_spectrum(layer.hessian) is None:  # first, so that the facts find it
                with naming_stage(self.device, "the eigenvectors of its Hessian are computed", name=name, shape=layer.weight.shape):
                    self._run.keep_spectrum(task.hessian, layer.on(self.device).hessian)
            self._layers[name] = layer, layer_facts(layer, self._heldout)
            self._run.keep_spectrum(task.hessian)
        return self._layers[name]

    def activations(self, quantizer: Quantizer, *, seed: int) -> ActivationInputs | None:
        """Moments of activations for the layers read last; see `ActivationMemory.read`."""
        assert self._activations is not None
        return self._activations.read(quantizer, seed=seed)


def run_task(task: Task, memory: LayerMemory | None = None) -> Iterator[Record]:
    """Records of a task, each as soon as it is finished; a layer that cannot be read gives failed rows, not an exception.

    Parameters
    ----------
    task : of one preparation
    memory : that tasks done before in this process have left
    """
    memory = memory or LayerMemory()
    works: list[LayerWork] = []
    jobs: list[Job] = []
    facts: list[LayerFacts] = []
    for work in with_companions(task):
        try:
            layer, fact = memory.read(task, work.name)
        except Exception as error:  # as above
            yield from failed_layer(open_run(task.run), work, error, seed=task.seed)
            continue
        facts.append(fact)
        works.append(work)
        jobs.append((layer, work.quantizers))
    moments = partial(memory.activations, seed=task.seed)
    for number, index, row in quantize_layers(jobs, seed=task.seed, facts=facts, activations=moments, device=memory.device):
        if key := works[number].row_keys[index]:
            yield Record(key, "row", row)
    for work, (layer, _), fact in zip(works, jobs, facts, strict=True):
        if work.curve_rates:
            yield _curves(layer, work, fact)
