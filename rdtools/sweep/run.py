"""Run tasks in this process or in several, one thread each."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

from rdtools.ops import warm_up
from rdtools.sweep.plan import Task
from rdtools.sweep.task import Rows, failed_task, run_task

Progress = Callable[[float, float], None]


def default_workers() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _single_threaded() -> None:
    """One thread for everything in this worker: over-subscribed BLAS threads were measured up to 30 × slower."""
    import numba
    import torch
    from threadpoolctl import threadpool_limits

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
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(tasks)), mp_context=context, initializer=_single_threaded)
    try:
        futures = {pool.submit(run_task, task): index for index, task in enumerate(tasks)}
        for future in as_completed(futures):
            index = futures[future]
            try:
                yield index, future.result()
            except BrokenProcessPool as error:
                yield index, failed_task(tasks[index], error)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
