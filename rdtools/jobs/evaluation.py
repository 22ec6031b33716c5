"""Rows of models that are evaluated side by side, some in each pass over the tokens."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rdtools.jobs.subjects import RowRequest, Subject, Summed
from rdtools.records.evaluation_row import EvaluationRow, LayerSums
from rdtools.runs.numbers import NUMBERS_VERSION

if TYPE_CHECKING:
    from rdtools.evaluation.contest import Contender  # which load torch
    from rdtools.evaluation.stored import StoredReference
    from rdtools.evaluation.windows import Windows
    from rdtools.model.opened import OpenModel

#: Rows that are made in one pass over the tokens, beside the original: each has hidden states of its own.
ROUND = 6
#: Folder of coded files that a round needs while it lasts.
WORK = "evaluation.unfinished"


@dataclass(frozen=True, eq=False)
class EvaluationJob:
    """Rows that are asked for, with what they are scored on."""

    subject: Subject
    windows: Windows
    seed: int
    device: str
    say: Callable[[str], None]
    stored: StoredReference | None = None

    @property
    def protocol(self) -> str:
        """Name of what rows are comparable by."""
        return self.windows.protocol + ("" if self.stored is None else f", top {self.stored.top} of the original")

    def key(self, request: RowRequest) -> str:
        """Hash of everything that decides the numbers of a row."""
        scored = hashlib.sha256(self.windows.ids.tobytes() + self.windows.clusters.tobytes()).hexdigest()
        parts = [NUMBERS_VERSION, self.subject.identity, request.identity, scored, self.windows.ids.shape, self.seed]
        parts += [self.device] if self.device != "cpu" else []  # whose sums have other last digits
        parts += [] if self.stored is None else ["top", self.stored.top]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def rows(self, todo: Sequence[RowRequest], progress: Callable[[float, float], None]) -> Iterator[tuple[RowRequest, EvaluationRow]]:
        """Rows as they are finished, some in each pass."""
        opened = self._opened()
        rounds = [todo[first : first + ROUND] for first in range(0, len(todo), ROUND)]
        steps, before = len(todo) + len(rounds) + sum(request.ahead for request in todo), 0
        for some in rounds:
            began = before

            def tell(share: float, began: int = began) -> None:
                progress(began + share, steps)

            yield from zip(some, self._round(opened, some, tell), strict=True)
            before += len(some) + 1 + sum(request.ahead for request in some)

    def _round(self, opened: OpenModel, some: Sequence[RowRequest], tell: Callable[[float], None]) -> list[EvaluationRow]:
        from rdtools.evaluation.contest import contest
        from rdtools.evaluation.rows import model_scores
        from rdtools.model.fused import fused_text

        assert opened.stages is not None
        started, windows, work = time.perf_counter(), self.windows, self.subject.folder / WORK
        shutil.rmtree(work, ignore_errors=True)  # of a process that was killed
        entered: list[tuple[Contender, Summed]] = []
        steps_ahead = 0

        def step(before: int, done: int, total: int) -> None:
            tell(before + done / total)

        try:
            for number, request in enumerate(some):
                (folder := work / str(number)).mkdir(parents=True)
                entered.append(request.enter(opened, folder, functools.partial(step, steps_ahead)))
                steps_ahead += request.ahead
            contenders = [contender for contender, _ in entered]
            steps = len(some) + 1
            scores = contest(
                opened.stages,
                contenders,
                windows,
                stored=self.stored,
                folder=self.subject.folder,
                progress=lambda done, total: tell(steps_ahead + done * steps / total),
            )
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return [
            EvaluationRow(
                model=self.subject.name,
                method=request.method,
                target_bpw=request.target_bpw,
                status="ok" if token_scores is not None else "failed",
                seed=self.seed,
                hessians=request.hessians,
                corrections=request.corrections,
                protocol=self.protocol,
                fused=fused_text(self.subject.checkpoint.directory),
                evaluation=windows.source,
                windows=len(windows.ids),
                scored_tokens=windows.scored,
                clusters=len(np.unique(windows.token_clusters)),
                allocation=None if request.allocation is None else request.allocation.label,
                **({} if request.allocation is None else request.allocation.expectations),
                sums=layers.sums if token_scores is not None else self._unmeasured,
                scores=None if token_scores is None else model_scores(token_scores, windows, seed=self.seed),
                message="" if contender.failure is None else str(contender.failure) or type(contender.failure).__name__,
                wall_s=time.perf_counter() - started,
            )
            for request, (contender, layers), token_scores in zip(some, entered, scores, strict=True)
        ]

    @property
    def _unmeasured(self) -> LayerSums:
        layers = self.subject.layers
        return LayerSums(len(layers), sum(math.prod(layer.shape) for layer in layers))

    def _opened(self) -> OpenModel:
        from rdtools.model.opened import open_model

        subject = self.subject
        opened = open_model(
            subject.checkpoint, trust_remote_code=subject.trust_remote_code, device=self.device, head=subject.head, say=self.say
        )
        opened.staged(subject.checkpoint, "evaluated")
        return opened
