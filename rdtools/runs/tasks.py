"""``tasks.json``: the tasks that the last command of a run had to do, each under a name that a worker can claim.

    tasks.json      {"format", "version", "numbers", "tasks": [{"name", "hessian", "seed", "layers": [{"name", "keys"}]}]}

A task's name is the hash of the keys of its rows, the same in every command that asks for the same rows: a name to claim a task by. The
records of finished keys are in the journals.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rdtools.errors import CorruptFile
from rdtools.files import write_atomically
from rdtools.runs.numbers import NUMBERS_VERSION

#: File name in a run directory.
TASKS = "tasks.json"


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ListedLayer(_Entry):
    """Keys of the rows and curves that a task has to make for a layer, in order."""

    name: str
    keys: list[str]


class ListedTask(_Entry):
    """One preparation of one input; `hessian` is the number of the input's Hessian in the run."""

    name: str
    hessian: Annotated[int, Field(ge=0)]
    seed: Annotated[int, Field(ge=0)]
    layers: list[ListedLayer]


class TaskList(_Entry):
    """Contents of ``tasks.json``."""

    format: Literal["rdtools-tasks"] = "rdtools-tasks"
    version: Literal[1] = 1
    numbers: int = NUMBERS_VERSION
    tasks: list[ListedTask]


def task_name(keys: Sequence[str]) -> str:
    """Name of the task that makes these rows."""
    return hashlib.sha256(json.dumps(list(keys)).encode()).hexdigest()[:32]


def write_tasks(tasks: Sequence[ListedTask], folder: Path) -> None:
    """Replace the task list of a run directory.

    Raises
    ------
    OutputError
    """
    write_atomically(folder / TASKS, TaskList(tasks=list(tasks)).model_dump_json(indent=1).encode())


def read_tasks(folder: Path) -> list[ListedTask]:
    """The task list of a run directory.

    Raises
    ------
    CorruptFile
        If there is none, or it is damaged or of another version.
    """
    path = folder / TASKS
    try:
        return TaskList.model_validate_json(path.read_bytes()).tasks
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else error.errors(include_url=False, include_input=False)[0]["msg"]
        raise CorruptFile(f"{path}: not a task list of this rdtools: {reason}; give the command again, which writes it") from error
