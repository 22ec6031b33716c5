"""``tasks.json``: the tasks that the last command of a run had to do, each under a name that a worker can take a lease of.

    tasks.json      {"format", "version", "command", "versions", "numbers", "tasks": [{"name", "kind", "hessian", "seed", "layers": …}]}

A task's name is the hash of the keys of its rows, the same in every command that asks for the same rows. The records of finished keys are
in the journals, the leases in a folder of the command, see `rdtools.runs.leases`.
"""

from __future__ import annotations

import hashlib
import json
import platform
import secrets
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rdtools._version import __version__
from rdtools.errors import CorruptFile, UsageError
from rdtools.files import write_atomically
from rdtools.runs.numbers import NUMBERS_VERSION

#: File name in a run directory.
TASKS = "tasks.json"
#: Packages that decide the bits of a row.
_DECIDING = ("numpy", "scipy", "numba", "constriction")


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ListedLayer(_Entry):
    """Keys of the records that a task has to make for a layer, in order."""

    name: str
    keys: list[str]


class ListedTask(_Entry):
    """Work on one input; `hessian` is the number of the input's Hessian in the run, `kind` a name in `rdtools.sweep.kinds.KINDS`."""

    name: str
    kind: Literal["quantize", "verify"]
    hessian: Annotated[int, Field(ge=0)]
    seed: Annotated[int, Field(ge=0)]
    layers: list[ListedLayer]

    @property
    def keys(self) -> list[str]:
        """Keys of all layers, in order."""
        return [key for layer in self.layers for key in layer.keys]


class TaskList(_Entry):
    """Contents of ``tasks.json``; `command` is drawn anew by every command and names the folder of its leases."""

    format: Literal["rdtools-tasks"] = "rdtools-tasks"
    version: Literal[2] = 2
    command: str
    versions: dict[str, str]
    numbers: int = NUMBERS_VERSION
    tasks: list[ListedTask]


def task_name(keys: Sequence[str]) -> str:
    """Name of the task that makes these records."""
    return hashlib.sha256(json.dumps(list(keys)).encode()).hexdigest()[:32]


def deciding_versions() -> dict[str, str]:
    """Versions of rdtools, Python and the packages that decide the bits of a row."""
    return {"rdtools": __version__, "python": platform.python_version(), **{name: version(name) for name in _DECIDING}}


def check_versions(listed: Mapping[str, str], numbers: int, *, path: Path) -> None:
    """Refuse the task list of a command whose rows would have other bits than those made here.

    Raises
    ------
    UsageError
        Naming what differs.
    """
    current = {**deciding_versions(), "numbers": str(NUMBERS_VERSION)}
    stored = {**listed, "numbers": str(numbers)}
    differing = [
        f"{name} {stored.get(name, 'unknown')} there and {version} here" for name, version in current.items() if stored.get(name) != version
    ]
    if differing:
        raise UsageError(
            f"{path}: of a command with other versions: {', '.join(differing)}; rows of two versions do not belong into one "
            "table: work in the environment of that command"
        )


def write_tasks(tasks: Sequence[ListedTask], folder: Path) -> TaskList:
    """Replace the task list of a run directory.

    Raises
    ------
    OutputError
    """
    listed = TaskList(command=secrets.token_hex(8), versions=deciding_versions(), tasks=list(tasks))
    write_atomically(folder / TASKS, listed.model_dump_json(indent=1).encode())
    return listed


def read_tasks(folder: Path) -> TaskList:
    """The task list of a run directory.

    Raises
    ------
    CorruptFile
        If there is none, or it is damaged or of another version.
    """
    path = folder / TASKS
    try:
        return TaskList.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else error.errors(include_url=False, include_input=False)[0]["msg"]
        raise CorruptFile(f"{path}: not a task list of this rdtools: {reason}; give the command again, which writes it") from error
