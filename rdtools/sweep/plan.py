"""The tasks of a run: every preparation of every input, largest inputs first, and the key of every row."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self, cast

from rdtools.methods import format_method
from rdtools.quantizers import Quantizer
from rdtools.runs.keys import curves_key, layer_key, row_key
from rdtools.runs.plan import PlannedMethod
from rdtools.runs.run_manifest import LayerEntry
from rdtools.runs.store import Run
from rdtools.runs.tasks import ListedLayer, ListedTask, task_name


@dataclass(frozen=True)
class LayerWork:
    """The work to be done for one layer.

    Attributes
    ----------
    name : of the layer
    quantizers : methods, each at one rate
    row_keys : of their rows
    curve_rates : rates at which to tabulate the theory curves; none for no curves
    curves_key : of the curves
    """

    name: str
    quantizers: tuple[Quantizer, ...]
    row_keys: tuple[str, ...]
    curve_rates: tuple[float, ...] = ()
    curves_key: str = ""

    def without(self, done: Collection[str]) -> LayerWork:
        """The work that is left."""
        remaining = [(q, key) for q, key in zip(self.quantizers, self.row_keys, strict=True) if key not in done]
        rates = () if self.curves_key in done else self.curve_rates
        return replace(self, quantizers=tuple(q for q, _ in remaining), row_keys=tuple(key for _, key in remaining), curve_rates=rates)

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of everything that is to be done, in order."""
        return (*self.row_keys, *([self.curves_key] if self.curve_rates else []))


class WorkOnLayer(Protocol):
    """The part of a task that is about one layer."""

    @property
    def name(self) -> str:
        """Name of the layer."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the records to be made, in order."""

    def without(self, done: Collection[str]) -> Self:
        """The work that is left."""


@dataclass(frozen=True)
class Work:
    """A task of any kind in `rdtools.sweep.kinds.KINDS`: what is done about the layers of one input.

    Attributes
    ----------
    kind : a name in the table of kinds
    run : directory
    hessian : number of the input's Hessian in the run
    layers : work for each
    seed : of everything that is drawn
    """

    kind: ClassVar[Literal["quantize", "verify"]]
    run: Path
    hessian: int
    layers: tuple[WorkOnLayer, ...]
    seed: int

    @property
    def listed(self) -> ListedTask:
        """The task in the list of the run."""
        layers = [ListedLayer(name=layer.name, keys=list(layer.keys)) for layer in self.layers]
        name = task_name([key for layer in layers for key in layer.keys])
        return ListedTask(name=name, kind=self.kind, hessian=self.hessian, seed=self.seed, layers=layers)

    def without(self, done: Collection[str]) -> Self:
        """The work that is left; a task without layers if nothing is."""
        remaining = (layer.without(done) for layer in self.layers)
        return replace(self, layers=tuple(layer for layer in remaining if layer.keys))


@dataclass(frozen=True)
class Task(Work):
    """All quantizations of one input's layers that share a preparation, so that its factor is made once.

    Attributes
    ----------
    run, hessian, layers, seed : see `Work`
    work : relative cost of the input, m n² summed over layers
    """

    kind: ClassVar[Literal["quantize", "verify"]] = "quantize"
    layers: tuple[LayerWork, ...]
    work: float

    @property
    def rows(self) -> int:
        """Number of rows to be made."""
        return sum(len(layer.row_keys) for layer in self.layers)


def settings_of(quantizer: Quantizer) -> str:
    """Every setting of a quantizer but its rate, in a form that two quantizers share only if they do the same.

    Settings that came later are left out where they have their default.

    Examples
    --------
    >>> from rdtools.quantizers import HRTN
    >>> settings_of(HRTN(rate_bits=3)) == settings_of(HRTN(rate_bits=2)), settings_of(HRTN(rate_bits=3, coding="column"))
    (True, "HRTN(damping=None, backend=None, rotation=None, coding='column', adaptive_columns=0)")
    """
    record = cast(Any, quantizer)  # every quantizer is a dataclass, which a protocol cannot say
    known = {field.name: getattr(record, field.name) for field in fields(record) if field.name != "rate_bits"}
    usual = {field.name: field.default for field in fields(record) if field.metadata.get("later")}
    settings = (f"{name}={value!r}" for name, value in known.items() if name not in usual or value != usual[name])
    return f"{type(quantizer).__name__}({', '.join(settings)})"


def preparation_of(quantizer: Quantizer) -> Hashable:
    """The preparation that a quantizer asks for, which others may share; one of its own where it depends on the layer."""
    return getattr(quantizer, "preparation", settings_of(quantizer))


def planned_methods(
    quantizers: Sequence[Quantizer], *, seeds: Sequence[int] = (0,), layers: Sequence[str] | None = None
) -> list[PlannedMethod]:
    """Entries of a run's plan."""
    names = None if layers is None else list(layers)
    return [
        PlannedMethod(method=format_method(q), settings=settings_of(q), rate_bits=float(q.rate_bits), seed=seed, layers=names)
        for seed in seeds
        for q in quantizers
    ]


def key_of_layer(run: Run, entry: LayerEntry) -> str:
    """Key of a layer of a run; see `rdtools.runs.keys`."""
    weights = {name: file.sha256 for name, file in run.manifest.model.files.items() if name.endswith(".safetensors")}
    hessian = run.hessians[entry.hessian]
    held = run.manifest.heldout
    heldout = "" if held is None else held.hessians[entry.hessian].sha256
    counts = (hessian.n_tokens, hessian.dropped_tokens, hessian.distinct_tokens)
    return layer_key(entry.name, weights=weights, hessian=hessian.sha256, heldout=heldout, tokens=counts)


def curve_rates(top: float) -> tuple[float, ...]:
    """Every eighth of a bit from 0 to a little above the highest target."""
    return tuple(eighth / 8 for eighth in range(int(8 * top) + 6))


def _layer_work(run: Run, entry: LayerEntry, methods: Sequence[tuple[Quantizer, str]], seed: int, top: float) -> LayerWork:
    key = key_of_layer(run, entry)
    rates = curve_rates(top) if top > 0 else ()
    return LayerWork(
        entry.name,
        tuple(q for q, _ in methods),
        tuple(row_key(key, settings=settings, rate_bits=q.rate_bits, seed=seed) for q, settings in methods),
        rates,
        curves_key(key, rates=rates),
    )


def input_groups(run: Run, layers: Collection[str] | None) -> Iterator[tuple[int, list[LayerEntry]]]:
    """The number of each Hessian, and the layers that share it; those of other names, and Hessians without any, are left out."""
    for index in range(len(run.hessians)):
        group = [entry for entry in run.layers if entry.hessian == index and (layers is None or entry.name in layers)]
        if group:
            yield index, group


def plan(
    run: Run,
    quantizers: Sequence[Quantizer],
    *,
    seeds: Sequence[int] = (0,),
    layers: Collection[str] | None = None,
    top_rates: dict[str, float] | None = None,
) -> list[Task]:
    """One task for each seed and preparation of each input of a run, inputs with the most work first.

    Parameters
    ----------
    run : with its Hessians
    quantizers : every method at every rate
    seeds : of the run
    layers : names of the layers to work on; None for all
    top_rates : highest rate of the theory curves of each layer, which belong to the first task of its input; None for no curves
    """
    by_preparation: dict[Hashable, list[tuple[Quantizer, str]]] = {}
    for quantizer in quantizers:
        by_preparation.setdefault(preparation_of(quantizer), []).append((quantizer, settings_of(quantizer)))
    tasks = []
    for index, group in input_groups(run, layers):
        work = float(sum(m * n * n for m, n in (entry.shape for entry in group)))
        tops = top_rates or {}
        for seed in seeds:
            for methods in by_preparation.values():
                parts = tuple(_layer_work(run, entry, methods, seed, tops.get(entry.name, 0.0)) for entry in group)
                tasks.append(Task(run.path, index, parts, seed, work))
                tops = {}
    return sorted(tasks, key=lambda task: -task.work)
