"""Pages made from the tables of the package, and numbers made from committed rows; ``<< … >>`` in a page is filled in here."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from typer.main import get_command

from rdtools import errors
from rdtools._version import __version__
from rdtools.claims import CLAIMS
from rdtools.cli.main import app, main
from rdtools.coding.formats import CODECS
from rdtools.compare.bounds import BOUNDS
from rdtools.docstrings import sections
from rdtools.methods import DEFAULT_METHODS, METHODS
from rdtools.records import CURVE_COLUMNS
from rdtools.records.evaluation_row import EVALUATION_COLUMNS
from rdtools.records.foreign_rows import FOREIGN_COLUMNS
from rdtools.records.rows import COLUMNS, LAYER_COLUMNS
from rdtools.report.glossary import RATE_KINDS, TERMS
from rdtools.transforms.orders import ORDERS
from rdtools_docs import DOCS, ROOT, container, reference


@cache
def rows(table: str) -> pd.DataFrame:
    """Committed rows of ``figures/<table>.csv``."""
    return pd.read_csv(ROOT / "figures" / f"{table}.csv")


def selected(table: str, **where: Any) -> pd.DataFrame:
    """Rows with these values; none is an error, since the page would show a number of nothing."""
    chosen = rows(table)
    for column, value in where.items():
        chosen = chosen[chosen[column] == value]
    if chosen.empty:
        raise KeyError(f"{table}.csv has no row with {where}")
    return chosen


def number(table: str, column: str, digits: int = 3, how: str = "mean", **where: Any) -> str:
    """A statistic of a column over the committed rows with these values, as text."""
    return f"{float(selected(table, **where)[column].agg(how)):.{digits}f}".replace("-", "−")


def rates_text(rates: dict[str, Any]) -> str:
    """Rates of an entry for people.

    Examples
    --------
    >>> rates_text({"values": [2, 3, 4]}), rates_text({"values": [4]}), rates_text({"min": 0.1, "max": 12.0})
    ('2, 3, 4', '4', '0.1 to 12')
    """
    return ", ".join(f"{rate:g}" for rate in rates["values"]) if "values" in rates else f"{rates['min']:g} to {rates['max']:g}"


def option_rows(command: Any) -> Iterator[tuple[str, str, str]]:
    """Spelling, default and help of every parameter of a command."""
    for parameter in command.params:
        is_option = parameter.param_type_name == "option"
        names = (*parameter.opts, *parameter.secondary_opts) if is_option else (parameter.name.upper(),)
        default = parameter.default if isinstance(parameter.default, str | int | float | Path) and parameter.default is not False else ""
        yield ", ".join(f"`{name}`" for name in names), f"`{default}`" if default != "" else "", getattr(parameter, "help", None) or ""


def commands(command: Any = None, name: str = "rdtools") -> Iterator[tuple[str, Any]]:
    """Every command with its full name; groups before what they hold."""
    command = get_command(app) if command is None else command
    if hasattr(command, "commands"):
        for part, inner in command.commands.items():
            yield from commands(inner, f"{name} {part}")
    else:
        yield name, command


def main_codes() -> str:
    """Exit codes of the command, as its docstring lists them: ``0 done, 1 some …``."""
    return " ".join(dict(sections(inspect.cleandoc(main.__doc__ or "")))["Returns"].split())


def error_classes() -> list[type[errors.RdtoolsError]]:
    """Errors that rdtools raises on purpose, by exit code."""
    kinds = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, errors.RdtoolsError)]
    return sorted(kinds, key=lambda kind: kind.exit_code)


def card_note(name: str) -> str:
    """Hand-written equation, cost and difference to the paper's code of a class of quantizers."""
    return (DOCS / "methods" / f"{name}.md").read_text()


def entries_of(kind: type) -> list[Any]:
    """Entries of the registry whose quantizer is of this class."""
    return [METHODS[name] for name in METHODS if reference.home_class(name) is kind]


def cell(text: object) -> str:
    """Text that stands in a cell of a table."""
    return " ".join(str(text).split()).replace("|", "\\|")


def first_sentence(value: Any) -> str:
    """First paragraph of a docstring in one line."""
    return cell(next(sections(inspect.cleandoc(value.__doc__ or "")))[1].split("\n\n")[0]).replace("`", "")


@cache
def environment() -> Environment:
    """Names that a page may use between ``<<`` and ``>>``."""
    made = Environment(
        loader=FileSystemLoader(DOCS), undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True,
        variable_start_string="<<", variable_end_string=">>", block_start_string="<%", block_end_string="%>",
        comment_start_string="<#", comment_end_string="#>", autoescape=False,
    )  # fmt: skip
    made.filters |= {"cell": cell, "rates": rates_text, "first_sentence": first_sentence}
    made.globals |= {
        "version": __version__, "number": number, "selected": selected, "methods": METHODS, "defaults": DEFAULT_METHODS,
        "columns": COLUMNS, "layer_columns": LAYER_COLUMNS, "evaluation_columns": EVALUATION_COLUMNS, "curve_columns": CURVE_COLUMNS,
        "foreign_columns": FOREIGN_COLUMNS[len(LAYER_COLUMNS):], "terms": TERMS, "rate_kinds": RATE_KINDS, "bounds": BOUNDS,
        "claims": CLAIMS, "commands": lambda: list(commands()), "option_rows": option_rows, "errors": error_classes(),
        "orders": ORDERS, "column_fields": container.column_fields,
        "golden_files": container.golden_files, "cards": reference.card_classes(), "entries_of": entries_of, "note": card_note,
        "doc": lambda module: inspect.cleandoc(import_module(module).__doc__ or ""), "documented": reference.documented(),
        "packages": reference.PACKAGES, "pages": reference.pages(), "json": json.dumps, "id": id, "home": import_module,
        "has": hasattr, "codecs": CODECS,
    }  # fmt: skip
    return made


def fill(text: str) -> str:
    """A page with its numbers and tables."""
    return environment().from_string(text).render()


def write(folder: Path) -> None:
    """Pages that have no source of their own: a page for each class of quantizers, one for each package."""
    for part in ("methods", "api"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    card, package = (environment().get_template(f"templates/{name}.md") for name in ("card", "package"))
    for name, kind in reference.card_classes().items():
        (folder / "methods" / f"{name}.md").write_text(card.render(kind=kind, note=fill(card_note(name))))
    for name, names in reference.pages().items():
        module = import_module(name)
        values = {part: getattr(module, part) for part in names}
        (folder / "api" / f"{name}.md").write_text(package.render(module=module, values=values, isclass=inspect.isclass))
