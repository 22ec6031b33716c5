"""A whole model quantized, block by block, and saved as a checkpoint beside the coded files that it was decoded from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from rdtools.arrays import Float64Array
from rdtools.coding import reconstruct
from rdtools.corrections.table import check_corrections
from rdtools.devices import check_device
from rdtools.errors import UsageError, naming
from rdtools.files import atomic_path, sha256_of_file, sole_writer
from rdtools.jobs.arguments import method_names, path_of
from rdtools.jobs.biases import ModelBiases
from rdtools.jobs.calibration import CalibrationRequest, calibration_entry, padding_notes, read_tokens
from rdtools.jobs.corrected import Given, given_inputs, output_error, quantized_layer
from rdtools.jobs.progress import log_sentence, python_stage
from rdtools.jobs.recipes import Recipe, weight_recipe
from rdtools.jobs.settings import Stage
from rdtools.machine import check_disk
from rdtools.measure import coded, measure, weighted_error
from rdtools.measure.distortion import errors_of_matrix
from rdtools.model.checkpoint import Checkpoint, find_model
from rdtools.model.layer_names import layer_key
from rdtools.model.repetition import sampling_notes
from rdtools.model.tokens import Tokens
from rdtools.moments.layer import Layer
from rdtools.records.stored import round_to_stored
from rdtools.runs.finished import different
from rdtools.runs.numbers import NUMBERS_VERSION
from rdtools.runs.run_manifest import FileEntry, LayerEntry, ModelEntry, describe_model
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


def quantize_model(
    model: str | Path,
    method: str | None,
    bits: float | None,
    save: str | Path,
    *,
    allocation: str | Path | None = None,
    hessians: HessianKind = "sequential",
    corrections: str | Sequence[str] = (),
    damping: float | None = None,
    seed: int = 0,
    calibration: Any = None,
    trust_remote_code: bool = False,
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
    method, bits : name and rate; of a method that leaves activations alone; None for an allocation
    save : directory that is made
    allocation : plan file of `rdtools.allocate`, which has the method and the rate of every layer
    hessians : of the inputs of the original model, or of the model whose earlier layers are quantized
    corrections : names of `rdtools.corrections.table.CORRECTIONS`, or "all"
    damping : of the quantizer, where the name has none
    seed : rotations are drawn from it
    calibration : tokens, a `CalibrationRequest` or ids in memory; None for those of the embedded model
    trust_remote_code : run code that comes with the model
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
        If the directory holds something else or a model of other settings, activations are quantized, or the plan is of another model.
    RateUnreachable, NotByBlocks, UnknownMethod, BadTokens, BadActivations, ModelUnreadable, CorruptFile, OutputError, Busy
    """
    path_of("quantize_model", model, "a model, or 'embedded', or the id of a hub")
    source, save = str(model), path_of("quantize_model", save, "a directory that is made, such as 'quantized'")
    seed, plan = check_seed(seed), None if allocation is None else path_of("quantize_model", allocation, "a plan")
    name = None if method is None else method_names("quantize_model", [method])[0]
    recipe = weight_recipe(name, bits, plan, damping)
    if hessians not in get_args(HessianKind):
        raise UsageError(f"`hessians` {hessians!r}: expected one of {', '.join(get_args(HessianKind))}")
    names = check_corrections(corrections, hessians)
    if names and any(getattr(quantizer, "bias", False) for quantizer in recipe.quantizers):
        raise UsageError(f"{recipe.method}: a bias with `corrections` {names[0]}, which knows no mean of its target; leave one of them out")
    check_device(device)
    checkpoint = find_model(source, with_code=trust_remote_code)
    request = calibration if isinstance(calibration, CalibrationRequest) else CalibrationRequest(tokens=calibration)
    tokens, _ = read_tokens(request, None, checkpoint, trust_remote_code=trust_remote_code)
    for sentence in padding_notes(tokens):
        say(sentence)
    original = describe_model(checkpoint, source=source)
    job = _Job(checkpoint, original, tokens, recipe, save, hessians, names, seed, trust_remote_code, device, say)
    if save.exists():
        if not is_saved(save):
            raise UsageError(f"{save}: exists and is no quantized model of rdtools; choose another directory for `save`")
        job.check_same(existing := read_saved(save), save)
        check_saved(save, existing)
        return existing
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
    """A model, its calibration tokens, its quantizers, and where the result goes; attributes as of `quantize_model`."""

    checkpoint: Checkpoint
    original: ModelEntry
    tokens: Tokens
    recipe: Recipe
    save: Path
    hessians: HessianKind
    corrections: tuple[str, ...]
    seed: int
    trust_remote_code: bool
    device: str
    say: Callable[[str], None]

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that decides the result."""
        return identity_of(
            numbers=NUMBERS_VERSION,
            original=self.original,
            token_sha256=self.tokens.sha256,
            settings=self.recipe.settings,
            rate_bits=self.recipe.rate_bits,
            hessians=self.hessians,
            corrections=self.corrections,
            seed=self.seed,
        )

    def check_same(self, saved: SavedModel, path: Path) -> None:
        """Refuse a quantized model that is another one; the message names the difference."""
        names = different(saved.identity, self.identity)
        if names:
            raise UsageError(f"{path}: holds a quantized model with other {' and '.join(names)}; choose another directory for `save`")

    def make(self, work: UnfinishedModel, progress: Callable[[float, float], None]) -> SavedModel:
        """All layers, then the checkpoint."""
        from rdtools.model.opened import open_model
        from rdtools.model.save import save_checkpoint
        from rdtools.model.versions import versions

        opened = open_model(self.checkpoint, trust_remote_code=self.trust_remote_code, device=self.device, say=self.say)
        stages = opened.staged(self.checkpoint, "quantized")
        inputs = [item for item in opened.layers.inputs if stages.number_of(item.blocks[0].parameter) is not None]
        names = [layer.name for item in inputs for layer in item.layers]
        self.recipe.check(names, {name: file.sha256 for name, file in self.original.files.items()})
        for sentence in sampling_notes(self.tokens, [item.columns for item in inputs]):
            self.say(sentence)
        check_disk(work.folder, sum(path.stat().st_size for path in self.checkpoint.shards), "the checkpoint of a quantized model")
        done, numbers = work.finished(), {item.name: number for number, item in enumerate(inputs)}
        biases = ModelBiases.of(self.checkpoint, opened, inputs, self.recipe.has_bias)
        replaced, added = dict[str, Float64Array](), dict[str, Float64Array]()
        run = given_inputs(
            opened,
            inputs,
            self.tokens,
            hessians=self.hessians,
            corrections=self.corrections,
            quantizer=self.recipe.of,
            seed=self.seed,
            weights=lambda item: {layer_key(self.original.name, layer.name): self.checkpoint.weight(layer) for layer in item.layers},
            replaced=replaced,
            biases=added,
            done=lambda item: all(layer.name in done for layer in item.layers),
            folder=work.folder,
            progress=progress,
        )
        for item, captured in run:
            missing = [layer for layer in item.layers if layer.name not in done]
            parts = [list(item.layers)] if missing and self.recipe.shares_file else [[layer] for layer in missing]
            for part in parts:
                entries = [LayerEntry.of(layer, numbers[item.name]) for layer in part]
                self._quantize(work, entries, captured, done, biases)  # type: ignore[arg-type]  # there is one where layers are left
            if self.hessians == "sequential":
                replaced |= {layer.name: decoded_weight(work.folder, done[layer.name]) for layer in item.layers}
                added |= biases.running(work.folder, [done[layer.name] for layer in item.layers])
        layers = [done[layer.name] for item in inputs for layer in item.layers]
        files = save_checkpoint(
            self.checkpoint,
            work.folder,
            [entry.layer.captured for entry in layers],
            lambda name: decoded_weight(work.folder, done[name]),
            biases=biases.tensors(work.folder, layers),
            settings=biases.settings,
        )
        tied = getattr(opened.model.config.get_text_config(), "tie_word_embeddings", False)
        saved = SavedModel(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            versions=versions(),
            numbers=NUMBERS_VERSION,
            original=self.original.model_copy(update={"head": opened.layers.head, "head_parameters": opened.layers.head_parameters}),
            calibration=calibration_entry(self.tokens, trust_remote_code=self.trust_remote_code, device=self.device, runner=opened.runner),
            method=self.recipe.method,
            allocation=self.recipe.allocation,
            settings=self.recipe.settings,
            rate_bits=self.recipe.rate_bits,
            seed=self.seed,
            hessians=self.hessians,
            corrections=list(self.corrections),
            head="not quantized" + (", one matrix with the embedding as in the original" if tied else ""),
            layers=layers,
            files={path.name: FileEntry(bytes=path.stat().st_size, sha256=sha256_of_file(path)) for path in files},
        )
        with atomic_path(work.folder / LAYERS) as csv:
            layer_table(saved).to_csv(csv, index=False)
        write_saved(work.folder, saved)
        return saved

    def _quantize(
        self, work: UnfinishedModel, entries: list[LayerEntry], captured: Given, done: dict[str, SavedLayer], biases: ModelBiases
    ) -> None:
        """Layers quantized, coded together and durable, and among those that are done."""
        started, answers = time.perf_counter(), []
        for entry in entries:
            with naming(entry.name):
                layer = Layer(layer_key(self.original.name, entry.name), self.checkpoint.weight(entry.captured), captured.hessian)
                answers.append((layer, quantized_layer(captured.corrected, layer, self.recipe.of(entry.name), seed=self.seed)))
        files = coded([one.answer.weight for _, one in answers], [entry.name for entry in entries])
        first = len(done.keys() - {entry.name for entry in entries})
        together = (time.perf_counter() - started) / len(entries)
        for number, (entry, (layer, one), file) in enumerate(zip(entries, answers, files, strict=True), start=first):
            started = time.perf_counter()
            with naming(entry.name):
                point = measure(one.subject, one.answer, file=file)
                decoded = reconstruct(one.answer.weight)
                rounded = round_to_stored(decoded, "bfloat16", name=entry.name)
                added = biases.beside(entry.captured, one.answer.weight)
            moment, mean, energy = captured.hessian.matrix, captured.hessian.mean, layer.statistics.energy
            after = errors_of_matrix(layer.weight, rounded, moment, bias=added, mean=mean).distortion.mean
            before = weighted_error(layer.weight, decoded, moment).mean if captured.corrected else point.distortion
            outputs = (None, None) if captured.moments is None else output_error(layer.weight, rounded, captured.moments)
            done[entry.name] = SavedLayer(
                layer=entry,
                **work.write_container(number - file.index, file.data),
                place=file.index,
                container_layers=file.layers,
                total_bpw=point.total_bpw,
                distortion=before,
                relative_distortion=before / energy if energy > 0 else math.nan,
                rounded_distortion=after,
                rounded_relative_distortion=after / energy if energy > 0 else math.nan,
                damping=one.answer.damping,
                n_tokens=captured.hessian.n_tokens,
                seconds=together + time.perf_counter() - started,
                output_error=outputs[0],
                relative_output_error=outputs[1],
                rescaled=one.rescaled,
                mixture=None if captured.mixture is None else [captured.mixture.original, captured.mixture.unweighted],
            )
            work.add(done[entry.name])
