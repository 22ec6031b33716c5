"""The work that a report would do, without doing it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rdtools.devices import HOST
from rdtools.errors import UsageError
from rdtools.jobs.calibration import check_held_out, padding_notes, read_tokens
from rdtools.jobs.selection import InputGroup, groups_of, input_groups, select_layers
from rdtools.jobs.settings import ReportSettings
from rdtools.machine import check_memory
from rdtools.methods import format_method, infeasible_pairs, infeasible_reason
from rdtools.model.checkpoint import EMBEDDED, find_model
from rdtools.model.repetition import sampling_notes
from rdtools.quantizers import Quantizer
from rdtools.runs.finished import check_run_directory
from rdtools.runs.plan import read_plan
from rdtools.runs.run_manifest import is_run
from rdtools.runs.store import open_run
from rdtools.sweep import agenda, choose_workers, planned_methods, preparation_of, process_bytes
from rdtools.sweep.memory import PROCESS_BYTES
from rdtools.sweep.pace import THEORY, MethodTime, Timings, calibrate, method_times, timed_rows


@dataclass(frozen=True)
class Preview:
    """Size of a report.

    Attributes
    ----------
    hessians, hessian_bytes, captured : Hessians of the run, the size of their files, and whether these are there
    layers, all_layers : layers to be quantized, and of the model
    capture_bytes : predicted peak of the resident memory of a capture, on the CPU; None for one that is there, or without its tokens
    rows, remaining_rows, tasks : rows asked for, those to be done, and the tasks they come in
    workers : processes that memory and times are predicted for: those of the report on this machine; one where others do the work
    memory_bytes : predicted most that the report takes at a time: the capture, or all processes at layers of the largest size
    times : estimated minutes of each method, and of the theory; the calibration pass and the page are not in them
    infeasible : a sentence for each method and rate that no layer can have together
    notes : sentences about the memory, the calibration and the held-out tokens, as a report says them
    """

    hessians: int
    hessian_bytes: int
    captured: bool
    capture_bytes: int | None
    layers: int
    all_layers: int
    rows: int
    remaining_rows: int
    tasks: int
    workers: int
    memory_bytes: int
    times: tuple[MethodTime, ...]
    infeasible: tuple[str, ...]
    notes: tuple[str, ...]


def check_report(settings: ReportSettings) -> tuple[list[Quantizer], list[str] | None, list[str]]:
    """Quantizers, names of the layers (None for all) and infeasible pairs of a report; nothing is written.

    Raises
    ------
    UsageError
        If the run directory holds something else, the plan of the run contradicts, or nothing is selected.
    UnknownMethod, InvalidRate, RateUnreachable, CorruptFile, ModelUnreadable, ServiceUnavailable
    """
    quantizers = settings.quantizers()
    infeasible = infeasible_pairs(quantizers)
    check_run_directory(settings.out)
    if not settings.fresh:
        read_plan(settings.out).extended(planned_methods(quantizers, seeds=settings.seeds))
    if settings.layers is None and settings.types is None:
        return quantizers, None, infeasible
    names = [name for group in _groups(settings) for name in group.layers]
    return quantizers, select_layers(names, patterns=settings.layers, types=settings.types), infeasible


def _groups(settings: ReportSettings) -> list[InputGroup]:
    return input_groups(
        settings.out, settings.model, trust_remote_code=settings.trust_remote_code, device=settings.device, head=settings.head
    )


def _groups_and_peak(settings: ReportSettings) -> tuple[list[InputGroup], int | None]:
    from rdtools.model.footprint import capture_bytes, resident_bytes  # which load torch
    from rdtools.model.opened import open_model

    checkpoint, code = find_model(settings.model, with_code=settings.trust_remote_code), settings.trust_remote_code
    opened = open_model(checkpoint, trust_remote_code=code, device=settings.device, head=settings.head)
    request = settings.calibration
    if checkpoint.name != EMBEDDED and request.text is None and request.tokens is None:
        return groups_of(opened.layers), None
    tokens, _ = read_tokens(request, None, checkpoint, trust_remote_code=code)
    needed = capture_bytes(opened, tokens)
    if settings.device == HOST:
        check_memory(needed, f"{checkpoint.name}: a capture of {tokens.mask.sum()} tokens")
    return groups_of(opened.layers), resident_bytes() + needed


def refuse_infeasible(settings: ReportSettings) -> None:
    """Refuse pairs of a method and a rate that cannot be, if the methods were named.

    Raises
    ------
    UsageError
    """
    if settings.methods is None or settings.skip_infeasible:
        return
    if infeasible := infeasible_pairs(settings.quantizers()):
        raise UsageError(f"{'; '.join(infeasible)}; or go on without it by `skip_infeasible`")


def _token_notes(settings: ReportSettings, widths: list[int]) -> tuple[list[str], bool]:
    """Sentences about the tokens of a report, which are read, and whether there are held-out ones."""
    checkpoint = find_model(settings.model, with_code=settings.trust_remote_code)
    tokens, heldout = read_tokens(settings.calibration, settings.evaluation, checkpoint, trust_remote_code=settings.trust_remote_code)
    notes: list[str] = []
    if heldout is not None:
        check_held_out(heldout, tokens, notes.append)
    notes += [note for of in (tokens, heldout) if of is not None for note in padding_notes(of)]
    return notes + sampling_notes(tokens, widths), heldout is not None


#: Times of methods on small layers, given quantizers and whether there are held-out tokens; see `rdtools.sweep.pace.calibrate`.
Calibrate = Callable[[Sequence[Quantizer], bool], dict[str, Timings]]


def _workers_and_memory(settings: ReportSettings, groups: Sequence[InputGroup], say: Callable[[str], None]) -> tuple[int, int]:
    """Processes that a report starts for layers of some inputs, and the most memory that they take; what does not fit is refused."""
    if not groups:
        return 1, PROCESS_BYTES
    sizes = {name: process_bytes([shape]) for group in groups for name, shape in zip(group.layers, group.shapes, strict=True)}
    largest = max(sizes, key=sizes.__getitem__)
    each = sizes[largest]
    if settings.scheduler is not None or settings.workers == 0:
        return 1, each
    check_memory(each, f"{largest}: a process that quantizes it")
    count = choose_workers(settings.out, settings.workers, each=each, device=settings.device, say=say)
    return count, each if count == 1 else PROCESS_BYTES + count * each


def _times(
    work: Sequence[tuple[tuple[int, int], Sequence[Quantizer]]],
    workers: int,
    device: str,
    timed: dict[str, Timings],
    calibrate: Callable[[Sequence[Quantizer]], dict[str, Timings]],
) -> list[MethodTime]:
    """Estimates for layers, each with its shape and the quantizers that its rows are to be made with."""
    feasible = [(shape, [quantizer for quantizer in some if infeasible_reason(quantizer) is None]) for shape, some in work]
    todo = Counter((THEORY, *shape) for shape, some in feasible if some)
    todo += Counter((format_method(quantizer), *shape) for shape, some in feasible for quantizer in some)
    unknown = {quantizer: None for _, some in feasible for quantizer in some if format_method(quantizer) not in timed}
    # the calibration is about main memory, and says nothing of a device
    runnable = [quantizer for quantizer in unknown if device == HOST or not quantizer.on_device]
    return method_times(todo, workers=workers, timed=timed, calibrated=calibrate(runnable) if todo else {})


def preview(settings: ReportSettings | None = None, *, calibrate: Calibrate = calibrate, **changes: Any) -> Preview:
    """The size of a report; raises as `check_report` does, and for tokens that a report cannot have.

    A model that was not captured yet is loaded, to know its layers, tokens are read, and methods that the run has no rows of are timed on
    small layers, which takes some seconds.

    Parameters
    ----------
    settings : of the report; None for the default ones
    calibrate : times methods on this machine
    changes : attributes of `settings` to be replaced

    Raises
    ------
    NotEnoughMemory
        If the capture, or a process at the largest layer, takes more than is free.
    """
    settings = (settings or ReportSettings()).changed(changes)
    quantizers, chosen, infeasible = check_report(settings)
    groups, peak = (_groups(settings), None) if is_run(settings.out) else _groups_and_peak(settings)
    layers_of = [[name for name in group.layers if chosen is None or name in chosen] for group in groups]
    count, captured = sum(map(len, layers_of)), is_run(settings.out)
    rows = remaining = count * len(quantizers) * len(settings.seeds)
    tasks = sum(map(bool, layers_of)) * len({preparation_of(quantizer) for quantizer in quantizers}) * len(settings.seeds)
    shapes = {name: shape for group in groups for name, shape in zip(group.layers, group.shapes, strict=True)}
    work = {name: list(quantizers) * len(settings.seeds) for some in layers_of for name in some}
    timed: dict[str, Timings] = {}
    if captured:
        todo = agenda(open_run(settings.out), quantizers, seeds=settings.seeds, layers=chosen, fresh=settings.fresh)
        rows, remaining, tasks = todo.rows, todo.remaining_rows, len(todo.remaining)
        timed = timed_rows(todo.journal.records.values(), settings.device)
        work = {name: [] for name in work}
        for part in (layer for task in todo.remaining for layer in task.layers):
            work[part.name] += part.quantizers
    notes: list[str] = []
    busy = [group for group in groups if any(work.get(name) for name in group.layers)]
    workers, memory = _workers_and_memory(settings, busy, notes.append)
    token_notes, heldout = _token_notes(settings, [group.columns for group in groups])
    pairs = [(shapes[name], some) for name, some in work.items()]
    times = _times(pairs, workers, settings.device, timed, lambda chosen: calibrate(chosen, heldout))
    return Preview(
        hessians=len(groups),
        hessian_bytes=sum(group.hessian_bytes for group in groups),
        captured=captured,
        capture_bytes=peak,
        layers=count,
        all_layers=sum(len(group.layers) for group in groups),
        rows=rows,
        remaining_rows=remaining,
        tasks=tasks,
        workers=workers,
        memory_bytes=max(memory, peak or 0),
        times=tuple(times),
        infeasible=tuple(infeasible),
        notes=(*notes, *token_notes),
    )
