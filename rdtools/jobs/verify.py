"""Claims, checked on synthetic families, layers, a run or the embedded model."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from threadpoolctl import threadpool_limits

from rdtools import claims as registry
from rdtools.errors import OutputError, UsageError, WrongType
from rdtools.files import atomic_path, sole_writer
from rdtools.jobs.calibration import CalibrationRequest
from rdtools.jobs.collect import collect
from rdtools.jobs.progress import log_sentence, python_stage
from rdtools.jobs.settings import Stage
from rdtools.model.checkpoint import EMBEDDED
from rdtools.moments.layer import Layer
from rdtools.runs.journal import ROWS, Record, read_journals
from rdtools.runs.numbers import NUMBERS_VERSION, VERDICTS_VERSION
from rdtools.runs.store import Run, open_run
from rdtools.sweep import choose_workers, claim_bytes, do_tasks, plan_claims
from rdtools.sweep.engines.dask import check_scheduler

#: File of the verdicts in a run directory.
VERDICTS = "verification.parquet"
#: Attributes of that file's table: verdicts of other versions are out of date.
VERDICT_VERSIONS = {"numbers": NUMBERS_VERSION, "verdicts": VERDICTS_VERSION}
Row = dict[str, Any]


def choose_claims(patterns: Sequence[str] = ("*",)) -> list[registry.Claim]:
    """Claims whose names match a pattern.

    Raises
    ------
    UsageError
        If a pattern matches none.
    """
    chosen = [claim for claim in registry.CLAIMS if any(fnmatch.fnmatchcase(claim.name, pattern) for pattern in patterns)]
    for pattern in patterns:
        if not fnmatch.filter([claim.name for claim in chosen], pattern):
            raise UsageError(f"`claims` {pattern!r}: no claim of this name; rdtools verify --list prints all {len(registry.CLAIMS)}")
    if not chosen:
        raise UsageError("`claims`: expected a name or a pattern such as 'quip.*'")
    return chosen


@contextlib.contextmanager
def _layers(subject: str | Path | Layer | Sequence[Layer] | Run | None, seed: int, stage: Stage) -> Iterator[Sequence[Layer] | Run]:
    if isinstance(subject, Layer):
        yield [subject]
    elif subject is None:
        yield registry.synthetic_layers(seed=seed)
    elif subject == EMBEDDED:
        with tempfile.TemporaryDirectory(prefix="rdtools-") as scratch:
            with stage("Hessians", "") as progress:
                run = collect(EMBEDDED, CalibrationRequest(), out=Path(scratch) / "run", progress=progress)
            yield run
    else:
        yield open_run(subject) if isinstance(subject, str | Path) else subject


def _check_subject(subject: object) -> None:
    if subject is None or isinstance(subject, str | Path | Layer | Run):
        return
    if not isinstance(subject, Sequence) or not all(isinstance(layer, Layer) for layer in subject):
        raise WrongType(
            f"verify: got {type(subject).__name__}, expected a Layer, a list of them, a run or its directory, 'embedded' or None"
        )


def _check_writable(out: Path) -> None:
    """Find out before the work, not after it, whether its result can be kept."""
    if out.suffix not in (".parquet", ".csv"):
        raise UsageError(f"{out}: expected a name that ends in .parquet or .csv")
    folder = out.absolute().parent
    if out.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise OutputError(f"{out}: cannot be written: expected a file in a folder that exists and may be written to; choose another place")


def verify(
    subject: str | Path | Layer | Sequence[Layer] | Run | None = None,
    claims: str | registry.Claim | Sequence[str | registry.Claim] = ("*",),
    *,
    seed: int = 0,
    out: str | Path | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    fresh: bool = False,
    each: Callable[[Row], None] = lambda row: None,
    say: Callable[[str], None] = log_sentence,
    stage: Stage = python_stage,
) -> pd.DataFrame:
    """Check claims on layers; one row for each claim and layer: holds, violated, not applicable and why, or failed.

    On a run, registered claims are checked in parallel; finished verdicts are in its journals at once, the same call goes on after an
    interrupt and tries failed ones again.

    Parameters
    ----------
    subject : a layer or several, a run or its directory, "embedded", or None for synthetic families
    claims : names, patterns such as ``quip.*``, or claims of your own
    seed : of everything that is drawn
    out : file to write, .parquet or .csv; for a run directory by default ``verification.parquet`` in it
    workers : processes that work on a run; None for one per core, 0 to leave the work to `rdtools worker`
    scheduler : address of a Dask scheduler, whose workers do the work on a run in place of `workers`
    fresh : check everything again, what is finished too
    each : called with every row as soon as it is there, on a run layer after layer as soon as all of them are
    say : called with sentences about what is there already
    stage : shows progress

    Raises
    ------
    WrongType, UsageError, CorruptFile, ModelUnreadable, OutputError, Busy, MissingPackage, ServiceUnavailable
    """
    _check_subject(subject)
    check_scheduler(scheduler, workers)
    several = [claims] if isinstance(claims, str | registry.Claim) else list(claims) if isinstance(claims, Iterable) else [claims]
    patterns = [claim for claim in several if isinstance(claim, str)]
    chosen = [claim for claim in several if isinstance(claim, registry.Claim)]
    wrong = [claim for claim in several if not isinstance(claim, str | registry.Claim)]
    if wrong:
        raise WrongType(f"verify: got {type(wrong[0]).__name__} among the claims, expected names such as 'quip.*' or Claims")
    chosen += choose_claims(patterns) if patterns or not chosen else []
    out = None if out is None else Path(out)
    if out is not None:
        _check_writable(out)
    rows: list[Row] = []

    def add(row: Row) -> None:
        rows.append(row)
        each(row)

    with _layers(subject, seed, stage) as layers:
        if out is None and isinstance(subject, str | Path) and subject != EMBEDDED:
            out = Path(subject) / VERDICTS
            _check_writable(out)
        if isinstance(layers, Run) and set(chosen) <= set(registry.CLAIMS):
            table = _verify_run(layers, chosen, seed=seed, workers=workers, scheduler=scheduler, fresh=fresh, add=add, say=say, stage=stage)
        else:
            # many small products: more threads than one were seen to wait for each other more than they work
            with stage("Verify", "") as progress, threadpool_limits(1):
                for verdict in registry.verify(layers, claims=chosen, seed=seed):
                    add(verdict.to_row())
                    progress(len(rows), len(layers) * len(chosen))
            for verdict in registry.verify_counterexample(chosen) if subject is None else ():
                add(verdict.to_row())
            table = pd.DataFrame(rows)
    table.attrs.update(VERDICT_VERSIONS)
    if out is not None:
        with atomic_path(out) as scratch:
            if out.suffix == ".csv":
                table.to_csv(scratch, index=False)
            else:
                table.to_parquet(scratch, index=False)
    return table


def _verify_run(
    run: Run,
    claims: Sequence[registry.Claim],
    *,
    seed: int,
    workers: int | None,
    scheduler: str | None,
    fresh: bool,
    add: Callable[[Row], None],
    say: Callable[[str], None],
    stage: Stage,
) -> pd.DataFrame:
    """Verdicts on a run, by layer in its order, then by claim."""
    with sole_writer(run.path):
        tasks = plan_claims(run, claims, seed=seed)
        keys = {layer.name: layer.keys for task in tasks for layer in task.layers}
        total = sum(map(len, keys.values()))
        existing = {} if fresh else {key: r for key, r in read_journals(run.path / ROWS).records.items() if not r.failed}
        verdicts = _Verdicts({name: keys[name] for name in run}, add)
        for key in [key for name in run for key in keys[name] if key in existing]:
            verdicts.hear(existing[key])
        if verdicts.count:
            say(f"{verdicts.count} of {total} verdicts are already there; `fresh` checks them again")
        remaining = [part for task in tasks if (part := task.without(existing)).layers]
        count = choose_workers(run.path, workers, each=claim_bytes(run), say=say) if remaining and scheduler is None else 1
        with stage("Verify", "") as progress:

            def heard(record: Record) -> None:
                verdicts.hear(record)
                progress(verdicts.count, total)

            do_tasks(run, remaining, workers=count, scheduler=scheduler, heard=heard)
        for record in read_journals(run.path / ROWS).records.values():
            verdicts.hear(record)  # those of a worker that was at it before this process listened
    return pd.DataFrame([verdicts.rows[key] for name in run for key in keys[name] if key in verdicts.rows])


class _Verdicts:
    """Verdicts as they come in, shown layer by layer in the order of the run."""

    def __init__(self, keys: dict[str, tuple[str, ...]], add: Callable[[Row], None]) -> None:
        self.rows: dict[str, Row] = {}
        self._wanted = {key for of_layer in keys.values() for key in of_layer}
        self._waiting = list(keys.values())
        self._add = add

    @property
    def count(self) -> int:
        """Number of verdicts that are there."""
        return len(self.rows)

    def hear(self, record: Record) -> None:
        """Take in a record of the run, if it is one of these verdicts and new."""
        if record.key not in self._wanted or record.key in self.rows:
            return
        self.rows[record.key] = record.value
        while self._waiting and all(key in self.rows for key in self._waiting[0]):
            for key in self._waiting.pop(0):
                self._add(self.rows[key])
