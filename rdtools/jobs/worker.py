"""Work on the tasks of a run that another process has listed, on this machine or any other that sees the directory."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from rdtools.devices import HOST, methods_device
from rdtools.errors import UsageError, counted
from rdtools.jobs.progress import log_sentence
from rdtools.runs.journal import ROWS, Record, read_journals
from rdtools.runs.leases import PATIENCE_S, Leases
from rdtools.runs.plan import read_plan
from rdtools.runs.store import Run, open_run
from rdtools.runs.tasks import TASKS, TaskList, check_versions, read_tasks
from rdtools.sweep import choose_workers, claim_bytes, run_tasks, worker_bytes
from rdtools.sweep.kinds import KINDS, tasks_of
from rdtools.sweep.recheck import recheck

#: Seconds between two looks for a task list.
_LOOK_S = 1.0
#: Kind of tasks → bytes that a process takes at most for it.
_BYTES = {"quantize": worker_bytes, "verify": claim_bytes}


def _next_list(run: Path, done: set[str], until: float) -> TaskList | None:
    """The next task list of a run that is not done; None if none comes in time."""
    while True:
        if (run / TASKS).is_file():
            listed = read_tasks(run)
            if listed.command not in done:
                return listed
        if time.monotonic() >= until:
            return None
        time.sleep(_LOOK_S)


def _opened(path: Path, listed: TaskList) -> Run:
    """The run, after its files and the versions of the list were checked."""
    check_versions(listed.versions, listed.numbers, path=path / TASKS)
    run = open_run(path)
    run.check()
    return run


def work(
    run: str | Path,
    *,
    workers: int | None = 1,
    device: str = HOST,
    wait_s: float = 0.0,
    patience_s: float = PATIENCE_S,
    say: Callable[[str], None] = log_sentence,
    heard: Callable[[Record], None] = lambda record: None,
) -> int:
    """Do the tasks of a run that no other process works on, until none is left; returns how many it did.

    Any number of workers share the tasks of a report or a verification, also after the process that listed them has ended: each task is
    leased by one of them. The tables are made by the command itself, which waits for its workers or goes on from their rows.

    Parameters
    ----------
    run : directory
    workers : processes; None for one per core, or two per GPU
    device : of torch, on which methods work that can
    wait_s : seconds to wait for a list of tasks that are not done yet
    patience_s : seconds without a sign of life after which a worker on another machine is taken for dead
    say : called with sentences about what goes on
    heard : called with every record that comes about meanwhile, here or elsewhere

    Raises
    ------
    UsageError
        If the tasks were listed by another version, or belong to other files than the run has now.
    CorruptFile, ModelUnreadable, OutputError
    """
    path, seen, done = Path(run), set[str](), 0
    device = methods_device(device, say)
    until = time.monotonic() + wait_s
    while (listed := _next_list(path, seen, until)) is not None:
        seen.add(listed.command)
        if not listed.tasks:
            continue
        opened = _opened(path, listed)
        size = max(_BYTES[kind](opened) for kind in {task.kind for task in listed.tasks})
        say(f"{counted(len(listed.tasks), 'task')} listed in {path}")
        processes = choose_workers(path, workers, each=size, device=device, say=say)
        leases = Leases(path, listed.command, patience_s=patience_s)
        outcomes = run_tasks(tasks_of(opened, listed.tasks), leases, workers=processes, device=device, heard=heard)
        done, until = done + outcomes, time.monotonic() if outcomes else until
    if not seen:
        raise UsageError(f"{path}: no {TASKS}: start rdtools report or rdtools verify on it first, or wait for it with `wait`")
    return done


def recheck_run(run: str | Path, *, share: float, seed: int = 0) -> tuple[int, list[str]]:
    """Compute a seeded share of the finished rows of a run again; returns how many, and a sentence for each that differs in any bit.

    Parameters
    ----------
    run : directory
    share : of the finished rows and of the verdicts, above 0 and at most 1
    seed : of the choice

    Raises
    ------
    UsageError
        For a share out of range, or if the rows were listed by another version.
    CorruptFile, ModelUnreadable
    """
    if not 0 < share <= 1:
        raise UsageError(f"`recheck` {share}: expected a share of the finished rows, above 0 and at most 1")
    path, checked = Path(run), 0
    if not (path / TASKS).is_file():
        raise UsageError(f"{path}: no {TASKS}, so nothing was computed in it: start rdtools report or rdtools verify on it first")
    listed = read_tasks(path)
    opened = _opened(path, listed)
    seeds = {"quantize": {method.seed for method in read_plan(path).methods}, "verify": {0}}
    for task in listed.tasks:
        seeds[task.kind].add(task.seed)
    tasks = [task for kind, of_kind in seeds.items() for seed in sorted(of_kind) for task in KINDS[kind].plan(opened, seed)]

    def count(number: int) -> None:
        nonlocal checked
        checked = number

    differing = list(recheck(tasks, read_journals(path / ROWS), share=share, seed=seed, checked=count))
    return checked, differing
