"""Tables, notes and JSON on the terminal."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from typer.main import get_command

from rdtools.errors import UsageError, counted

if TYPE_CHECKING:
    import pandas as pd

Json = Annotated[bool, typer.Option("--json", "-j", help="Print JSON instead of text.")]
Scheduler = Annotated[
    str | None,
    typer.Option(help="Address of a Dask scheduler, such as tcp://host:8786, whose workers, who all see the run directory, do the work."),
]


#: Arguments whose options are called otherwise.
_OTHERWISE = {"calibration": "--text and --tokens", "allocations": "--allocation"}


@cache
def _options() -> re.Pattern[str]:
    """Arguments, which messages name between backquotes, and which are options of a command here."""
    from rdtools.cli.main import app

    root: Any = get_command(app)
    commands = [*root.commands.values(), *root.commands["hessians"].commands.values()]
    long = {name for command in commands for option in command.params for name in option.opts if name.startswith("--")}
    options = sorted(name.removeprefix("--").replace("-", "_") for name in long)
    return re.compile(f"`({'|'.join([*options, *_OTHERWISE])})`")


Words = Callable[[str], str]
Item = TypeVar("Item")


def names(text: str) -> tuple[str, ...]:
    """Parts of a list with commas, each once."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",")))


def numbers(option: str, text: str, kind: Callable[[str], Item], expected: str) -> tuple[Item, ...]:
    """Numbers of a list with commas.

    Raises
    ------
    UsageError
    """
    values_shown = []
    for part in names(text):
        try:
            values_shown.append(kind(part))
        except ValueError:
            raise UsageError(f"{option} {text!r}: {part!r} is not {expected}") from None
    return tuple(values_shown)


def in_keys(message: str) -> str:
    """A message of the library as it is: the keys of a sweep's file are called as the library's arguments are."""
    return message


def words_of(arguments: Sequence[str]) -> Words:
    """The names of settings in messages to a command."""
    return in_keys if arguments[:1] == ["sweep"] else in_options


def in_options(message: str) -> str:
    """A message of the library with the options of the command line in place of its arguments."""
    return _options().sub(lambda match: _OTHERWISE.get(match[1]) or "--" + match[1].replace("_", "-"), message)


def _plain(value: Any) -> Any:
    """A value that JSON knows: neither NaN nor infinity, and no NumPy scalar."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a table for JSON."""
    return [{str(name): _plain(value) for name, value in row.items()} for row in table.to_dict("records")]


def print_json(value: object) -> None:
    """Print a value of dictionaries, lists, numbers and strings."""
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False, default=str))


def print_tables(table: pd.DataFrame, words: Words = in_options) -> None:
    """Print a table for each rate, and the rows that are not ok."""
    from rdtools.cli.console import PlainConsole
    from rdtools.report import problem_lines, terminal_head, terminal_note, terminal_tables

    console = PlainConsole()
    for target in sorted(table["target_bpw"].unique()):
        console.print(f"{terminal_head(target)}: {terminal_note(table, target)}")
        for part in terminal_tables(table, target=target, width=console.width):
            console.print(part)
    for status, lines in problem_lines(table).items():
        console.print(f"{counted(int(table['status'].eq(status).sum()), 'row')} {status}, left out of all means")
        for line in lines:
            console.print(words(f"  {line}"), soft_wrap=True)
    unbounded = table[(table["status"] == "ok") & table["rate_gap_total_bpw"].isna()]
    if len(unbounded):
        have = "has" if len(unbounded) == 1 else "have"
        reason = words(unbounded["message"].iloc[0])
        console.print(f"{counted(len(unbounded), 'row')} {have} no gap: {reason}", soft_wrap=True)
    if table["distortion"].isna().all():
        console.print("Nothing could be measured")


def print_paired(table: pd.DataFrame, *, as_json: bool) -> None:
    """Print paired differences between methods of a result table."""
    from rdtools.cli.console import PlainConsole
    from rdtools.report import paired_differences, paired_lines

    differences = paired_differences(table)
    if as_json:
        print_json(records(differences))
        return
    console = PlainConsole()
    console.print(
        "Total rate of the file above R(D), one variance, in bpw, of two methods with the same coder: mean difference over matrices, its "
        "95 % bootstrap interval, and on how many matrices the method comes nearer than the reference, in all and by layer type",
    )
    for line in paired_lines(differences, console.width) or ["no two methods with the same coder"]:
        console.print(line, soft_wrap=True)


def note_coverage(sentence: str, words: Words = in_options) -> None:
    """Say which share of the model was analysed, in the words of the command; nothing where the run does not say."""
    if sentence:
        typer.echo(words(sentence))
