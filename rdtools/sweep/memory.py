"""Processes that fit this machine's cores and memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rdtools.devices import HOST, device_names
from rdtools.machine import free_memory, in_gb
from rdtools.runs.store import Run


def default_workers() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


#: Memory of a process before it reads a layer.
PROCESS_BYTES = 400_000_000


def process_bytes(shapes: Iterable[Sequence[int]]) -> int:
    """Memory that a process takes at most for layers of (m, n) weights: its libraries, and for the largest three times H and six times W.

    Reading takes the file, the packed triangle and H; quantizing a factor beside H, and up to five arrays beside W.
    """
    return PROCESS_BYTES + max(8 * n * (3 * n + 6 * m) for m, n in shapes)


def worker_bytes(run: Run) -> int:
    """Memory that a process takes at most for the layers of a run, see `process_bytes`."""
    return process_bytes(entry.shape for entry in run.layers)


def claim_bytes(run: Run) -> int:
    """Memory that a process takes at most for claims on a run: its libraries, and for its widest layer H, weights and drawn tokens.

    At one time a dozen matrices of the size of H, ten of 8192 tokens and eight of the weights were seen to be alive.
    """
    return PROCESS_BYTES + max(8 * n * (12 * n + 10 * 8192 + 8 * m) for m, n in (entry.shape for entry in run.layers))


#: Processes for each GPU where none are asked for: one codes and decodes while the other has the device.
GPU_WORKERS = 2


def choose_workers(run: Path, wanted: int | None, *, each: int, device: str = HOST, say: Callable[[str], None]) -> int:
    """Processes: those asked for, else one per core that fits the memory; what does not fit is said.

    Parameters
    ----------
    run : directory to be worked on
    wanted : None for as many as there are cores; 0 leaves the work to others
    each : bytes that a process takes at most
    device : of torch, on which they work: each GPU has GPU_WORKERS where None is wanted
    say : called with a sentence where something is amiss
    """
    if wanted == 0:
        say(f"nothing is done here: waiting for rdtools worker {run}")
        return 0
    free, cores = free_memory(), default_workers()
    if device != HOST:
        cores = min(cores, GPU_WORKERS * len(device_names(device)))
    fitting = max(1, free // each)
    if (wanted or cores) > fitting:
        decision = f"{wanted} may run out of it" if wanted else f"{fitting} of {cores} processes are started"
        say(f"memory: a process takes up to {in_gb(each)}, {in_gb(free)} are free: {decision}")
    return wanted or min(cores, fitting)
