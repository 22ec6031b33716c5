"""The sweep over a run: what is finished is read, what is missing is done, and the table is built from both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from rdtools.devices import HOST
from rdtools.errors import counted
from rdtools.quantizers import Quantizer
from rdtools.records import CURVE_COLUMNS
from rdtools.runs.journal import ROWS, Journal, Record, delete_journals, read_journals
from rdtools.runs.keys import curves_key, row_key
from rdtools.runs.leases import Leases, delete_leases
from rdtools.runs.numbers import NUMBERS_VERSION
from rdtools.runs.plan import RunPlan, read_plan, write_plan
from rdtools.runs.results import to_table
from rdtools.runs.store import Run
from rdtools.runs.tasks import write_tasks
from rdtools.sweep.engines import dask, local
from rdtools.sweep.plan import Task, Work, curve_rates, key_of_layer, plan, planned_methods

Progress = Callable[[float, float], None]


@dataclass(frozen=True, eq=False)
class Agenda:
    """The work that a command asks for, and the finished part of it.

    Attributes
    ----------
    plan : of the run, with what the command adds
    tasks : everything that the command asks for
    remaining : the part of it that is not finished, or has failed before
    journal : what is finished, asked for or not
    """

    plan: RunPlan
    tasks: list[Task]
    remaining: list[Task]
    journal: Journal

    @property
    def rows(self) -> int:
        """Rows that the command asks for."""
        return sum(task.rows for task in self.tasks)

    @property
    def remaining_rows(self) -> int:
        """Rows that are to be done."""
        return sum(task.rows for task in self.remaining)


@dataclass(frozen=True, eq=False)
class SweepResult:
    """Tables of a run after a sweep.

    Attributes
    ----------
    table : all finished rows of the plan: layers in the order of the run, then methods in the order first asked for, rates ascending
    curves : the theory curves of every layer that is in the table
    notes : sentences about what the tables lack, and why
    failed_curves : layers whose curves could not be computed
    keys : of the records that the tables are made of, in order
    """

    table: pd.DataFrame
    curves: pd.DataFrame
    notes: list[str]
    failed_curves: int
    keys: tuple[str, ...]


def agenda(
    run: Run,
    quantizers: Sequence[Quantizer],
    *,
    seeds: Sequence[int] = (0,),
    layers: Sequence[str] | None = None,
    fresh: bool = False,
) -> Agenda:
    """Plan the work of a command; nothing is written.

    Parameters
    ----------
    run : with its Hessians
    quantizers : every method at every rate
    seeds : of the run; every method has a row for each
    layers : names of the layers to work on; None for all
    fresh : as if nothing were finished and no other command had been given

    Raises
    ------
    UsageError
        If the run has rows of a method under the same name with other settings.
    CorruptFile
        If the plan or a journal is damaged.
    """
    journal = Journal({}) if fresh else read_journals(run.path / ROWS)
    before = RunPlan() if fresh else read_plan(run.path)
    extended = before.extended(planned_methods(quantizers, seeds=seeds, layers=layers))
    tops = {name: extended.top_rate(name) for name in run}
    tasks = plan(run, quantizers, seeds=seeds, layers=layers, top_rates=tops)
    done = {key for key, record in journal.records.items() if not record.failed}
    remaining = [task.without(done) for task in tasks]
    return Agenda(extended, tasks, [task for task in remaining if task.layers], journal)


def run_sweep(
    run: Run,
    quantizers: Sequence[Quantizer],
    *,
    seeds: Sequence[int] = (0,),
    workers: int = 1,
    scheduler: str | None = None,
    device: str = HOST,
    layers: Sequence[str] | None = None,
    fresh: bool = False,
    say: Callable[[str], None] = lambda sentence: None,
    progress: Progress = lambda done, total: None,
) -> SweepResult:
    """Quantize the layers of a run with every method, or what is left to do of it.

    Finished rows are in ``rows/`` of the run directory at once; the same call goes on after an interrupt, tries failed rows again, and one
    with other methods or rates adds to the table. One process at a time may work on a run: hold `rdtools.files.sole_writer` around it.

    Parameters
    ----------
    run : with its Hessians, whose files were checked
    quantizers : every method at every rate
    seeds : rotations are drawn from them; every method has a row for each
    workers : processes; 1 does everything here, 0 leaves it to `rdtools.jobs.worker`
    scheduler : address of a Dask scheduler, whose workers do everything in place of `workers`
    device : of torch, on which methods work that can
    layers : names of the layers to work on; None for all
    fresh : forget finished rows and earlier commands
    say : called with sentences about what is there already
    progress : called with (rows finished, rows in all)

    Raises
    ------
    UsageError, CorruptFile
        As `agenda`.
    MissingPackage, ServiceUnavailable
        As `rdtools.sweep.engines.dask.run_tasks`.
    OutputError
        If a row cannot be written.
    """
    todo = agenda(run, quantizers, seeds=seeds, layers=layers, fresh=fresh)
    write_plan(todo.plan, run.path)
    if fresh:
        delete_journals(run.path / ROWS)
    finished = todo.rows - todo.remaining_rows
    if finished:
        say(f"{finished} of {todo.rows} rows are already there")
    if todo.journal.torn and todo.remaining_rows:
        say(f"computed again: {counted(todo.journal.torn, 'record')} cut off when a process was killed")
    count = finished

    def heard(record: Record) -> None:
        nonlocal count
        count += record.kind == "row"
        progress(count, todo.rows)

    do_tasks(run, todo.remaining, workers=workers, scheduler=scheduler, device=device, heard=heard)
    return collect_results(run, todo.plan)


def do_tasks(
    run: Run,
    tasks: Sequence[Work],
    *,
    workers: int,
    scheduler: str | None = None,
    device: str = HOST,
    heard: Callable[[Record], None] = lambda record: None,
) -> None:
    """List tasks in a run directory, for this process and whoever else works on it, and see to it that they are done.

    Parameters
    ----------
    run : whose lock this process holds
    tasks : of the run
    workers, scheduler, device : as in `run_sweep`
    heard : called with every record that comes about

    Raises
    ------
    MissingPackage, ServiceUnavailable, OutputError
    """
    delete_leases(run.path)
    listed = write_tasks([task.listed for task in tasks], run.path)
    leases = Leases(run.path, listed.command)
    if scheduler is None:
        local.run_tasks(tasks, leases, workers=workers, device=device, heard=heard)
    else:
        dask.run_tasks(tasks, leases, scheduler=scheduler, device=device, heard=heard)


def collect_results(run: Run, plan: RunPlan) -> SweepResult:
    """Tables of everything in a plan that is finished."""
    records = read_journals(run.path / ROWS).records
    rows, points, keys, used, failures, missing = [], [], list[str](), set(), [], 0
    for entry in run.layers:
        key = key_of_layer(run, entry)
        methods = [method for method in plan.methods if method.covers(entry.name)]
        for method in methods:
            full_key = row_key(key, settings=method.settings, rate_bits=method.rate_bits, seed=method.seed)
            used.add(full_key)
            if full_key in records:
                # the model may have been moved, and is called after its folder
                rows.append(records[full_key].value | {"model": run.model_name})
                keys.append(full_key)
            else:
                missing += 1
        curves = records.get(curves_key(key, rates=curve_rates(plan.top_rate(entry.name)))) if methods else None
        if curves is not None and curves.failed:
            failures.append(curves.value)
        elif curves is not None:
            keys.append(curves.key)
            points += [(entry.name, *point) for point in curves.value["points"]]
    notes = _unused(records, used)
    if missing:
        notes.append(f"{missing} rows that earlier commands asked for are not finished and not in the tables; give those commands again")
    if failures:
        notes.append(f"the theory curves of {len(failures)} layers failed, the first {failures[0]['layer']}: {failures[0]['message']}")
    return SweepResult(to_table(rows), pd.DataFrame(points, columns=list(CURVE_COLUMNS)), notes, len(failures), tuple(keys))


def _unused(records: dict[str, Record], used: set[str]) -> list[str]:
    """Sentences about finished rows that belong to no row of the plan."""
    rows = [record for key, record in records.items() if record.kind == "row" and key not in used]
    other = sum(record.numbers != NUMBERS_VERSION for record in rows)
    notes = []
    if other:
        notes.append(f"{other} rows are not used: an rdtools with other numbers made them; `fresh` deletes them")
    if len(rows) > other:
        notes.append(
            f"{len(rows) - other} rows are not used: they are of other weights or Hessians than the run has now, or lack the held-out "
            "columns of evaluation data added since, or plan.json was deleted and no command has asked for them since; `fresh` deletes them"
        )
    return notes
