"""The calibration pass as a notebook calls it: with a loaded model, ids in memory, and no directory if need be."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rdtools.errors import WrongType
from rdtools.files import sole_writer
from rdtools.jobs.calibration import CalibrationRequest, EvaluationRequest
from rdtools.jobs.calibration_pass import Progress
from rdtools.jobs.collect import collect as collect_run
from rdtools.jobs.progress import log_sentence, python_stage
from rdtools.jobs.show import ReportedRun, open_run
from rdtools.model.in_memory import save_model
from rdtools.runs.finished import check_run_directory


def collect(
    source: Any,
    tokens: Any = None,
    *,
    out: str | Path | None = None,
    evaluation: Any = None,
    trust_remote_code: bool = False,
    device: str = "cpu",
    head: bool = False,
    fresh: bool = False,
    say: Callable[[str], None] = log_sentence,
    progress: Progress | None = None,
) -> ReportedRun:
    """Capture every Hessian of a model, or open the run that is there if it is the same; see `rdtools.jobs.collect.collect`.

    Parameters
    ----------
    source : "embedded", a local directory, a hub id, or a loaded model of transformers, whose weights are saved in the folder ``model`` of
        the run, in the dtype that they have, and run in float32 like those of any other
    tokens : a `CalibrationRequest`, or ids in memory: an array or tensor (sequences, length), what a tokenizer answers, a data loader or a
        list of sequences; None for those of the embedded model
    out : run directory, new, empty or holding the same run, finished or not; None for a temporary one that is deleted with the answer
    evaluation : held-out data, an `EvaluationRequest` or ids in memory; None for none, or for those that the run has
    trust_remote_code, device, head, fresh : as there
    say : called with sentences about the data; by default they go to the log
    progress : called with (tokens done, tokens in all); by default a notebook shows a bar

    Raises
    ------
    WrongType
        If the model or the ids are nothing that can be one.
    UsageError, ModelUnreadable, CorruptFile, BadTokens, BadActivations, OutputError, ServiceUnavailable
    """
    if out is not None and not isinstance(out, str | Path):
        raise WrongType(f"collect: out {out!r}, expected the path of a run directory, such as 'runs/mine', or None for a temporary one")
    request = tokens if isinstance(tokens, CalibrationRequest) else CalibrationRequest(tokens=tokens)
    held = evaluation if evaluation is None or isinstance(evaluation, EvaluationRequest) else EvaluationRequest(tokens=evaluation)
    folder = Path(tempfile.mkdtemp(prefix="rdtools-")) if out is None else Path(out)
    try:
        check_run_directory(folder)
        with sole_writer(folder), python_stage("Hessians") as shown:
            model = str(source) if isinstance(source, str | Path) else str(save_model(source, folder).directory)
            collect_run(
                model,
                request,
                out=folder,
                evaluation=held,
                trust_remote_code=trust_remote_code,
                device=device,
                head=head,
                fresh=fresh,
                say=say,
                progress=progress or shown,
            )
        run = open_run(folder)
    except BaseException:
        if out is None:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    if out is None:
        weakref.finalize(run, shutil.rmtree, folder, ignore_errors=True)
    return run
