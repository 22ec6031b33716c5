"""The layers of a finished run, quantized again as its rows were, coded, decoded and measured, block by block."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

import numpy as np

from rdtools.coding import effective_layer
from rdtools.compare.activations import SCOPE, ActivationInputs
from rdtools.errors import RdtoolsError
from rdtools.evaluation.noise import rounding_noise
from rdtools.measure import measure
from rdtools.measure.point import CodedWeight, coded
from rdtools.model.checkpoint import Checkpoint
from rdtools.model.layer_names import CapturedLayer, block_index
from rdtools.moments.heldout import HeldoutMoment
from rdtools.moments.layer import Layer
from rdtools.quantizers import Quantizer, shares_file
from rdtools.records import EffectiveLayer, RDPoint
from rdtools.records.evaluation_row import LayerSums
from rdtools.runs.run_manifest import LayerEntry
from rdtools.runs.store import Run
from rdtools.sweep.activations import ActivationMemory

#: A layer with what its quantizer and its measurement are given: moments of its activations, and its held-out moment.
GivenLayer = tuple[Layer, ActivationInputs | None, HeldoutMoment | None]


class LayerFailed(RdtoolsError, RuntimeError):
    """A layer that could not be quantized; the message names it."""


def is_in(name: str, number: int | None) -> bool:
    """True for a layer of a block; with None for one outside the blocks."""
    return block_index(name) == (-1 if number is None else number)


class MeasuredLayers:
    """Layers of a run that are quantized, coded, decoded and measured on the way.

    Attributes
    ----------
    points : of the layers quantized so far, by name

    Parameters
    ----------
    run : of which the layers are
    quantizers : method and rate by name of a layer; layers without stay the original's
    seed : of the run
    together : put layers of one input into one file where a method that all layers have does
    """

    def __init__(self, run: Run, quantizers: Mapping[str, Quantizer], *, seed: int, together: bool = False) -> None:
        self._run, self._quantizers, self._seed, self._together = run, quantizers, seed, together
        self.points: dict[str, RDPoint] = {}
        self._weights = {entry.name: math.prod(entry.shape) for entry in run.layers}
        self._bits: Counter[float] = Counter()
        self._online: dict[int, str] = {}

    def _files(self, entries: Iterable[LayerEntry]) -> list[list[LayerEntry]]:
        """Layers that are quantized, those together that may be in one file."""
        files: dict[Hashable, list[LayerEntry]] = {}
        for entry in entries:
            if entry.name in self._quantizers:
                together = self._together and shares_file(self._quantizers[entry.name])
                files.setdefault(entry.hessian if together else entry.name, []).append(entry)
        return list(files.values())

    def _coded(self, entries: Sequence[LayerEntry], layer_of: Callable[[LayerEntry], GivenLayer]) -> list[CodedWeight]:
        """Layers that may be in one file, each as its decoder has it.

        Raises
        ------
        LayerFailed
            If one cannot be quantized.
        """
        answers, name = [], ""
        try:
            for entry in entries:
                name = entry.name
                layer, inputs, heldout = layer_of(entry)
                moments = None if inputs is None else inputs.calibration
                answers.append((layer, inputs, heldout, self._quantizers[name].quantize(layer, seed=self._seed, activations=moments)))
            files = coded([quantized.weight for *_, quantized in answers], [entry.name for entry in entries])
            for entry, (layer, inputs, heldout, quantized), file in zip(entries, answers, files, strict=True):
                name = entry.name
                self.points[name] = measure(
                    layer,
                    quantized,
                    heldout,
                    file=file,
                    moments=None if inputs is None else inputs.calibration.moments,
                    heldout_moments=None if inputs is None or inputs.heldout is None else inputs.heldout.moments,
                )
        except Exception as error:  # of this row alone
            reason = str(error) or type(error).__name__
            raise LayerFailed(reason if reason.startswith(name) else f"{name}: {reason}") from error
        return files

    def _effective(self, entry: LayerEntry, file: CodedWeight) -> EffectiveLayer:
        """The layer that a file decodes to, whose activations are noted."""
        effective = effective_layer(file.weight)
        self._bits[math.nan if effective.activation is None else effective.activation.bits] += 1
        if effective.activation is not None:
            self._online[entry.hessian] = " · ".join(type(link).__name__ for link in effective.input_map.links)
        return effective

    @property
    def sums(self) -> LayerSums:
        """Columns about the layers quantized so far."""
        maps = Counter(self._online.values())
        weights = np.array([self._weights[name] for name in self.points], dtype=np.float64)
        points, bits = list(self.points.values()), next(iter(self._bits), math.nan)
        return LayerSums(
            layers=len(points),
            weights=int(weights.sum()),
            total_bpw=float(np.average([point.total_bpw for point in points], weights=weights)) if points else math.nan,
            summed_distortion=float(np.dot(weights, [point.distortion for point in points])),
            summed_relative_distortion=float(sum(point.relative_distortion for point in points)),
            summed_heldout_distortion=float(sum(point.heldout_distortion for point in points)),
            activation_bits=bits,
            activation_scope=None if math.isnan(bits) else SCOPE,
            online_maps="; ".join(f"{links or 'none'}: {count} inputs" for links, count in sorted(maps.items())) or None,
        )


class QuantizedLayers(MeasuredLayers):
    """Effective layers of a run by block, for `rdtools.evaluation.contest.Contender`; the same to the bit as those behind the run's rows.

    Every layer is coded and its file decoded again before it is used. Only the layers of one block are in memory. The run has moments of
    activations where a method quantizes these.
    """

    def __call__(self, number: int | None) -> Mapping[str, EffectiveLayer]:
        """Layers of a block, by name.

        Raises
        ------
        LayerFailed
            If one cannot be quantized.
        """
        files = self._files(entry for entry in self._run.layers if is_in(entry.name, number))
        return {
            entry.name: self._effective(entry, file)
            for some in files
            for entry, file in zip(some, self._coded(some, self._given), strict=True)
        }

    def _given(self, entry: LayerEntry) -> GivenLayer:
        inputs = ActivationMemory(self._run, entry.hessian).read(self._quantizers[entry.name], seed=self._seed)
        return self._run[entry.name], inputs, self._run.heldout(entry.hessian)


class NoisyLayers:
    """Layers of a model with noise of bfloat16's rounding size in their weights.

    Parameters
    ----------
    checkpoint : the model's files
    layers : as they stand in the files
    seed : of the noise
    """

    def __init__(self, checkpoint: Checkpoint, layers: Sequence[CapturedLayer], *, seed: int) -> None:
        self._checkpoint, self._layers, self._seed = checkpoint, layers, seed

    def __call__(self, number: int | None) -> Mapping[str, EffectiveLayer]:
        """Layers of a block, by name."""
        layers = [layer for layer in self._layers if is_in(layer.name, number)]
        return {layer.name: rounding_noise(self._checkpoint.weight(layer), layer.name, seed=self._seed) for layer in layers}

    @property
    def sums(self) -> LayerSums:
        """Their number and their weights."""
        return LayerSums(len(self._layers), sum(math.prod(layer.shape) for layer in self._layers))
