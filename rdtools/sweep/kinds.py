"""Kinds of tasks, and all that engines know of them. To add one, add a line to KINDS and to the kinds that `rdtools.runs.tasks` lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from rdtools import claims
from rdtools.devices import HOST
from rdtools.errors import UsageError
from rdtools.methods import parse_method
from rdtools.runs.journal import Record
from rdtools.runs.plan import PlannedMethod, read_plan
from rdtools.runs.store import Run
from rdtools.runs.tasks import ListedTask
from rdtools.sweep.plan import Work, plan, settings_of
from rdtools.sweep.task import LayerMemory, failed_layer, run_task
from rdtools.sweep.verification import ClaimMemory, failed_claims, plan_claims, run_claims


@dataclass(frozen=True)
class Kind:
    """A kind of tasks.

    Attributes
    ----------
    memory : makes what tasks leave for those that a process does after them, given the device of the process
    perform : records of a task, each as soon as it is finished, given a task and the memory
    failed : records of a layer of a task at which a process died, given the run, the layer's part, the error and the seed
    plan : every task that a run may list, given the run and a listed seed
    """

    memory: Callable[[str], Any]
    perform: Callable[[Any, Any], Iterator[Record]]
    failed: Callable[..., Iterator[Record]]
    plan: Callable[[Run, int], list[Any]]


def _quantizer(method: PlannedMethod) -> Any:
    """The quantizer of a plan's entry.

    Raises
    ------
    UsageError
        If its name stands for other settings here.
    """
    quantizer = parse_method(method.method, method.rate_bits)
    if settings_of(quantizer) != method.settings:
        raise UsageError(
            f"{method.method}: planned as {method.settings}, here it is {settings_of(quantizer)}; give the command again, with this rdtools"
        )
    return quantizer


def _quantizations(run: Run, seed: int) -> list[Any]:
    entries = read_plan(run.path)
    methods = [method for method in entries.methods if method.seed == seed]
    tops = {name: entries.top_rate(name) for name in run}
    return plan(run, [_quantizer(method) for method in methods], seeds=[seed], top_rates=tops)


def _all_claims(run: Run, seed: int) -> list[Any]:
    return list(plan_claims(run, claims.CLAIMS, seed=seed))


KINDS: dict[str, Kind] = {
    "quantize": Kind(LayerMemory, run_task, failed_layer, _quantizations),
    "verify": Kind(lambda device: ClaimMemory(), run_claims, failed_claims, _all_claims),
}


class Memories:
    """State that tasks of each kind have left in this process.

    Parameters
    ----------
    device : of torch, on which the process works; claims are checked in main memory
    """

    def __init__(self, device: str = HOST) -> None:
        self.device = device
        self._of: dict[str, Any] = {}

    def perform(self, task: Work) -> Iterator[Record]:
        """Records of a task, each as soon as it is finished."""
        kind = KINDS[task.kind]
        if task.kind not in self._of:
            self._of = {task.kind: kind.memory(self.device)}  # that of another kind is let go
        return kind.perform(task, self._of[task.kind])


def tasks_of(run: Run, listed: list[ListedTask]) -> list[Work]:
    """The tasks that a list names, made again from the plan and the claims.

    Raises
    ------
    UsageError
        If a key of the list is none of this run's, whose files or plan were changed since.
    """
    planned: dict[str, Work] = {}
    for kind, seed in dict.fromkeys((entry.kind, entry.seed) for entry in listed):
        for task in KINDS[kind].plan(run, seed):
            planned |= {key: task for layer in task.layers for key in layer.keys}
    tasks = []
    for entry in listed:
        keys = set(entry.keys)
        if missing := keys - set(planned):
            raise UsageError(
                f"{run.path}: {len(missing)} rows of the task list belong to other Hessians, weights or methods than the run has now; give "
                "the command again"
            )
        complete = planned[entry.keys[0]]
        tasks.append(complete.without({key for layer in complete.layers for key in layer.keys} - keys))
    return tasks
