"""Consoles of the command line."""

from __future__ import annotations

from rich.console import Console

from rdtools.jobs.progress import progress_bar as progress_bar


class PlainConsole(Console):
    """A console that reads no markup in what it prints, and lets a closed pipe be seen as one."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, highlight=False)

    def on_broken_pipe(self) -> None:
        """Leave it to the caller; rich would exit with 1, which here means that a quantization failed."""
        raise BrokenPipeError
