"""Slopes of a model's divergence on the distortion of each layer: one layer quantized at a time, on calibration tokens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import pandas as pd

from rdtools.errors import RdtoolsError
from rdtools.files import atomic_path
from rdtools.jobs.evaluation import ROUND
from rdtools.jobs.settings import Stage
from rdtools.methods import format_method
from rdtools.quantizers import Quantizer
from rdtools.runs.journal import JournalWriter, Record, read_journals
from rdtools.runs.numbers import NUMBERS_VERSION
from rdtools.runs.store import Run
from rdtools.sweep.plan import settings_of

if TYPE_CHECKING:
    from rdtools.evaluation.windows import Windows  # which loads torch

#: Folder of the finished layers in a run directory, and the table that is made of them.
FOLDER, CSV = "slopes", "slopes.csv"


def kl_slopes(
    run: Run,
    quantizers: Mapping[str, Quantizer],
    windows: Windows,
    *,
    seed: int,
    device: str,
    say: Callable[[str], None],
    stage: Stage,
) -> dict[str, float]:
    """``k_l = KL_l/(D_l/D₀_l)``, KL_l that of the model with layer l alone quantized.

    To first order in D the KL of a model whose errors are small and independent is ``Σ k_l D_l/D₀_l``. Finished layers are kept in the run;
    ``slopes.csv`` has all of them with 95 % bootstrap intervals of KL_l over sequences.

    Parameters
    ----------
    run : with its Hessians
    quantizers : method and rate by layer
    windows : of tokens that are not those of a test
    seed : of the run's rotations and of the bootstrap
    device : torch device for the forward passes
    say, stage : as of a job

    Raises
    ------
    NotByBlocks
        If the model does not run block by block.
    RdtoolsError
        If a layer failed; the message names it.
    """
    folder = run.path / FOLDER
    scored = hashlib.sha256(windows.ids.tobytes() + windows.clusters.tobytes()).hexdigest()
    of_run = [[file.sha256 for file in run.manifest.model.files.values()], [entry.sha256 for entry in run.hessians]]

    def key(name: str) -> str:
        quantizer = quantizers[name]
        parts = [NUMBERS_VERSION, of_run, name, settings_of(quantizer), float(quantizer.rate_bits), scored, windows.ids.shape, seed]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    keys = {name: key(name) for name in quantizers}
    done = read_journals(folder).records
    todo = [name for name in quantizers if keys[name] not in done]
    if todo:
        folder.mkdir(exist_ok=True)
        writer = JournalWriter(folder)
        try:
            with stage("Quantize one layer at a time", "layers") as progress:
                _measure(run, [(name, quantizers[name]) for name in todo], windows, seed, device, say, writer, keys, progress)
        finally:
            writer.close()
    records = read_journals(folder).records
    with atomic_path(run.path / CSV) as csv:
        pd.DataFrame([record.value for record in records.values()]).to_csv(csv, index=False)
    return {name: float(records[key].value["slope_nats"]) for name, key in keys.items()}


def _measure(
    run: Run,
    todo: list[tuple[str, Quantizer]],
    windows: Windows,
    seed: int,
    device: str,
    say: Callable[[str], None],
    writer: JournalWriter,
    keys: Mapping[str, str],
    progress: Callable[[float, float], None],
) -> None:
    """Layers in rounds, each of which reads the tokens once for the original and for every layer in it."""
    from rdtools.evaluation.contest import Contender, contest
    from rdtools.evaluation.layers import QuantizedLayers
    from rdtools.evaluation.rows import model_scores
    from rdtools.model.opened import open_model

    model = run.manifest.model
    trusted = run.manifest.calibration.trust_remote_code
    opened = open_model(run.checkpoint(), trust_remote_code=trusted, device=device, head=model.head_analysed, say=say)
    stages = opened.staged(run.checkpoint(), "evaluated")
    for first in range(0, len(todo), ROUND):
        some = todo[first : first + ROUND]
        layers = [QuantizedLayers(run, {name: quantizer}, seed=seed) for name, quantizer in some]
        contenders = [Contender(stages, opened.layers.inputs, of_contender) for of_contender in layers]
        all_scores = contest(stages, contenders, windows, folder=run.path)
        for (name, quantizer), of_contender, contender, scores in zip(some, layers, contenders, all_scores, strict=True):
            if scores is None:
                raise RdtoolsError(f"{name}: {contender.failure}; its slope cannot be measured") from contender.failure
            kl, distortion = model_scores(scores, windows, seed=seed), of_contender.points[name].relative_distortion
            value = {
                "layer": name,
                "method": format_method(quantizer),
                "target_bpw": float(quantizer.rate_bits),
                "relative_distortion": distortion,
                "kl_nats": kl.kl_nats,
                "kl_low": kl.kl_low,
                "kl_high": kl.kl_high,
                "slope_nats": kl.kl_nats / distortion,
                "tokens": windows.source,
                "scored_tokens": windows.scored,
            }
            writer.append(Record(keys[name], "evaluation", value))
        progress(first + len(some), len(todo))
