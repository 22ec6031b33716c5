"""The ``rdtools`` command. Heavy imports are inside the commands, so that ``--help`` is quick."""

from __future__ import annotations

import contextlib
import itertools
import os
import shlex
import signal
import stat
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import typer

from rdtools._version import __version__
from rdtools.cli import (
    allocate,
    columns,
    doctor,
    evaluate,
    figures,
    hessians,
    measure,
    methods,
    quantize,
    report,
    rotate,
    show,
    split,
    theory,
    verify,
    worker,
)
from rdtools.cli.printing import words_of
from rdtools.cli.usage import usage_message
from rdtools.errors import RdtoolsError, UsageError

app = typer.Typer(
    help="What is the least distortion any method could reach on this layer at this rate, what does each method promise, and what "
    "does it deliver when run and coded.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("report", short_help="Measure the layers of a model: R(D), coded files, gaps, a page")(report.report)
app.command("sweep", short_help="The report whose settings are in a file")(report.sweep)
app.command("show", short_help="Tables of runs: a metric by layer type, block or layer")(show.show)
app.command("figures", short_help="Figures of a run for print, with captions")(figures.figures)
app.command("measure", short_help="Measure a quantized checkpoint that somebody else made")(measure.measure)
app.command("theory", short_help="Spectra, incoherence, critical rates and gaps of layers")(theory.theory)
app.command("verify", short_help="Check every claim of the theory on layers")(verify.verify)
app.command("eval", short_help="Perplexity and KL of a run's quantized layers, or a saved model")(evaluate.evaluate)
app.command("quantize", short_help="Quantize a whole model and save it")(quantize.quantize)
app.command("rotate", short_help="Fold norms into the weights and rotate the residual stream")(rotate.rotate)
app.command("allocate", short_help="Share a budget of bits out among the layers of a run")(allocate.allocate)
app.command("split", short_help="Calibration, validation and test from one text")(split.split)
app.command("worker", short_help="Do tasks of a run beside other processes")(worker.worker)
app.command("methods", short_help="Every method: rates, family, paper")(methods.methods)
app.command("columns", short_help="Every column of the results: unit, kind, meaning")(columns.columns)
app.command("doctor", short_help="What works on this machine, and what to do about the rest")(doctor.doctor)
app.add_typer(hessians.app, name="hessians")

_OUTPUT, _INTERNAL, _INTERRUPTED, _PIPE_CLOSED, _SIGNALLED = 74, 70, 130, 141, 128


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Print the version and stop.", is_eager=True)) -> None:
    if version:
        typer.echo(f"rdtools {__version__}")
        raise typer.Exit


@runtime_checkable
class _Parser(Protocol):
    """An error of the command-line parser, which typer brings along under different names."""

    exit_code: int

    def format_message(self) -> str: ...

    def show(self) -> None: ...


class _Terminated(BaseException):
    """A signal to end, turned into an exception so that files are closed and temporary ones removed."""


def _on_terminate(number: int, _frame: object) -> None:
    raise _Terminated(number)


def _endings() -> list[signal.Signals]:
    """SIGTERM, and SIGHUP of a terminal that is closed; one that is ignored, as under nohup, stays so."""
    known = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    return [number for number in known if signal.getsignal(number) is not signal.SIG_IGN]


#: Words of version 0.1 → those of today.
_RENAMED = {("compare",): "show", ("hessians", "verify"): "hessians check"}


def _check_words(arguments: Sequence[str]) -> None:
    """Refuse words of version 0.1 by those of today, empty ones, which as paths would be the current directory, and pipes and devices.

    Raises
    ------
    UsageError
    """
    for old, new in _RENAMED.items():
        if tuple(arguments[: len(old)]) == old:
            raise UsageError(f"rdtools {' '.join(old)}: called rdtools {new} since version 0.2")
    for before, word in itertools.pairwise(["rdtools", *arguments]):
        if word == "" or (word.startswith("--") and word.endswith("=")):
            raise UsageError(f"{word.rstrip('=') or before}: got nothing, expected a value; is a variable of the shell not set?")
        kind = stat.S_IFREG
        with contextlib.suppress(OSError, ValueError):  # no path, or none that is there
            kind = stat.S_IFMT(os.stat(word.partition("=")[2] if word.startswith("--") else word).st_mode)
        if kind not in (stat.S_IFREG, stat.S_IFDIR):
            raise UsageError(f"{word}: a pipe or a device, expected a file or a directory; write what it gives into a file first")


def _say(message: str) -> None:
    """One line on standard error, whatever a path in it may hold."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)
    print(f"rdtools: {line}", file=sys.stderr)


def _kept(arguments: Sequence[str]) -> str:
    """Sentence on what an interrupted command has kept, and what the same command does with it."""
    if arguments[:1] in (["report"], ["sweep"]):
        again = "the same command without --fresh" if "--fresh" in arguments else "the same command"
        return f"a finished capture and every finished row are kept, and {again} goes on from there"
    if arguments[:1] == ["quantize"]:
        return "every finished layer is kept, and the same command goes on from there"
    if arguments[:1] == ["allocate"]:
        return "every slope that was measured is kept, and the same command goes on from there"
    if arguments[:1] in (["worker"], ["eval"]) or (arguments[:1] == ["verify"] and Path(next(iter(arguments[1:]), "")).is_dir()):
        return "every finished row and verdict is kept, and the same command goes on from there"
    return "only what was finished is kept, and the same command begins anew"


def _pipe_closed() -> int:
    # Python would try to flush what nobody reads, and complain
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return _PIPE_CLOSED


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns
    -------
    int
        Exit code: 0 done, 1 some quantization failed, none could be measured or a claim is violated, 2 usage, 65 data, 69 hub,
        70 internal error, 71 too little memory, 74 output, 75 busy, 129 terminal closed, 130 interrupt, 141 closed pipe, 143 terminated.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    # Python delivers signals to the main thread alone, and lets no other set their handlers
    in_main_thread = threading.current_thread() is threading.main_thread()
    previous = {number: signal.signal(number, _on_terminate) for number in _endings()} if in_main_thread else {}
    try:
        _check_words(arguments)
        result = app(args=arguments, standalone_mode=False, obj=shlex.join(["rdtools", *arguments]))
        if result == _INTERRUPTED:  # typer's answer to KeyboardInterrupt
            raise KeyboardInterrupt
        if sys.stdout is not None:
            sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except RdtoolsError as error:
        _say(f"error: {words_of(arguments)(str(error))}")
        return error.exit_code
    except typer.Exit as stop:
        return int(stop.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        _say(f"interrupted; {_kept(arguments)}")
        return _INTERRUPTED
    except _Terminated as stop:
        _say(f"terminated; {_kept(arguments)}")
        return _SIGNALLED + int(stop.args[0])
    except BrokenPipeError:
        return _pipe_closed()
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # typer's answer to a closed pipe
            return _pipe_closed()
        raise
    except OSError as error:
        _say(f"error: {error}; check the place, its permissions and its free space")
        return _OUTPUT
    except Exception as error:
        if isinstance(error, _Parser) and type(error).__name__ == "NoArgsIsHelpError":  # its message is the help
            error.show()
            return error.exit_code
        if isinstance(error, _Parser):
            _say(f"error: {usage_message(error, arguments)}")
            return error.exit_code
        if os.environ.get("RDTOOLS_DEBUG"):
            traceback.print_exc()
        _say(
            f"internal error: {type(error).__name__}: {error}; a fault of rdtools: run again with RDTOOLS_DEBUG=1 and report what it prints"
        )
        return _INTERNAL
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def run() -> None:
    """Entry point of the console script."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    raise SystemExit(main())
