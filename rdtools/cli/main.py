"""The ``rdtools`` command. Heavy imports are inside the verbs, so that ``--help`` is quick."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

import typer

from rdtools import __version__
from rdtools.cli import hessians, report, theory
from rdtools.errors import RdtoolsError

app = typer.Typer(
    help="What is the least distortion any method could reach on this layer at this rate, what does each method promise, and what "
    "does it deliver when run and coded.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("report")(report.report)
app.command("theory")(theory.theory)
app.command("compare")(report.compare)
app.add_typer(hessians.app, name="hessians")


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Print the version and stop.", is_eager=True)) -> None:
    if version:
        typer.echo(f"rdtools {__version__}")
        raise typer.Exit


class _Terminated(BaseException):
    """SIGTERM, turned into an exception so that files are closed and temporary ones removed."""


def _on_terminate(_signal: int, _frame: object) -> None:
    raise _Terminated


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (1 some task failed, 2 usage, 65 data, 69 service, 74 output, 75 busy, 130 interrupt)."""
    previous = signal.signal(signal.SIGTERM, _on_terminate)
    try:
        result = app(args=None if argv is None else list(argv), standalone_mode=False)
        return result if isinstance(result, int) else 0
    except RdtoolsError as error:
        print(f"rdtools: error: {error}", file=sys.stderr)
        return error.exit_code
    except typer.Exit as stop:
        return int(stop.exit_code)
    except typer.Abort:
        return 130
    except KeyboardInterrupt:
        print("rdtools: interrupted; finished files are kept, run the same command to go on", file=sys.stderr)
        return 130
    except _Terminated:
        print("rdtools: terminated; finished files are kept, run the same command to go on", file=sys.stderr)
        return 143
    except Exception as error:
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # a usage error of the command-line parser
            print(f"rdtools: error: {error.format_message()}", file=sys.stderr)
            return int(error.exit_code)
        raise
    finally:
        signal.signal(signal.SIGTERM, previous)


def run() -> None:
    """Entry point of the console script."""
    code = main()
    sys.stdout.flush()
    # worker processes and native threads have nothing left to do: skip their slow teardown after an interrupt
    if code in (130, 143):
        os._exit(code)
    raise SystemExit(code)
