"""A whole model quantized, block by block, and saved as a checkpoint beside the coded files that it was decoded from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from rdtools.arrays import Float64Array
from rdtools.coding import reconstruct
from rdtools.devices import check_device
from rdtools.errors import NotByBlocks, RateUnreachable, UsageError, naming
from rdtools.files import atomic_path, sha256_of_file, sole_writer
from rdtools.jobs.arguments import method_names, path_of
from rdtools.jobs.calibration import CalibrationRequest, padding_notes, read_tokens
from rdtools.jobs.progress import log_sentence, python_stage
from rdtools.jobs.settings import Stage
from rdtools.machine import check_disk
from rdtools.measure import coded, measure, weighted_error
from rdtools.methods import format_method, infeasible_reason, parse_method
from rdtools.model.checkpoint import Checkpoint, find_model
from rdtools.model.layer_names import block_index, layer_type
from rdtools.model.repetition import sampling_notes
from rdtools.model.tokens import Tokens
from rdtools.moments.layer import Layer
from rdtools.quantizers import Quantizer, quantizes_activations, shares_file
from rdtools.records import Hessian, LayerKey
from rdtools.records.stored import round_to_stored
from rdtools.runs.finished import different
from rdtools.runs.numbers import NUMBERS_VERSION
from rdtools.runs.run_manifest import CalibrationEntry, FileEntry, LayerEntry, ModelEntry, describe_model
from rdtools.runs.saved import (
    LAYERS,
    HessianKind,
    SavedLayer,
    SavedModel,
    check_saved,
    decoded_weight,
    identity_of,
    is_saved,
    layer_table,
    read_saved,
    write_saved,
)
from rdtools.runs.unfinished import UnfinishedModel
from rdtools.seeds import check_seed
from rdtools.sweep.plan import settings_of

if TYPE_CHECKING:
    from rdtools.model.inputs import SharedInput  # which loads torch
    from rdtools.model.opened import OpenModel


def quantize_model(
    model: str | Path,
    method: str,
    bits: float,
    save: str | Path,
    *,
    hessians: HessianKind = "sequential",
    damping: float | None = None,
    seed: int = 0,
    calibration: Any = None,
    device: str = "cpu",
    say: Callable[[str], None] = log_sentence,
    stage: Stage = python_stage,
) -> SavedModel:
    """Quantize the layers in the decoder blocks of a model, and save it as a checkpoint that plain transformers loads.

    Layers are quantized in the order in which the model reads them: q, k and v, then o, gate and up, down. Each is coded, decoded again and
    rounded to bfloat16; the model goes on with these weights, and these are in the checkpoint. The coded files stand beside it. All is
    made in ``SAVE.unfinished`` and renamed at the end; the same call after an interrupt decodes the layers that are finished and goes on.

    Parameters
    ----------
    model : "embedded", a local directory or a hub id
    method, bits : name and rate; of a method that leaves activations alone
    save : directory that is made
    hessians : of the inputs of the original model, or of the model whose earlier layers are quantized
    damping : of the quantizer, where the name has none
    seed : rotations are drawn from it
    calibration : tokens, a `CalibrationRequest` or ids in memory; None for those of the embedded model
    device : torch device for the forward passes
    say : called with sentences about what goes on
    stage : shows progress

    Returns
    -------
    SavedModel
        As it is in ``quantization.json``.

    Raises
    ------
    WrongType
        For an argument of another type.
    UsageError
        If the directory holds something else, or an unfinished model is of other settings; if the method quantizes activations.
    RateUnreachable
        If a layer cannot have the rate.
    NotByBlocks
        If the model does not run block by block.
    UnknownMethod, BadTokens, BadActivations, ModelUnreadable, CorruptFile, OutputError, Busy
    """
    path_of("quantize_model", model, "a model, or 'embedded', or the id of a hub")
    source, save = str(model), path_of("quantize_model", save, "a directory that is made, such as 'quantized'")
    (name,), seed = method_names("quantize_model", [method]), check_seed(seed)
    quantizer = parse_method(name, bits, **({} if damping is None else {"damping": damping}))
    if quantizes_activations(quantizer):
        raise UsageError(f"{method}: quantizes activations, which no checkpoint of weights can hold; rdtools eval runs it from a run")
    reason = infeasible_reason(quantizer)
    if reason is not None:
        raise RateUnreachable(reason)
    if hessians not in get_args(HessianKind):
        raise UsageError(f"`hessians` {hessians!r}: expected one of {', '.join(get_args(HessianKind))}")
    check_device(device)
    checkpoint = find_model(source)
    request = calibration if isinstance(calibration, CalibrationRequest) else CalibrationRequest(tokens=calibration)
    tokens, _ = read_tokens(request, None, checkpoint, trust_remote_code=False)
    for sentence in padding_notes(tokens):
        say(sentence)
    job = _Job(checkpoint, describe_model(checkpoint, source=source), tokens, quantizer, save, hessians, seed, device, say)
    if save.exists():
        if not is_saved(save):
            raise UsageError(f"{save}: exists and is no quantized model of rdtools; choose another directory for `save`")
        job.check_same(found := read_saved(save), save)
        check_saved(save, found)
        return found
    work = UnfinishedModel(save)
    with sole_writer(work.folder):
        if is_saved(work.folder):
            saved = read_saved(work.folder)  # by a process that was killed just before the renaming
            job.check_same(saved, work.folder)
        else:
            work.begin(job.identity)
            with stage("Quantize", "") as progress:
                saved = job.make(work, progress)
    work.publish()
    return saved


@dataclass(frozen=True, eq=False)
class _Job:
    """A model, its calibration tokens, a quantizer, and where the result goes; attributes as of `quantize_model`."""

    checkpoint: Checkpoint
    original: ModelEntry
    tokens: Tokens
    quantizer: Quantizer
    save: Path
    hessians: HessianKind
    seed: int
    device: str
    say: Callable[[str], None]

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that decides the result."""
        return identity_of(
            numbers=NUMBERS_VERSION,
            original=self.original,
            token_sha256=self.tokens.sha256,
            settings=settings_of(self.quantizer),
            rate_bits=float(self.quantizer.rate_bits),
            hessians=self.hessians,
            seed=self.seed,
        )

    def check_same(self, saved: SavedModel, place: Path) -> None:
        """Refuse a quantized model that is another one; the message names the difference."""
        names = different(saved.identity, self.identity)
        if names:
            raise UsageError(f"{place}: holds a quantized model with other {' and '.join(names)}; choose another directory for `save`")

    def make(self, work: UnfinishedModel, progress: Callable[[float, float], None]) -> SavedModel:
        """All layers, then the checkpoint."""
        from rdtools.model.opened import open_model
        from rdtools.model.save import save_checkpoint
        from rdtools.model.versions import versions

        opened = open_model(self.checkpoint, device=self.device, say=self.say)
        if opened.stages is None:
            raise NotByBlocks(f"{self.checkpoint.directory}: {opened.runner}; only a model that runs block by block is quantized")
        inputs = [item for item in opened.layers.inputs if opened.stages.number_of(item.blocks[0].parameter) is not None]
        for sentence in sampling_notes(self.tokens, [item.columns for item in inputs]):
            self.say(sentence)
        check_disk(work.folder, sum(path.stat().st_size for path in self.checkpoint.shards), "the checkpoint of a quantized model")
        done, numbers = work.finished(), {item.name: number for number, item in enumerate(inputs)}
        for item, hessian, replaced in self._moments(opened, inputs, done, work.folder, progress):
            left = [layer for layer in item.layers if layer.name not in done]
            parts = [list(item.layers)] if left and shares_file(self.quantizer) else [[layer] for layer in left]
            for part in parts:
                entries = [LayerEntry.of(layer, numbers[item.name]) for layer in part]
                self._quantize(work, entries, hessian, done)  # type: ignore[arg-type]  # there is one where layers are left
            if replaced is not None:
                replaced |= {layer.name: decoded_weight(work.folder, done[layer.name]) for layer in item.layers}
        layers = [done[layer.name] for item in inputs for layer in item.layers]
        files = save_checkpoint(
            self.checkpoint,
            work.folder,
            [entry.layer.captured for entry in layers],
            lambda name: decoded_weight(work.folder, done[name]),
        )
        tied = getattr(opened.model.config.get_text_config(), "tie_word_embeddings", False)
        saved = SavedModel(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            versions=versions(),
            numbers=NUMBERS_VERSION,
            original=self.original.model_copy(update={"head": opened.layers.head, "head_parameters": opened.layers.head_parameters}),
            calibration=CalibrationEntry(
                source=self.tokens.source,
                sequences=self.tokens.ids.shape[0],
                length=self.tokens.ids.shape[1],
                padding=int((~self.tokens.mask).sum()),
                padding_from=self.tokens.padding_from,
                token_sha256=self.tokens.sha256,
                trust_remote_code=False,
                device=self.device,
                runner=opened.runner,
            ),
            method=format_method(self.quantizer),
            settings=settings_of(self.quantizer),
            rate_bits=float(self.quantizer.rate_bits),
            seed=self.seed,
            hessians=self.hessians,
            head="not quantized" + (", one matrix with the embedding as in the original" if tied else ""),
            layers=layers,
            files={path.name: FileEntry(bytes=path.stat().st_size, sha256=sha256_of_file(path)) for path in files},
        )
        with atomic_path(work.folder / LAYERS) as csv:
            layer_table(saved).to_csv(csv, index=False)
        write_saved(work.folder, saved)
        return saved

    def _moments(
        self,
        opened: OpenModel,
        inputs: list[SharedInput],
        done: dict[str, SavedLayer],
        folder: Path,
        progress: Callable[[float, float], None],
    ) -> Iterator[tuple[SharedInput, Hessian | None, dict[str, Float64Array] | None]]:
        """Inputs with their moments, None where the layers are finished, and where the new weights are to be put, None for nowhere."""
        from rdtools.model.capture import capture
        from rdtools.model.sequential import capture_sequentially

        def is_done(item: SharedInput) -> bool:
            return all(layer.name in done for layer in item.layers)

        replaced: dict[str, Float64Array] = {}
        if self.hessians == "sequential":
            run = capture_sequentially(
                opened.stages,  # type: ignore[arg-type]  # checked in make
                inputs,
                self.tokens,
                replaced=replaced,
                done=is_done,
                folder=folder,
                progress=progress,
            )
            for item, hessian in run:
                yield item, hessian, replaced
            return
        left = [item for item in inputs if not is_done(item)]
        for item, hessian in capture(opened.model, left, self.tokens, stages=opened.stages, folder=folder, progress=progress):
            yield item, hessian, None

    def _quantize(self, work: UnfinishedModel, entries: list[LayerEntry], hessian: Hessian, done: dict[str, SavedLayer]) -> None:
        """Layers quantized, coded together and durable, and among those that are done."""
        started, answers = time.perf_counter(), []
        for entry in entries:
            key = LayerKey(self.original.name, entry.name, layer_type(entry.name), block_index(entry.name))
            with naming((layer := Layer(key, self.checkpoint.weight(entry.captured), hessian)).key.name):
                answers.append((layer, self.quantizer.quantize(layer, seed=self.seed)))
        files = coded([answer.weight for _, answer in answers], [entry.name for entry in entries])
        first = len(done.keys() - {entry.name for entry in entries})
        for number, (entry, (layer, quantized), file) in enumerate(zip(entries, answers, files, strict=True), start=first):
            with naming(entry.name):
                point = measure(layer, quantized, file=file)
                rounded = round_to_stored(reconstruct(quantized.weight), "bfloat16", name=entry.name)
            after, energy = weighted_error(layer.weight, rounded, hessian.matrix).mean, layer.statistics.energy
            done[entry.name] = SavedLayer(
                layer=entry,
                **work.write_container(number - file.place, file.data),
                place=file.place,
                container_layers=file.layers,
                total_bpw=point.total_bpw,
                distortion=point.distortion,
                relative_distortion=point.relative_distortion,
                rounded_distortion=after,
                rounded_relative_distortion=after / energy if energy > 0 else math.nan,
                damping=quantized.damping,
                n_tokens=hessian.n_tokens,
                seconds=(time.perf_counter() - started) / len(entries),
            )
            work.add(done[entry.name])
