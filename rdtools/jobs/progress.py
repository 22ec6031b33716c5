"""Signs of life of a job that is called from Python: sentences in the log, bars in a notebook."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

#: Everything that a job says without a command line goes here, at level INFO.
LOG = logging.getLogger("rdtools")


def log_sentence(sentence: str) -> None:
    """Say a sentence in the log: ``logging.basicConfig(level="INFO")`` shows it."""
    LOG.info("%s", sentence)


def shows_bars(console: Console) -> bool:
    """True where a bar can move: on a terminal, and in a notebook that has the widgets which rich draws with."""
    return console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)


@contextlib.contextmanager
def progress_bar(title: str, console: Console, *, counted: str = "") -> Iterator[Callable[[float, float], None]]:
    """A bar with the time left; call what it yields with (done, total). One line where no bar can be shown.

    With a name for what is `counted` the bar shows both numbers instead of a percentage.
    """
    if not shows_bars(console):
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


@contextlib.contextmanager
def python_stage(title: str, counted: str = "") -> Iterator[Callable[[float, float], None]]:
    """A stage of a job that no command line shows: its beginning and its time in the log, and in a notebook a bar."""
    started = time.perf_counter()
    LOG.info("%s …", title)
    console = Console()
    with progress_bar(title, console, counted=counted) if console.is_jupyter else contextlib.nullcontext(lambda done, total: None) as tell:
        yield tell
    LOG.info("%s: %.1f s", title, time.perf_counter() - started)
