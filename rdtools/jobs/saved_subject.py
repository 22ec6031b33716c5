"""A saved model, beside the original that it was made of."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rdtools.errors import ModelUnreadable
from rdtools.files import check_file
from rdtools.jobs.subjects import RowRequest, Subject, Summed
from rdtools.model.checkpoint import EMBEDDED, find_model, open_checkpoint
from rdtools.records.evaluation_row import LayerSums
from rdtools.runs.saved import check_saved, read_saved

if TYPE_CHECKING:
    from rdtools.evaluation.contest import Contender  # which load torch
    from rdtools.model.opened import OpenModel


@dataclass(frozen=True)
class _Known:
    """Columns that need no layer to be looked at."""

    sums: LayerSums


def subject_of_saved(path: Path) -> Subject:
    """The original of a saved model, and a row for the checkpoint as it is loaded from its files.

    Raises
    ------
    UsageError, CorruptFile, ModelUnreadable
        If the original is not where it was, or has other files.
    """
    saved = read_saved(path)
    original = saved.original
    try:
        checkpoint = find_model(EMBEDDED) if original.directory is None else open_checkpoint(Path(original.directory), name=original.name)
    except ModelUnreadable as error:
        raise ModelUnreadable(f"{error}; {path} is compared with the model that it was made of: put that back there") from error

    def check() -> None:
        check_saved(path, saved)
        for name, file in original.files.items():
            check_file(checkpoint.directory / name, size=file.bytes, sha256=file.sha256)

    def enter(opened: OpenModel, folder: Path, progress: Callable[[int, int], None]) -> tuple[Contender, Summed]:
        from rdtools.evaluation.contest import Contender
        from rdtools.model.stages import Stages

        assert opened.stages is not None
        sums = LayerSums(
            layers=len(saved.layers),
            weights=saved.weights,
            total_bpw=saved.total_bpw,
            summed_distortion=sum(entry.rounded_distortion * math.prod(entry.layer.shape) for entry in saved.layers),
            summed_relative_distortion=sum(entry.rounded_relative_distortion for entry in saved.layers),
        )
        return Contender(Stages(open_checkpoint(path), device=str(opened.stages.device)), ()), _Known(sums)

    return Subject(
        folder=path,
        name=original.name,
        checkpoint=checkpoint,
        files={name: file.sha256 for name, file in original.files.items()},
        layers=[entry.layer.captured for entry in saved.layers],
        head=False,
        trust_remote_code=False,
        calibration=saved.calibration,
        identity=[saved.identity, {name: file.sha256 for name, file in saved.files.items()}],
        requests=[
            RowRequest(
                saved.method, saved.rate_bits, saved.hessians, "saved", enter, saved.allocation, "+".join(saved.corrections) or "none"
            )
        ],
        check=check,
    )
