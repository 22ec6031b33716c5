"""The calibration tokens of a run whose layers are quantized one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from rdtools.errors import UsageError
from rdtools.jobs.calibration import CalibrationRequest, read_tokens
from rdtools.model.tokens import Tokens
from rdtools.runs.saved import HessianKind, is_saved
from rdtools.runs.store import open_run


def sequential_tokens(path: Path, hessians: str, calibration: Any) -> Tokens | None:
    """Tokens that layers are quantized with one after the other; None where the moments are the original's.

    Raises
    ------
    UsageError
        If the path is of a saved model, or tokens are given that nothing is quantized with.
    """
    if hessians not in get_args(HessianKind):
        raise UsageError(f"`hessians` {hessians!r}: expected one of {', '.join(get_args(HessianKind))}")
    if hessians == "original":
        if calibration is not None:
            raise UsageError("`calibration`: only for `hessians` sequential; the moments of the original model are in the run")
        return None
    if is_saved(path):
        raise UsageError(f"{path}: a saved model, whose layers are quantized already; leave `hessians` and `calibration` out")
    run = open_run(path)
    request = calibration if isinstance(calibration, CalibrationRequest) else CalibrationRequest(tokens=calibration)
    return read_tokens(request, None, run.checkpoint(), trust_remote_code=run.manifest.calibration.trust_remote_code)[0]
