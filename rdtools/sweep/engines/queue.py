"""The tasks that wait, and the one that a process is given next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rdtools.runs.journal import ROWS, read_journals
from rdtools.runs.leases import Leases
from rdtools.sweep.plan import Work


@dataclass(frozen=True)
class Taken:
    """A task that is to be done here, under its name in the list; what a dead holder finished of it is left out."""

    name: str
    task: Work


class TaskQueue:
    """Tasks that wait, by input; those of the first input come first.

    Parameters
    ----------
    tasks : of one run
    leases : of the command, where other processes may work on the same tasks; None where nobody else does
    """

    def __init__(self, tasks: Sequence[Work], leases: Leases | None) -> None:
        self._waiting: dict[int, list[tuple[str, Work]]] = {}
        for task in tasks:
            self._waiting.setdefault(task.hessian, []).append((task.listed.name, task))
        self._leases = leases
        self._begun: set[int] = set()
        self.finished = 0  # tasks that were done here

    @property
    def empty(self) -> bool:
        """True if every task was taken here, or done elsewhere when it was last looked at."""
        return not self._waiting

    def take(self, last: int | None) -> Taken | None:
        """The next task for a process that worked on the input `last`: of the same input, else of one that no process is at, else any.

        None if nothing is left, or others work on all that is.
        """
        if last in self._waiting and (task := self._take_of(last)):
            return task
        for number in [number for number in self._waiting if number not in self._begun]:
            if task := self._take_of(number, only_untouched=True):
                return task
        for number in sorted(self._waiting, key=lambda number: -len(self._waiting[number])):
            if task := self._take_of(number):
                return task
        return None

    def _take_of(self, number: int, *, only_untouched: bool = False) -> Taken | None:
        """A task of an input; none of one of which another process has a task if it must be untouched."""
        self._begun.add(number)
        for name, task in list(self._waiting[number]):
            taken = self._leases is None or self._leases.take(name)
            if taken or (self._leases is not None and self._leases.done(name)):
                self._remove(number, name)
            if taken:
                return Taken(name, self._rest(name, task))
            if only_untouched:
                return None
        return None

    def _remove(self, number: int, name: str) -> None:
        remaining = [entry for entry in self._waiting[number] if entry[0] != name]
        if remaining:
            self._waiting[number] = remaining
        else:
            del self._waiting[number]

    def drop_done(self) -> None:
        """Forget tasks that others have done."""
        for number, name in [(number, name) for number, tasks in self._waiting.items() for name, _ in tasks]:
            if self._leases is not None and self._leases.done(name):
                self._remove(number, name)

    def _rest(self, name: str, task: Work) -> Work:
        if self._leases is None or not self._leases.outlived(name):
            return task
        return task.without({key for key, record in read_journals(task.run / ROWS).records.items() if not record.failed})

    def finish(self, taken: Taken) -> None:
        """Say that all records of a task are in the journals."""
        self.finished += 1
        if self._leases is not None:
            self._leases.finish(taken.name)
