"""Tasks on the workers of a Dask cluster, each of which sees the run directory.

This process leases every task and gives it to the scheduler; workers write what they finish into journals of their own, so that nothing but
the task itself goes over the network. Dask gives a task whose worker died to another one, which leaves out what is finished of it; one at
which several died is done here, in a process of its own, as by the local engine.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rdtools.devices import HOST, methods_device
from rdtools.errors import ServiceUnavailable, UsageError, one_line, optional_module
from rdtools.runs.journal import ROWS, JournalTail, Record, read_journals
from rdtools.runs.leases import Leases
from rdtools.runs.tasks import TASKS, check_versions, read_tasks
from rdtools.sweep.engines.local import Pool, perform
from rdtools.sweep.engines.queue import Taken, TaskQueue
from rdtools.sweep.plan import Work

#: Seconds between two looks at what is finished, until an address without a scheduler is given up, and until one that was lost is.
_LOOK_S, _CONNECT_S, _LOST_S = 0.5, 15, 60.0
#: How often a task that an error ended is tried again: a file system may have been away.
_RETRIES = 2

#: Of a task that is to come about: one whose result died with its worker is done again, which finds its records in the journals.
_WAITING = ("pending", "lost")

#: In a worker of the cluster: one task at a time, each of which wants the process's threads and journal for itself.
_one_at_a_time = threading.Lock()


@dataclass(frozen=True, eq=False)
class _Finished:
    """Keys of what is finished of a command's run, as a worker of the cluster has read them, and what tells of more."""

    command: str
    tail: JournalTail
    keys: set[str]


_known: _Finished | None = None


def _finished_keys(task: Work, command: str) -> set[str]:
    """Keys that are finished: all journals are read once for a command, and then what was appended to them.

    Raises
    ------
    UsageError, CorruptFile
    """
    global _known
    rows = task.run / ROWS
    if _known is None or _known.command != command:
        listed = read_tasks(task.run)
        check_versions(listed.versions, listed.numbers, path=task.run / TASKS)
        tail = JournalTail(rows)  # before all is read, so that nothing is missed between
        _known = _Finished(command, tail, {key for key, record in read_journals(rows).records.items() if not record.failed})
    _known.keys.update(record.key for record in _known.tail.read() if not record.failed)
    return _known.keys


def _perform(task: Work, device: str, command: str) -> None:
    """A task of a command, in a worker of the cluster.

    Raises
    ------
    UsageError
        If this worker does not see the run, or is of another version.
    CorruptFile, OutputError
    """
    with _one_at_a_time:
        if not (task.run / TASKS).is_file():
            raise UsageError(
                f"{task.run}: a Dask worker does not see it; a run that a cluster works on has to be on a file system that all of its "
                "machines have under the same path"
            )
        perform(task.without(_finished_keys(task, command)), methods_device(device, lambda sentence: None))


def run_tasks(
    tasks: Sequence[Work],
    leases: Leases,
    *,
    scheduler: str,
    device: str = HOST,
    heard: Callable[[Record], None] = lambda record: None,
) -> int:
    """Do all tasks of a run that no other process does, and wait for those; returns how many the cluster did.

    Parameters
    ----------
    tasks : of one run, in a directory that every worker sees under the same path
    leases : of the command that listed them
    scheduler : address, such as ``tcp://host:8786``
    device : of torch, on which methods work that can; a task for another than the CPU needs a worker with the resource ``GPU=1``
    heard : called with every record that comes about, wherever

    Raises
    ------
    MissingPackage
    ServiceUnavailable
        If the scheduler cannot be reached, or was lost.
    UsageError
        If a worker does not see the run, or is of another version.
    CorruptFile, OutputError
    """
    if not tasks:
        return 0
    with _client(scheduler) as client, leases.kept_alive():
        pool, queue = Pool(tasks[0].run / ROWS, heard), TaskQueue(tasks, leases)
        running: dict[Any, Taken] = {}
        command = secrets.token_hex(4)
        try:
            while running or not queue.empty:
                while (taken := queue.take(None)) is not None:
                    running[_submit(client, taken, device, command)] = taken
                if not running:
                    pool.wait_for_others(queue)
                    continue
                time.sleep(_LOOK_S)
                pool.look()
                _check_connection(client, scheduler)
                for future in [future for future in running if future.status not in _WAITING]:
                    taken = running.pop(future)
                    if not _finished(future, scheduler):
                        pool.run_alone(taken.task)
                    queue.finish(taken)
        finally:
            if running:
                client.cancel(list(running))
        pool.look()
    return queue.finished


def _library() -> Any:
    return optional_module("distributed", "`scheduler`: a cluster of Dask", "rdtools[cluster]")


def check_scheduler(scheduler: str | None, workers: int | None) -> None:
    """Refuse a scheduler that cannot be used, before any work is done.

    Raises
    ------
    UsageError
        If a number of workers is given beside it.
    MissingPackage
        If Dask is not installed.
    """
    if scheduler is not None and workers is not None:
        raise UsageError("`workers` and `scheduler`: expected one of them; a cluster has its own number of workers")
    if scheduler is not None:
        _library()


@contextlib.contextmanager
def _client(scheduler: str) -> Iterator[Any]:
    try:
        client: Any = _library().Client(scheduler, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ServiceUnavailable(
            f"`scheduler` {scheduler}: no Dask scheduler answers there ({one_line(error)}); expected an address such as tcp://host:8786: "
            "start one with `dask scheduler`, and workers with `dask worker ADDRESS --nworkers N --nthreads 1`"
        ) from error
    with client:
        yield client


def _submit(client: Any, taken: Taken, device: str, command: str) -> Any:
    """The future of a task, under its name, which the cluster's own pages show, and that of the command: to a scheduler a name means one
    result, and other runs have tasks of the same rows.
    """
    resources = None if device == HOST else {"GPU": 1}
    return client.submit(
        _perform, taken.task, device, command, key=f"rdtools-{taken.name}-{command}", pure=False, retries=_RETRIES, resources=resources
    )


def _check_connection(client: Any, scheduler: str) -> None:
    until = time.monotonic() + _LOST_S
    while client.status != "running":
        if time.monotonic() > until or client.status == "closed":
            raise _lost(scheduler)
        time.sleep(_LOOK_S)


def _finished(future: Any, scheduler: str) -> bool:
    """True if a task was done; False if so many workers died at it that Dask gives it to no other."""
    from distributed import KilledWorker

    if future.status == "cancelled":
        raise _lost(scheduler)
    try:
        future.result()
    except KilledWorker:
        return False
    return True


def _lost(scheduler: str) -> ServiceUnavailable:
    return ServiceUnavailable(f"`scheduler` {scheduler}: it is gone; finished rows are kept: start it again and give the same command")
