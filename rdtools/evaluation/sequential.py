"""The layers of a run quantized one after the other, each from the inputs that it has in the model quantized so far."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

from rdtools.arrays import Float64Array
from rdtools.coding import MAX_WEIGHTS, decode_all
from rdtools.coding.reconstruct import effective_layer
from rdtools.compare.activations import ActivationInputs
from rdtools.corrections.target import DAMPING, CorrectedInput
from rdtools.evaluation.layers import GivenLayer, LayerFailed, MeasuredLayers, is_in
from rdtools.files import write_atomically
from rdtools.model.activations import Sample, check_dropped
from rdtools.model.beside import check_comparable
from rdtools.model.capture import Progress, Sums, memory_parts
from rdtools.model.inputs import SharedInput
from rdtools.model.opened import OpenModel
from rdtools.model.products import Block
from rdtools.model.replaced import replaced_layers
from rdtools.model.sequential import Step, sequential_steps
from rdtools.model.tokens import Tokens
from rdtools.moments.activations import ActivationAccumulator
from rdtools.moments.layer import Layer
from rdtools.moments.paired import PairedAccumulator
from rdtools.quantizers import ActivationQuantizer, Quantizer, quantizes_activations
from rdtools.records import ActivationMoments, EffectiveLayer, Hessian, LayerKey
from rdtools.runs.run_manifest import LayerEntry
from rdtools.runs.store import Run
from rdtools.sweep.activations import activation_key
from rdtools.threads import one_blas_thread


class SequentialLayers(MeasuredLayers):
    """Effective layers by block, from `quantize`, for `rdtools.evaluation.contest.Contender`; layers outside the blocks stay as they are.

    An input's moments, E[x xᵀ] as those of its rounding, are over the x that reaches it when all layers before it run as they were decoded,
    with their activations quantized and their low-rank terms. The target is the original weight: errors of earlier layers are in x, and are
    not made up for; with the correction "drift" it is the one whose outputs on this x are those of the original on its own, see
    `rdtools.corrections.target`, for quantized activations and low-rank terms as for weights alone: what x does not say of the original's
    is next to uncorrelated with its rounding. Distortions are beside these inputs and against this target.

    Parameters
    ----------
    run, quantizers, seed, together : as of `rdtools.evaluation.layers.MeasuredLayers`
    corrections : "drift" or none
    """

    def __init__(self, run: Run, quantizers: Mapping[str, Quantizer], *, corrections: Collection[str] = (), **settings: Any) -> None:
        super().__init__(run, quantizers, **settings)
        self._corrections = corrections

    #: File of each layer, and its place there.
    _kept: Mapping[str, tuple[Path, int]] = {}

    def quantize(self, opened: OpenModel, tokens: Tokens, folder: Path, progress: Progress = lambda done, total: None) -> None:
        """Quantize all layers in the decoder blocks, and keep their coded files.

        Parameters
        ----------
        opened : the original, in stages
        tokens : that moments are taken over
        folder : for the files; they are needed until the last block was asked for
        progress : called with (steps done, steps in all)

        Raises
        ------
        LayerFailed
            If a layer cannot be quantized.
        BadTokens, BadActivations, NotByBlocks, ModelUnreadable, OutputError
        """
        stages = opened.stages
        assert stages is not None
        entries = {entry.name: entry for entry in self._run.layers if entry.name in self._quantizers}
        inputs = [item for item in opened.layers.inputs if any(layer.name in entries for layer in item.layers)]
        paths: dict[str, tuple[Path, int]] = {}
        effective: dict[str, EffectiveLayer] = {}

        def placed(step: Sequence[SharedInput]) -> AbstractContextManager[None]:
            layers = {layer.name: effective.pop(layer.name) for item in step for layer in item.layers if layer.name in entries}
            return replaced_layers(stages.model, stages.places, step, layers)

        original = None
        if self._corrections:
            check_comparable(inputs)
            original = stages.twin()
        for step in sequential_steps(stages, inputs, tokens, placed=placed, original=original, folder=folder, progress=progress):
            for part in memory_parts(step.inputs):
                given_layers = self._moments(step, part, entries)
                for together in self._files(entries[layer.name] for item in part for layer in item.layers if layer.name in entries):
                    files = self._coded(together, lambda entry, given_layers=given_layers: given_layers[entry.name])  # type: ignore[misc]
                    for entry, file in zip(together, files, strict=True):
                        path = folder / f"{len(paths) - file.index:06}.rdq"
                        if file.index == 0:
                            write_atomically(path, file.data)
                        paths[entry.name], effective[entry.name] = (path, file.index), self._effective(entry, file)
        self._kept = paths

    def __call__(self, number: int | None) -> Mapping[str, EffectiveLayer]:
        """Layers of a block, by name, decoded from their files."""
        of_block = {name: address for name, address in self._kept.items() if is_in(name, number)}
        files = {path: decode_all(path.read_bytes(), name=str(path), max_weights=MAX_WEIGHTS) for path, _ in of_block.values()}
        return {name: effective_layer(files[path][address]) for name, (path, address) in of_block.items()}

    def _moments(self, step: Step, part: Sequence[SharedInput], entries: Mapping[str, LayerEntry]) -> dict[str, GivenLayer]:
        """Layers of some inputs of a step by name, with the moments of their inputs."""
        by_block = {item.blocks[0]: item.name for item in part}
        names = {item.name: [layer.name for layer in item.layers if layer.name in entries] for item in part}
        asking = {
            name: [q for q in (self._quantizers[of] for of in of_input) if quantizes_activations(q)] for name, of_input in names.items()
        }
        samples = {
            item.name: Sample(item.columns, seed=self._seed, name=item.name)
            for item in part
            if any(quantizer.needs_sample for quantizer in asking[item.name])
        }
        layers, hessians = (self._beside if self._corrections else self._alone)(step, part, names, entries, samples)
        errors: dict[tuple[str, Any], ActivationAccumulator] = {}
        for name, quantizers in asking.items():
            of_input = [layers[of] for of in names[name]]
            for quantizer in quantizers:
                key = name, activation_key(quantizer, 0, seed=self._seed)
                if key not in errors:
                    errors[key] = self._chosen(quantizer, of_input, None if name not in samples else _rows(name, samples[name]))
        moments = self._errors(step, by_block, errors, hessians)

        def given_layer(of: str, name: str) -> GivenLayer:
            quantizer = self._quantizers[of]
            if not quantizes_activations(quantizer):
                return layers[of], None, None
            return layers[of], ActivationInputs(moments[name, activation_key(quantizer, 0, seed=self._seed)]), None

        return {of: given_layer(of, name) for name, of_input in names.items() for of in of_input}

    def _alone(
        self,
        step: Step,
        part: Sequence[SharedInput],
        names: Mapping[str, Sequence[str]],
        entries: Mapping[str, LayerEntry],
        samples: Mapping[str, Sample],
    ) -> tuple[dict[str, Layer], dict[str, Hessian]]:
        """Layers by name under the moments of their inputs, and these by input; some of the rows fill the samples."""
        by_block, sums = {item.blocks[0]: item.name for item in part}, Sums(part)

        def see(block: Block, x: torch.Tensor) -> None:
            sums.see(block, x)
            if by_block.get(block) in samples:
                samples[by_block[block]].add(x.float().cpu().numpy())

        step.look(see)
        hessians = {item.name: sums.finish(item, step.contexts) for item in part}
        layers = {of: Layer(*self._weight(entries[of]), hessians[name]) for name, of_input in names.items() for of in of_input}
        return layers, hessians

    def _beside(
        self,
        step: Step,
        part: Sequence[SharedInput],
        names: Mapping[str, Sequence[str]],
        entries: Mapping[str, LayerEntry],
        samples: Mapping[str, Sample],
    ) -> tuple[dict[str, Layer], dict[str, Hessian]]:
        """The same with the weights that make up for drift."""
        layers: dict[str, Layer] = {}
        hessians: dict[str, Hessian] = {}
        for item in part:
            sums = PairedAccumulator(item.columns)
            for x, actual in step.look_beside(item.blocks[0]):
                sums.add(x, actual)
                if item.name in samples:
                    samples[item.name].add(actual)
            check_dropped(item.name, sums.kept, sums.dropped)
            moments, of_input = sums.finish(name=item.name, distinct=step.contexts), names[item.name]
            damping = self._quantizers[of_input[0]].damping
            corrected = CorrectedInput(moments, self._corrections, DAMPING if damping is None else damping)
            hessians[item.name] = corrected.hessian
            layers |= {of: corrected.layer(*self._weight(entries[of])) for of in of_input}
        return layers, hessians

    def _weight(self, entry: LayerEntry) -> tuple[LayerKey, Float64Array]:
        return self._run.key(entry), self._run.checkpoint().weight(entry.captured)

    def _chosen(self, quantizer: ActivationQuantizer, layers: Sequence[Layer], sample: Float64Array | None) -> ActivationAccumulator:
        """Sums that are empty yet, behind the map and on the grid that a method chooses for an input."""
        try:
            with one_blas_thread():  # else their number decides about last bits, and those about a map
                chain = quantizer.choose_map(layers, sample, seed=self._seed)
                return ActivationAccumulator(chain, quantizer.choose_grid(layers, sample, chain))
        except Exception as error:  # of this row alone
            raise LayerFailed(f"{layers[0].key.name}: {error}") from error

    def _errors(
        self,
        step: Step,
        by_block: Mapping[Block, str],
        errors: Mapping[tuple[str, Any], ActivationAccumulator],
        hessians: Mapping[str, Hessian],
    ) -> dict[tuple[str, Any], ActivationMoments]:
        """Moments of quantized activations, from a further look at the step."""

        def see(block: Block, x: torch.Tensor) -> None:
            sums_of_block = [sums for (name, _), sums in errors.items() if name == by_block.get(block)]
            rows = x.float().cpu().numpy() if sums_of_block else None
            for sums in sums_of_block:
                assert rows is not None
                sums.add(rows)

        if errors:
            step.look(see)
        return {key: sums.finish(hessians[key[0]].matrix, name=key[0]) for key, sums in errors.items()}


def _rows(name: str, sample: Sample) -> Float64Array:
    check_dropped(name, sample.seen - sample.dropped, sample.dropped)
    return sample.rows.astype("float64")
