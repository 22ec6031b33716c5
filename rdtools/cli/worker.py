"""``rdtools worker``: work on the tasks of a run, on any machine that sees its directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rdtools.cli.printing import Json, in_options, print_json
from rdtools.errors import counted
from rdtools.seeds import SEED_END


def worker(
    run: Annotated[Path, typer.Argument(help="Run directory that rdtools report or rdtools verify works on, or has begun.")],
    workers: Annotated[int, typer.Option("--workers", "-w", help="Processes of this worker.", min=1)] = 1,
    device: Annotated[str, typer.Option(help="Torch device on which methods work that can; cuda gives each process one GPU.")] = "cpu",
    wait: Annotated[float, typer.Option(help="Seconds to wait for a list of tasks that are not done yet.", min=0)] = 0.0,
    patience: Annotated[
        float, typer.Option(help="Seconds without a sign of life after which a worker on another machine is taken for dead.", min=1)
    ] = 120.0,
    recheck: Annotated[
        float | None, typer.Option(help="Compute this share of the finished rows again instead, and compare them to the bit.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Which rows --recheck chooses.", min=0, max=SEED_END - 1)] = 0,
    as_json: Json = False,
) -> int:
    """Do tasks of a run that no other process works on, until none is left; start any number, on any machine that sees the directory.

    The command that listed the tasks makes the tables: rdtools report --workers 0 only waits for workers. Exits with 1 if --recheck finds a
    row that differs.
    """
    from rdtools.cli.console import PlainConsole
    from rdtools.jobs.worker import recheck_run, work

    console = PlainConsole(stderr=True)
    if recheck is not None:
        checked, differing = recheck_run(run, share=recheck, seed=seed)
        if as_json:
            print_json({"run": str(run), "computed_again": checked, "differing": list(differing)})
            return 1 if differing else 0
        for sentence in differing:
            typer.echo(sentence)
        typer.echo(f"{counted(checked, 'record')} computed again, {len(differing)} of them differ")
        return 1 if differing else 0
    done = work(
        run,
        workers=workers,
        device=device,
        wait_s=wait,
        patience_s=patience,
        say=lambda sentence: console.print(in_options(sentence), soft_wrap=True),
    )
    if as_json:
        print_json({"run": str(run), "tasks_done": done})
        return 0
    console.print(f"{counted(done, 'task')} done here, none is left in {run}", soft_wrap=True)
    return 0
