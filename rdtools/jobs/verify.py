"""Claims, checked on synthetic families, layers, a run or the embedded model."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from threadpoolctl import threadpool_limits

from rdtools import claims as registry
from rdtools.errors import OutputError, UsageError
from rdtools.files import atomic_path
from rdtools.jobs.calibration import CalibrationRequest
from rdtools.jobs.collect import collect
from rdtools.jobs.settings import Stage, silent_stage
from rdtools.model.checkpoint import EMBEDDED
from rdtools.moments.layer import Layer
from rdtools.runs.store import Run, open_run

#: File of the verdicts in a run directory.
VERDICTS = "verification.parquet"
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
def _layers(subject: str | Path | Sequence[Layer] | Run | None, seed: int, stage: Stage) -> Iterator[Sequence[Layer] | Run]:
    if subject is None:
        yield registry.synthetic_layers(seed=seed)
    elif subject == EMBEDDED:
        with tempfile.TemporaryDirectory(prefix="rdtools-") as scratch:
            with stage("Hessians", "") as progress:
                run = collect(EMBEDDED, CalibrationRequest(), out=Path(scratch) / "run", progress=progress)
            yield run
    else:
        yield open_run(subject) if isinstance(subject, str | Path) else subject


def _check_writable(out: Path) -> None:
    """Find out before the work, not after it, whether its result can be kept."""
    if out.suffix not in (".parquet", ".csv"):
        raise UsageError(f"{out}: expected a name that ends in .parquet or .csv")
    folder = out.absolute().parent
    if out.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise OutputError(f"{out}: cannot be written: expected a file in a folder that exists and may be written to; choose another place")


def verify(
    subject: str | Path | Sequence[Layer] | Run | None = None,
    *,
    claims: Sequence[str | registry.Claim] = ("*",),
    seed: int = 0,
    out: Path | None = None,
    each: Callable[[Row], None] = lambda row: None,
    stage: Stage = silent_stage,
) -> pd.DataFrame:
    """Check claims on layers; one row for each claim and layer: holds, violated, not applicable and why, or failed.

    Parameters
    ----------
    subject : layers, a run or its directory, "embedded", or None for synthetic families
    claims : names, patterns such as ``quip.*``, or claims
    seed : of everything that is drawn
    out : file to write, .parquet or .csv; for a run directory by default ``verification.parquet`` in it
    each : called with every row as soon as it is there
    stage : shows progress

    Raises
    ------
    UsageError, CorruptFile, OutputError
    """
    patterns = [claim for claim in claims if isinstance(claim, str)]
    chosen = [claim for claim in claims if not isinstance(claim, str)]
    chosen += choose_claims(patterns) if patterns or not chosen else []
    if out is not None:
        _check_writable(out)
    rows: list[Row] = []

    def add(verdict: registry.ClaimResult) -> None:
        rows.append(verdict.to_row())
        each(rows[-1])

    # many small products: more threads than one were seen to wait for each other more than they work
    with _layers(subject, seed, stage) as layers, stage("Verify", "") as progress, threadpool_limits(1):
        if out is None and isinstance(subject, str | Path) and subject != EMBEDDED:
            out = Path(subject) / VERDICTS
            _check_writable(out)
        for verdict in registry.verify(layers, claims=chosen, seed=seed):
            add(verdict)
            progress(len(rows), len(layers) * len(chosen))
    for verdict in registry.verify_counterexample(chosen) if subject is None else ():
        add(verdict)
    table = pd.DataFrame(rows)
    if out is not None:
        with atomic_path(out) as scratch:
            if out.suffix == ".csv":
                table.to_csv(scratch, index=False)
            else:
                table.to_parquet(scratch, index=False)
    return table
