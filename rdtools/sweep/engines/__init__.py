"""Who does the tasks of a run. An engine is a function of the tasks and the number of workers; to add one, add a line to ENGINES."""

from __future__ import annotations

from collections.abc import Callable

from rdtools.sweep.engines.local import run_tasks as run_tasks

#: Name → function with the arguments of `rdtools.sweep.engines.local.run_tasks`.
ENGINES: dict[str, Callable[..., int]] = {"local": run_tasks}
