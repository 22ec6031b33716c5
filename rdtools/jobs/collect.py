"""From a model and calibration data to a run directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rdtools.errors import UsageError
from rdtools.jobs.calibration import CalibrationRequest, EvaluationRequest, check_held_out, padding_notes, read_tokens
from rdtools.jobs.calibration_pass import CalibrationPass, Progress
from rdtools.jobs.progress import log_sentence
from rdtools.model.checkpoint import Checkpoint, find_model
from rdtools.runs.finished import check_run_directory
from rdtools.runs.run_manifest import IMPORTED, MERGED, describe_model, is_run
from rdtools.runs.store import Run, open_run


def collect(
    source: str,
    request: CalibrationRequest,
    *,
    out: Path,
    evaluation: EvaluationRequest | None = None,
    trust_remote_code: bool = False,
    device: str = "cpu",
    head: bool = False,
    fresh: bool = False,
    say: Callable[[str], None] = log_sentence,
    progress: Progress = lambda done, total: None,
) -> Run:
    """Capture every Hessian of a model into a run directory, or open the run that is there if it is the same.

    Every Hessian is durable once it is finished. A capture that fails or is interrupted keeps those, and the same call computes the
    others; the finished run is the same as if nothing had happened. A run that is there already is used again even if it was captured
    on another device or with other libraries; `Run.notes` then says so. Files of it that are missing are captured again. Held-out
    moments are captured after the Hessians, in the same way, and are added to a run that has none.

    Parameters
    ----------
    source : "embedded", a local directory or a hub id
    request : calibration data
    out : run directory, new, empty or holding the same run, finished or not
    evaluation : held-out data; None for none, or for those that the run has
    trust_remote_code : run code that comes with the model; off unless asked for, and kept in the manifest
    device : torch device for the forward passes
    head : analyse the output head, too
    fresh : replace held-out moments of other evaluation tokens, rather than refuse
    say : called with sentences about the data, before anything is captured
    progress : called with (tokens done, tokens in all)

    Raises
    ------
    UsageError
        If `out` holds something else, a run of another model or calibration, or the beginning of one with another device or other
        versions (the message names the difference).
    ModelUnreadable, CorruptFile, BadTokens, BadActivations, OutputError, ServiceUnavailable
    """
    check_run_directory(out)
    checkpoint = find_model(source, with_code=trust_remote_code)
    if is_run(out) and (existing := _without_tokens(out, checkpoint, request, evaluation)) is not None:
        return existing
    tokens, heldout = read_tokens(request, evaluation, checkpoint, trust_remote_code=trust_remote_code)
    if heldout is not None:
        check_held_out(heldout, tokens, say)
    job = CalibrationPass(
        out=out,
        checkpoint=checkpoint,
        model=describe_model(checkpoint, source=source).model_copy(update={"head_analysed": head}),
        tokens=tokens,
        trust_remote_code=trust_remote_code,
        device=device,
        fresh=fresh,
        say=say,
        progress=progress,
    )
    for sentence in [*checkpoint.notes, *(note for of in (tokens, heldout) if of is not None for note in padding_notes(of))]:
        say(sentence)
    run = job.reused(heldout) if is_run(out) else job.captured()
    return run if heldout is None or run.manifest.heldout is not None else job.with_heldout(run, heldout)


def _without_tokens(out: Path, checkpoint: Checkpoint, request: CalibrationRequest, evaluation: EvaluationRequest | None) -> Run | None:
    """The run that is there, if its Hessians were imported or merged, so that it has no tokens to compare; else None.

    Raises
    ------
    UsageError
        If calibration data are given for it, or it is of another model.
    """
    run = open_run(out, checkpoint=checkpoint)
    runner = run.manifest.calibration.runner
    if runner not in (IMPORTED, MERGED):
        return None
    if request != CalibrationRequest() or evaluation not in (None, EvaluationRequest()):
        raise UsageError(
            f"{out}: its Hessians are {runner}, not captured; give neither `text` nor `tokens` nor held-out data, or another directory"
        )
    files = {name: entry.sha256 for name, entry in describe_model(checkpoint, source=run.manifest.model.source).files.items()}
    if files != {name: entry.sha256 for name, entry in run.manifest.model.files.items()}:
        raise UsageError(
            f"{out}: holds {runner} Hessians of another model, {run.model_name}; give that one as `model`, or another directory"
        )
    first = run.hessians[0]
    note = f"Hessians {runner}: {run.manifest.calibration.source}"
    if first.diagonal:
        note += (
            "; of each, the diagonal alone is known: D and R(D) leave correlations of inputs out, and feedback of errors has none to use"
        )
    return Run(out, run.manifest, checkpoint=checkpoint, notes=(note,))
