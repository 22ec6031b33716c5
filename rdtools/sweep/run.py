"""Run tasks in this process or in several, one thread each."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

from rdtools.errors import WorkerDied
from rdtools.hessians.store import open_run
from rdtools.ops import warm_up
from rdtools.sweep.plan import Task
from rdtools.sweep.task import Rows, failed_layer, run_task

Progress = Callable[[float, float], None]


def default_workers() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _start_worker() -> None:
    """One thread for everything in this worker: over-subscribed BLAS threads were measured up to 30 × slower.

    An interrupt is the parent's to handle; a worker whose parent is gone ends.
    """
    import numba
    import torch
    from threadpoolctl import threadpool_limits

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    threadpool_limits(1)
    numba.set_num_threads(1)
    torch.set_num_threads(1)


def run_tasks(
    tasks: Sequence[Task],
    *,
    workers: int,
    progress: Progress = lambda done, total: None,
) -> Rows:
    """All rows of all tasks, in the order of the tasks.

    A worker that dies takes nothing but its task with it: the others are run again, each in a process of its own, and the one that
    kills its process has failed rows.

    Parameters
    ----------
    tasks : from `rdtools.sweep.plan.plan`
    workers : processes; 1 runs everything here
    progress : called with (work done, work in all)
    """
    total = sum(task.work for task in tasks)
    finished: dict[int, Rows] = {}
    done = 0.0
    for index, rows in _results(tasks, workers):
        finished[index] = rows
        done += tasks[index].work
        progress(done, total)
    ordered = [finished[index] for index in sorted(finished)]
    return Rows(
        [row for rows in ordered for row in rows.results],
        [row for rows in ordered for row in rows.curves],
    )


def _results(tasks: Sequence[Task], workers: int) -> Iterator[tuple[int, Rows]]:
    if workers <= 1 or len(tasks) <= 1:
        for index, task in enumerate(tasks):
            yield index, run_task(task)
        return
    warm_up()  # compile once here, so that workers find the compiled kernel on disk
    left = dict(enumerate(tasks))
    for index, outcome in _in_pool(left, workers):
        if isinstance(outcome, Rows):
            del left[index]
            yield index, outcome
    for index, task in left.items():
        outcome = next(_in_pool({index: task}, 1))[1]
        yield index, outcome if isinstance(outcome, Rows) else _died(task)


def _in_pool(tasks: dict[int, Task], workers: int) -> Iterator[tuple[int, Rows | BrokenProcessPool]]:
    """Results as they come; the error for each task that was not finished when a worker died."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(tasks)), mp_context=context, initializer=_start_worker)
    try:
        futures = {pool.submit(run_task, task): index for index, task in tasks.items()}
        for future in as_completed(futures):
            try:
                yield futures[future], future.result()
            except BrokenProcessPool as error:
                yield futures[future], error
    except BaseException:
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _died(task: Task) -> Rows:
    run = open_run(task.run)
    error = WorkerDied("the worker process died, alone with this task; likely out of memory: try --workers 1 on a larger machine")
    return Rows([row for name in task.layers for row in failed_layer(run, name, task, error)])
