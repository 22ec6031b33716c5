"""Progress on a terminal and elsewhere."""

from __future__ import annotations

import io

from rich.console import Console

from rdtools.cli.console import progress_bar


def _shown(*, terminal, **settings):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
    with progress_bar("Work", console, **settings) as progress:
        progress(105, 1638)
    return console.file.getvalue()


def test_rows_are_counted_where_they_are_what_is_counted():
    assert "105/1638 rows" in _shown(terminal=True, counted="rows")
    assert "6%" in _shown(terminal=True)


def test_without_a_terminal_there_is_one_line():
    assert _shown(terminal=False, counted="rows") == "Work …\n"
