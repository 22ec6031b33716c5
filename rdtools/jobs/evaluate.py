"""Perplexity of quantized models, and their divergence from the original, on held-out tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rdtools.errors import UsageError
from rdtools.files import atomic_path, sole_writer
from rdtools.jobs.arguments import method_names, path_of, target_rates
from rdtools.jobs.calibration import EvaluationRequest
from rdtools.jobs.evaluation import EvaluationJob
from rdtools.jobs.held_out import held_out_windows
from rdtools.jobs.progress import log_sentence, python_stage
from rdtools.jobs.saved_subject import subject_of_saved
from rdtools.jobs.sequential import Sequential, sequential_request
from rdtools.jobs.settings import Stage
from rdtools.jobs.subjects import RowRequest, Subject, subject_of_run
from rdtools.records.evaluation_row import EVALUATION_COLUMNS
from rdtools.runs.journal import JournalWriter, Record, encoded, read_journals
from rdtools.runs.saved import HessianKind, is_saved
from rdtools.seeds import check_seed

if TYPE_CHECKING:
    from rdtools.evaluation.stored import StoredReference
    from rdtools.evaluation.windows import Windows

#: Folder of the finished rows, and the tables that are made of them.
FOLDER, PARQUET, CSV = "evaluation", "evaluation.parquet", "evaluation.csv"


def evaluate(
    path: str | Path,
    *,
    methods: str | Sequence[str] | None = None,
    rates: float | Sequence[float] | None = None,
    allocations: str | Path | Sequence[str | Path] = (),
    hessians: HessianKind = "original",
    calibration: Any = None,
    corrections: str | Sequence[str] = (),
    damping: float | None = None,
    seed: int = 0,
    evaluation: Any = None,
    documents: str | None = None,
    window: int | None = None,
    windows: int | None = None,
    noise: bool = True,
    reference: str | Path | None = None,
    top: int | None = None,
    device: str = "cpu",
    fresh: bool = False,
    say: Callable[[str], None] = log_sentence,
    stage: Stage = python_stage,
) -> pd.DataFrame:
    """Compare quantized models with the original on held-out tokens: a row for each method and rate of a run, or for a saved model.

    A saved model, of `rdtools.jobs.quantize.quantize_model`, is loaded from its files. Layers of a run are quantized again as those of its
    rows were, which gives the same integers, and run in float32; or, with `hessians`, one after the other, each from the inputs that it has
    in the model quantized so far, activations included. Rows are kept as they are finished, and the same call goes on after an
    interrupt; ``evaluation.parquet`` and ``evaluation.csv`` have all rows ever made there. `rdtools columns` describes the columns.

    Parameters
    ----------
    path : of a run with its Hessians, or of a saved model
    methods, rates : names and bits per weight, one or several; None for those that the run's reports were asked for
    allocations : plan files of `rdtools.allocate`, one or several, a row for each in place of methods and rates
    hessians : "original" for moments of the original model, which are those of the run; "sequential" for those of the partly quantized one
    calibration : for the latter the tokens of the run, or a `CalibrationRequest`; None for those of the embedded model
    corrections : "drift", for the latter, to ask of layers for the outputs of the original, ``W x``, and not for those on the inputs that
        they have, ``W x̂``; distortions are then against that target's linear part in x̂, the only one that weights can reach
    damping : of methods that are named here or in a plan, where their names have none
    seed : of the run's rotations, of the noise and of the bootstrap
    evaluation : held-out tokens, an `EvaluationRequest` or ids in memory; None for those of the embedded model
    documents : what separates documents in the evaluation's text, over which intervals are then; None for intervals over windows
    window : tokens in a window; None for the longest that the model and the tokens have, at most 2048
    windows : at most so many, evenly spaced; None for all
    noise : add a row of the model with noise of bfloat16's rounding size in the weights of the same layers
    reference : file of the original's predictions by their most probable tokens, written if it is not there, so that the original need not
        run again for other methods or saved models; None to compare with whole predictions. All other tokens count as one, so that KL is a
        lower bound and acceptance an upper one
    top : tokens that are told apart in a new file; None for 1024
    device : torch device for the forward passes
    fresh : make rows anew that are there
    say : called with sentences about what goes on
    stage : shows progress

    Returns
    -------
    DataFrame
        The rows that were asked for, in order; those that failed have a message.

    Raises
    ------
    WrongType
        For an argument of another type.
    UsageError
        If there is nothing to evaluate, or the tokens are those of the calibration.
    BadTokens
        If the tokens do not fit the model, or have no window.
    BadActivations
        If the original's logits are not finite.
    NotByBlocks
        If the model does not run block by block.
    UnknownMethod, CorruptFile, ModelUnreadable, OutputError, Busy
    """
    subject_path, seed = path_of("evaluate", path, "a run or of a quantized model, such as 'rdtools-report'"), check_seed(seed)
    names = None if methods is None else method_names("evaluate", methods)
    plans = [path_of("evaluate", plan, "a plan") for plan in ([allocations] if isinstance(allocations, str | Path) else allocations)]
    if plans and (names is not None or rates is not None):
        raise UsageError("`allocations` say the method and rate of every layer; leave `methods` and `rates` out")
    sequential = sequential_request(subject_path, hessians, calibration, corrections)
    subject = _subject(
        subject_path, names, None if rates is None else target_rates("evaluate", "rates", rates), plans, damping, seed, sequential
    )
    cut = held_out_windows(
        subject.checkpoint,
        evaluation if isinstance(evaluation, EvaluationRequest) else EvaluationRequest(tokens=evaluation),
        calibration=subject.calibration,
        trust_remote_code=subject.trust_remote_code,
        documents=documents,
        window=window,
        windows=windows,
    )
    if cut.left_out:
        say(f"{cut.source}: {cut.left_out} tokens at the ends of sequences fill no window of {cut.length}")
    stored = _stored(subject, cut, reference, top, device)
    job = EvaluationJob(subject.with_noise(seed=seed) if noise else subject, cut, seed, device, say, stored)
    with sole_writer(subject.folder):
        subject.check()
        folder = subject.folder / FOLDER
        keys = [job.key(request) for request in job.subject.requests]
        done = {key: record.value for key, record in read_journals(folder).records.items() if not (record.failed or fresh)}
        todo = [request for request, key in zip(job.subject.requests, keys, strict=True) if key not in done]
        again = _expecting(job.subject.requests, keys, done)
        if todo or again:
            writer = JournalWriter(folder)
            try:
                for key, value in again.items():
                    writer.append(Record(key, "evaluation", value))
                if todo:
                    with stage("Evaluate", "models") as progress:
                        for request, row in job.rows(todo, progress):
                            writer.append(Record(job.key(request), "evaluation", row.to_row()))
                    if stored is not None:
                        say(stored.sentence())
            finally:
                writer.close()
        if not (todo or stored is None or stored.known):
            say(f"{stored.path}: not written: all rows are there, and the original did not run; `fresh` makes them and the file anew")
        records = read_journals(folder).records
        _write(_table([record.value for record in records.values()]), subject.folder)
    return _table([records[key].value for key in keys])


def _stored(subject: Subject, windows: Windows, reference: str | Path | None, top: int | None, device: str) -> StoredReference | None:
    from rdtools.evaluation.stored import stored_reference
    from rdtools.model.pretrained import model_limits

    if reference is None:
        if top is not None:
            raise UsageError("`top`: of a file of predictions, and none is given as `reference`; give one, or leave it out")
        return None
    facts = {
        "model": dict(subject.files),
        "tokens": hashlib.sha256(windows.ids.tobytes()).hexdigest(),
        "protocol": windows.protocol,
        "number format": "float32",
        "device": device,
    }
    limits = model_limits(subject.checkpoint, trust_remote_code=subject.trust_remote_code)
    file = path_of("evaluate", reference, "a file of predictions")
    return stored_reference(file, facts, tokens=windows.scored, top=top, vocabulary=limits.vocabulary)


def _expecting(requests: Sequence[RowRequest], keys: Sequence[str], done: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Finished rows of plans that expect something else now: what was measured stays."""
    expectations = {}
    for one, key in zip(requests, keys, strict=True):
        if key in done and one.allocation is not None:
            value = done[key] | one.allocation.expectations
            if encoded(value) != encoded(done[key]):
                expectations[key] = value
    return expectations


def _subject(
    path: Path,
    methods: Sequence[str] | None,
    rates: Sequence[float] | None,
    plans: Sequence[Path],
    damping: float | None,
    seed: int,
    sequential: Sequential | None,
) -> Subject:
    if not is_saved(path):
        return subject_of_run(path, methods=methods, rates=rates, damping=damping, seed=seed, allocations=plans, ahead=sequential)
    if methods is not None or rates is not None or damping is not None or plans:
        raise UsageError(
            f"{path}: a saved model, which has one method and rate, or a plan; leave `methods`, `rates`, `allocations` and `damping` out"
        )
    return subject_of_saved(path)


def _table(rows: Sequence[dict[str, object]]) -> pd.DataFrame:
    names = [column.name for column in EVALUATION_COLUMNS]
    return pd.DataFrame([{name: row.get(name, np.nan) for name in names} for row in rows], columns=names)


def _write(table: pd.DataFrame, folder: Path) -> None:
    with atomic_path(folder / PARQUET) as parquet, atomic_path(folder / CSV) as csv:
        table.to_parquet(parquet, index=False, write_page_checksum=True)
        table.to_csv(csv, index=False)
