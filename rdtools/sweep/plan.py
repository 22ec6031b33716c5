"""What is to be done: layers grouped by Hessian, largest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rdtools.hessians.store import Run
from rdtools.quantizers import Quantizer


@dataclass(frozen=True)
class Task:
    """All quantizations of the layers that share one Hessian, so that it is read and factored once.

    Attributes
    ----------
    run : directory
    layers : names
    quantizers : every method at every rate
    curve_rates : rates at which to tabulate the theory curves of each layer
    seed : of the run
    work : relative cost, m n² summed over layers
    """

    run: Path
    layers: tuple[str, ...]
    quantizers: tuple[Quantizer, ...]
    curve_rates: tuple[float, ...]
    seed: int
    work: float


def plan(run: Run, quantizers: Sequence[Quantizer], *, seed: int, curve_rates: Sequence[float] = ()) -> list[Task]:
    """One task for each Hessian of a run, the most work first."""
    tasks = []
    for index in range(len(run.hessians)):
        entries = [entry for entry in run.layers if entry.hessian == index]
        if entries:
            work = float(sum(m * n * n for m, n in (entry.shape for entry in entries)))
            names = tuple(entry.name for entry in entries)
            tasks.append(Task(run.path, names, tuple(quantizers), tuple(curve_rates), seed, work))
    return sorted(tasks, key=lambda task: -task.work)
