"""The work that a report would do, without doing it."""

from __future__ import annotations

from dataclasses import dataclass

from rdtools.errors import UsageError
from rdtools.jobs.calibration import check_held_out, padding_notes, read_tokens
from rdtools.jobs.selection import InputGroup, groups_of, input_groups, select_layers
from rdtools.jobs.settings import ReportSettings
from rdtools.methods import infeasible_pairs
from rdtools.model.checkpoint import EMBEDDED, find_model
from rdtools.model.repetition import sampling_notes
from rdtools.quantizers import Quantizer
from rdtools.runs.finished import check_run_directory
from rdtools.runs.plan import read_plan
from rdtools.runs.run_manifest import is_run
from rdtools.runs.store import open_run
from rdtools.sweep import agenda, planned_methods, preparation_of


@dataclass(frozen=True)
class Preview:
    """Size of a report.

    Attributes
    ----------
    hessians, hessian_bytes, captured : Hessians of the run, the size of their files, and whether these are there
    layers, all_layers : layers to be quantized, and of the model
    capture_bytes : predicted peak of the resident memory of a capture, on the CPU; None for one that is there, or without its tokens
    rows, remaining_rows, tasks : rows asked for, those to be done, and the tasks they come in
    infeasible : a sentence for each method and rate that no layer can have together
    notes : sentences about the calibration and held-out tokens, as a report says them
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
    return groups_of(opened.layers), resident_bytes() + capture_bytes(opened, tokens)


def refuse_infeasible(settings: ReportSettings) -> None:
    """Refuse pairs of a method and a rate that cannot be, if the methods were named.

    Raises
    ------
    UsageError
    """
    if settings.methods is None or settings.skip_infeasible:
        return
    if infeasible := infeasible_pairs(settings.quantizers()):
        raise UsageError(f"{'; '.join(infeasible)}; or go on without with `skip_infeasible`")


def _token_notes(settings: ReportSettings, widths: list[int]) -> list[str]:
    """Sentences about the tokens of a report, which are read."""
    checkpoint = find_model(settings.model, with_code=settings.trust_remote_code)
    tokens, heldout = read_tokens(settings.calibration, settings.evaluation, checkpoint, trust_remote_code=settings.trust_remote_code)
    notes: list[str] = []
    if heldout is not None:
        check_held_out(heldout, tokens, notes.append)
    notes += [note for of in (tokens, heldout) if of is not None for note in padding_notes(of)]
    return notes + sampling_notes(tokens, widths)


def preview(settings: ReportSettings) -> Preview:
    """The size of a report; raises as `check_report` does, and for tokens that a report cannot have.

    A model that was not captured yet is loaded, to know its layers, and tokens are read.
    """
    quantizers, chosen, infeasible = check_report(settings)
    groups, peak = (_groups(settings), None) if is_run(settings.out) else _groups_and_peak(settings)
    wanted = [[name for name in group.layers if chosen is None or name in chosen] for group in groups]
    count, captured = sum(map(len, wanted)), is_run(settings.out)
    rows = left = count * len(quantizers) * len(settings.seeds)
    tasks = sum(map(bool, wanted)) * len({preparation_of(quantizer) for quantizer in quantizers}) * len(settings.seeds)
    if captured:
        todo = agenda(open_run(settings.out), quantizers, seeds=settings.seeds, layers=chosen, fresh=settings.fresh)
        rows, left, tasks = todo.rows, todo.remaining_rows, len(todo.left)
    return Preview(
        hessians=len(groups),
        hessian_bytes=sum(group.hessian_bytes for group in groups),
        captured=captured,
        capture_bytes=peak,
        layers=count,
        all_layers=sum(len(group.layers) for group in groups),
        rows=rows,
        remaining_rows=left,
        tasks=tasks,
        infeasible=tuple(infeasible),
        notes=tuple(_token_notes(settings, [group.columns for group in groups])),
    )
