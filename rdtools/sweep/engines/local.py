"""Tasks in this process or in several, one thread each; what they finish goes into the journals of the run.

A process keeps to one input while tasks of it are left, so that what is known of its layers is worked out once.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from rdtools.devices import HOST, device_names
from rdtools.errors import WorkerDied
from rdtools.ops import OPERATIONS, warm_up
from rdtools.orphans import end_with_parent
from rdtools.runs.journal import ROWS, JournalTail, JournalWriter, Record
from rdtools.runs.leases import Leases
from rdtools.runs.store import open_run
from rdtools.sweep.engines.queue import Taken, TaskQueue
from rdtools.sweep.kinds import KINDS, Memories
from rdtools.sweep.plan import Work

#: Seconds between two looks at what workers have finished, and between two tries to get a task where others work on all that are left.
_LOOK_S, _RETRY_S = 0.5, 2.0
#: Deaths in a row, none of which let a row come about, after which the rest of a layer is given up.
_DEATHS = 3


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One thread for everything: over-subscribed BLAS threads were measured up to 30 × slower, and round differently."""
    import numba
    from threadpoolctl import threadpool_limits

    torch = sys.modules.get("torch")  # a worker does without
    before = numba.get_num_threads(), torch.get_num_threads() if torch else 1
    with threadpool_limits(1):
        numba.set_num_threads(1)
        if torch:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            numba.set_num_threads(before[0])
            if torch:
                torch.set_num_threads(before[1])


_journal: JournalWriter | None = None
_journal_of: Path | None = None
_memories = Memories()


def perform(task: Work, device: str) -> None:
    """Do a task in this process, one of those that an engine has, on a device; its records go into a journal of the process."""
    global _journal, _journal_of, _memories
    if _journal is None or _journal_of != task.run:
        if _journal is not None:
            _journal.close()
        _journal, _journal_of = JournalWriter(task.run / ROWS), task.run
    if _memories.device != device:
        _memories = Memories(device)
    with one_thread():
        for record in _memories.perform(task):
            _journal.append(record)


def run_tasks(
    tasks: Sequence[Work],
    leases: Leases,
    *,
    workers: int,
    device: str = HOST,
    heard: Callable[[Record], None] = lambda record: None,
) -> int:
    """Do all tasks of a run that no other process does, and wait for those; returns how many were done here.

    Every record is on disk as soon as it is finished. A worker that dies takes nothing but the row that it was at with it: what is left is
    done in processes of its own, and the row whose process dies again has failed.

    Parameters
    ----------
    tasks : of one run, from `rdtools.sweep.plan.plan` or `rdtools.sweep.verification.plan_claims`
    leases : of the command that listed them
    workers : processes; with 1, or a single task, everything is done here; with 0 others have to do it
    device : of torch, on which methods work that can; "cuda" gives each process one of the GPUs in turn
    heard : called with every record that comes about, wherever

    Raises
    ------
    OutputError
        If a record or a lease cannot be written.
    """
    if not tasks:
        return 0
    pool, queue = Pool(tasks[0].run / ROWS, heard, device), TaskQueue(tasks, leases)
    with leases.kept_alive():
        if workers == 1 or (workers > 1 and len(tasks) == 1):
            pool.run_here(queue)
        else:
            pool.run_all(queue, min(workers, len(tasks)))
    return queue.finished


class Pool:
    """Processes that work on the tasks of a run, and the keys of what is finished."""

    def __init__(self, rows: Path, heard: Callable[[Record], None] = lambda record: None, device: str = HOST) -> None:
        self._rows = rows
        self._devices = device_names(device)
        self._tail = JournalTail(rows)
        self._heard = heard
        self._finished: set[str] = set()

    def _hear(self, record: Record) -> None:
        if record.key not in self._finished:
            self._finished.add(record.key)
            self._heard(record)

    def look(self) -> None:
        """Hear of what was finished since the last look."""
        for record in self._tail.read():
            self._hear(record)

    def run_here(self, queue: TaskQueue) -> None:
        """Do tasks in this process."""
        journal, memories, last = JournalWriter(self._rows), Memories(self._devices[0]), None
        try:
            with one_thread():
                while not queue.empty:
                    taken = queue.take(last)
                    if taken is None:
                        self.wait_for_others(queue)
                        continue
                    for record in memories.perform(taken.task):
                        journal.append(record)
                        self._hear(record)
                    queue.finish(taken)
                    last = taken.task.hessian
        finally:
            journal.close()
        self.look()

    def wait_for_others(self, queue: TaskQueue) -> None:
        """Give others, who work on all that is left, some time."""
        queue.drop_done()
        if not queue.empty:
            time.sleep(_RETRY_S)
        self.look()

    def run_all(self, queue: TaskQueue, workers: int) -> None:
        """Do tasks in processes; a task at which one dies is finished alone."""
        for taken in self.run(queue, workers):
            self.run_alone(taken.task)
            queue.finish(taken)

    def run(self, queue: TaskQueue, workers: int) -> list[Taken]:
        """Do tasks; returns those at which a process died, whose leases are kept."""
        unfinished: list[Taken] = []
        executors = [self._executor() for _ in range(workers)]
        running: dict[Future[None], tuple[int, Taken]] = {}
        idle: dict[int, int | None] = dict.fromkeys(range(workers))  # slot → input that it worked on last
        try_at = 0.0
        try:
            self._compile(executors)
            while running or not queue.empty:
                for slot, last in list(idle.items()) if time.monotonic() >= try_at else ():
                    taken = queue.take(last)
                    if taken is None:  # for any slot
                        try_at = time.monotonic() + _RETRY_S
                        break
                    del idle[slot]
                    running[executors[slot].submit(perform, taken.task, self._devices[slot % len(self._devices)])] = slot, taken
                if not running:
                    self.wait_for_others(queue)
                    continue
                ended, _ = wait(running, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
                self.look()
                for future in ended:
                    try_at = 0.0
                    slot, taken = running.pop(future)
                    try:
                        future.result()
                        queue.finish(taken)
                    except BrokenProcessPool:
                        unfinished.append(taken)
                        executors[slot].shutdown()
                        executors[slot] = self._executor()
                    idle[slot] = taken.task.hessian
        except BaseException:
            # these and no other children of this process; the executor has no public way before Python 3.14
            for executor in executors:
                for process in list((executor._processes or {}).values()):
                    process.terminate()
            raise
        finally:
            for executor in executors:
                executor.shutdown(wait=True, cancel_futures=True)
        self.look()
        return unfinished

    def _compile(self, executors: list[ProcessPoolExecutor]) -> None:
        """Let each of several workers compile a part of the kernels, which all then find on disk."""
        modules: dict[str, list[str]] = {}
        for operation in OPERATIONS.values():
            modules.setdefault(operation.modules.get("numba", ""), []).append(operation.name)
        groups, count = list(modules.values()), len(executors)
        parts = [[name for group in groups[slot::count] for name in group] for slot in range(count)]
        futures = [executor.submit(warm_up, part) for executor, part in zip(executors, parts, strict=True)] if count > 1 else []
        for slot, future in enumerate(futures):
            try:
                future.result()
            except BrokenProcessPool:
                executors[slot].shutdown()
                executors[slot] = self._executor()

    def _executor(self) -> ProcessPoolExecutor:
        """One process, so that who does a task can be chosen, and one that dies takes no other with it."""
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(1, mp_context=context, initializer=end_with_parent)

    def run_alone(self, task: Work) -> None:
        """Finish a task in processes of its own; where one dies, the row that it was at has failed."""
        deaths = 0
        remaining = task.without(self._finished)
        while remaining.layers and self.run(TaskQueue([remaining], None), 1):
            after = remaining.without(self._finished)
            if not after.layers:
                return
            deaths = deaths + 1 if after.layers[0].keys == remaining.layers[0].keys and deaths else 1
            self._give_up(after, whole_layer=deaths >= _DEATHS)
            remaining = after.without(self._finished)

    def _give_up(self, task: Work, *, whole_layer: bool) -> None:
        """Write failed records for the first row that is left, or for all of the first layer."""
        layer = task.layers[0]
        keep = len(layer.keys) if whole_layer else 1
        first = layer.without(layer.keys[keep:])
        error = WorkerDied(
            "the worker process died, alone with this row; likely out of memory: try `workers` 1 or a larger machine, where the same "
            "call tries it again"
        )
        journal = JournalWriter(self._rows)
        try:
            for record in KINDS[task.kind].failed(open_run(task.run), first, error, seed=task.seed):
                journal.append(record)
        finally:
            journal.close()
        self.look()
