"""The work that a report would do, without doing it."""

from __future__ import annotations

from dataclasses import dataclass

from rdtools.errors import UsageError
from rdtools.jobs.collect import check_run_directory
from rdtools.jobs.selection import InputGroup, input_groups, select_layers
from rdtools.jobs.settings import ReportSettings
from rdtools.methods import infeasible_pairs
from rdtools.quantizers import Quantizer
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
    rows, remaining_rows, tasks : rows asked for, those to be done, and the tasks they come in
    infeasible : a sentence for each method and rate that no layer can have together
    """

    hessians: int
    hessian_bytes: int
    captured: bool
    layers: int
    all_layers: int
    rows: int
    remaining_rows: int
    tasks: int
    infeasible: tuple[str, ...]


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


def preview(settings: ReportSettings) -> Preview:
    """The size of a report; raises as `check_report` does.

    A model that was not captured yet is loaded, to know its layers.
    """
    quantizers, chosen, infeasible = check_report(settings)
    groups = _groups(settings)
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
        layers=count,
        all_layers=sum(len(group.layers) for group in groups),
        rows=rows,
        remaining_rows=left,
        tasks=tasks,
        infeasible=tuple(infeasible),
    )
