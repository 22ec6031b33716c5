"""Consoles and progress bars."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class PlainConsole(Console):
    """A console that reads no markup in what it prints, and lets a closed pipe be seen as one."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, highlight=False)

    def on_broken_pipe(self) -> None:
        """Leave it to the caller; rich would exit with 1, which here means that a quantization failed."""
        raise BrokenPipeError


@contextlib.contextmanager
def progress_bar(title: str, console: Console, *, counted: str = "") -> Iterator[Callable[[float, float], None]]:
    """A bar with the time left; call what it yields with (done, total). One line where the console is no terminal.

    With a name for what is `counted` the bar shows both numbers instead of a percentage.
    """
    if not console.is_terminal:
        console.print(f"{title} …")
        yield lambda done, total: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} " + counted) if counted else TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    # what is printed meanwhile goes above the bar, unless it is meant for a file or a pipe
    with Progress(*columns, console=console, redirect_stdout=sys.stdout.isatty()) as bar:
        task = bar.add_task(title, total=0 if counted else None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
