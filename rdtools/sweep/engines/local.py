"""Tasks in this process or in several, one thread each; what they finish goes into the journals of the run.

A process keeps to one input while tasks of it are left, so that what is known of its layers is worked out once.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from rdtools.errors import WorkerDied
from rdtools.ops import OPERATIONS, warm_up
from rdtools.runs.journal import ROWS, JournalTail, JournalWriter
from rdtools.runs.store import open_run
from rdtools.sweep.plan import Task
from rdtools.sweep.task import LayerMemory, failed_layer, run_task

Progress = Callable[[float, float], None]

#: Seconds between two looks at what workers have finished.
_LOOK_S = 0.5
#: Deaths in a row, none of which let a row come about, after which the rest of a layer is given up.
_DEATHS = 3


def default_workers() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
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


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


_journal: JournalWriter | None = None
_memory = LayerMemory()


def _start_worker(rows: Path) -> None:
    """Prepare a worker: an interrupt is the parent's to handle, and a worker whose parent is gone ends."""
    global _journal
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    _journal = JournalWriter(rows)


def _work(task: Task) -> None:
    assert _journal is not None  # `_start_worker` ran
    with _one_thread():
        for record in run_task(task, _memory):
            _journal.append(record)


class _Queue:
    """Tasks that wait, by input; those of the first input come first."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._waiting: dict[int, list[Task]] = {}
        for task in tasks:
            self._waiting.setdefault(task.hessian, []).append(task)
        self._begun: set[int] = set()

    def take(self, last: int | None) -> Task | None:
        """The next task for a process that worked on the input `last`: of the same input, else of one that no process is at, else any."""
        left = {number: tasks for number, tasks in self._waiting.items() if tasks}
        if not left:
            return None
        untouched = next((number for number in left if number not in self._begun), None)
        fullest = max(left, key=lambda number: len(left[number]))
        another = fullest if untouched is None else untouched
        number = last if last is not None and last in left else another
        self._begun.add(number)
        return left[number].pop(0)


def run_tasks(
    tasks: Sequence[Task],
    *,
    workers: int,
    progress: Progress = lambda done, total: None,
) -> None:
    """Do all tasks of a run; every row is on disk as soon as it is finished.

    A worker that dies takes nothing but the row that it was at with it: what is left is done in processes of its own, and the row whose
    process dies again has failed.

    Parameters
    ----------
    tasks : of one run, from `rdtools.sweep.plan.plan`
    workers : processes; with 1, or a single task, everything is done here
    progress : called with (rows done, rows in all)

    Raises
    ------
    OutputError
        If a row cannot be written.
    """
    total = sum(task.rows for task in tasks)
    if not tasks:
        return
    rows = tasks[0].run / ROWS
    if workers <= 1 or len(tasks) == 1:
        _run_here(tasks, rows, lambda done: progress(done, total))
        return
    pool = _Pool(rows, lambda done: progress(done, total))
    for task in pool.run(tasks, workers):
        pool.run_alone(task)


def _run_here(tasks: Sequence[Task], rows: Path, progress: Callable[[int], None]) -> None:
    journal, memory, done = JournalWriter(rows), LayerMemory(), 0
    try:
        with _one_thread():
            for task in tasks:
                for record in run_task(task, memory):
                    journal.append(record)
                    done += record.kind == "row"
                    progress(done)
    finally:
        journal.close()


class _Pool:
    """Processes that work on the tasks of a run, and the keys of what they have finished."""

    def __init__(self, rows: Path, progress: Callable[[int], None]) -> None:
        self._rows = rows
        self._tail = JournalTail(rows)
        self._progress = progress
        self._finished: set[str] = set()
        self._done = 0

    def _look(self) -> None:
        for record in self._tail.read():
            self._done += record.kind == "row" and record.key not in self._finished
            self._finished.add(record.key)
        self._progress(self._done)

    def run(self, tasks: Sequence[Task], workers: int) -> list[Task]:
        """Do tasks; returns those at which a process died."""
        queue, unfinished = _Queue(tasks), []
        executors = [self._executor() for _ in range(min(workers, len(tasks)))]
        running: dict[Future[None], tuple[int, Task]] = {}

        def start(slot: int, last: int | None) -> None:
            task = queue.take(last)
            if task is not None:
                running[executors[slot].submit(_work, task)] = slot, task

        try:
            self._compile(executors)
            for slot in range(len(executors)):
                start(slot, None)
            while running:
                ended, _ = wait(running, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
                self._look()
                for future in ended:
                    slot, task = running.pop(future)
                    try:
                        future.result()
                    except BrokenProcessPool:
                        unfinished.append(task)
                        executors[slot].shutdown()
                        executors[slot] = self._executor()
                    start(slot, task.hessian)
        except BaseException:
            # these and no other children of this process; the executor has no public way before Python 3.14
            for executor in executors:
                for process in list((executor._processes or {}).values()):
                    process.terminate()
            raise
        finally:
            for executor in executors:
                executor.shutdown(wait=True, cancel_futures=True)
        self._look()
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
        return ProcessPoolExecutor(1, mp_context=context, initializer=_start_worker, initargs=(self._rows,))

    def run_alone(self, task: Task) -> None:
        """Finish a task in processes of its own; where one dies, the row that it was at has failed."""
        deaths = 0
        left = task.without(self._finished)
        while left.layers and self.run([left], 1):
            after = left.without(self._finished)
            if not after.layers:
                return
            deaths = deaths + 1 if after.layers[0].keys == left.layers[0].keys and deaths else 1
            self._give_up(after, whole_layer=deaths >= _DEATHS)
            left = after.without(self._finished)

    def _give_up(self, task: Task, *, whole_layer: bool) -> None:
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
            for record in failed_layer(open_run(task.run), first, error, seed=task.seed):
                journal.append(record)
        finally:
            journal.close()
        self._look()
