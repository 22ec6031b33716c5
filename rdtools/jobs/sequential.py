"""Layers of a run that are quantized one after the other: the run's calibration tokens, and the corrections that are on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from rdtools.corrections.table import check_corrections
from rdtools.errors import UsageError
from rdtools.jobs.calibration import CalibrationRequest, read_tokens
from rdtools.model.tokens import Tokens
from rdtools.runs.saved import HessianKind, is_saved
from rdtools.runs.store import open_run


@dataclass(frozen=True, eq=False)
class Sequential:
    """The way in which layers are quantized one after the other.

    Attributes
    ----------
    tokens : that moments are taken over
    corrections : names; "drift" or none
    """

    tokens: Tokens
    corrections: tuple[str, ...] = ()


def sequential_request(path: Path, hessians: str, calibration: Any, corrections: str | Sequence[str]) -> Sequential | None:
    """The inputs that layers are quantized with one after the other; None where the moments are the original's.

    Raises
    ------
    UsageError
        If the path is of a saved model, tokens are given that nothing is quantized with, or for corrections that rows cannot have.
    """
    if hessians not in get_args(HessianKind):
        raise UsageError(f"`hessians` {hessians!r}: expected one of {', '.join(get_args(HessianKind))}")
    names = check_corrections(corrections, hessians)
    other = next((name for name in names if name != "drift"), None)
    if other is not None:
        raise UsageError(f"`corrections` {other}: rows have drift or none; for others save the model first (rdtools quantize)")
    if hessians == "original":
        if calibration is not None:
            raise UsageError("`calibration`: only for `hessians` sequential; the moments of the original model are in the run")
        return None
    if is_saved(path):
        raise UsageError(f"{path}: a saved model, whose layers are quantized already; leave `hessians` and `calibration` out")
    run = open_run(path)
    request = calibration if isinstance(calibration, CalibrationRequest) else CalibrationRequest(tokens=calibration)
    tokens = read_tokens(request, None, run.checkpoint(), trust_remote_code=run.manifest.calibration.trust_remote_code)[0]
    return Sequential(tokens, names)
