"""Biases of the layers of a model while it is quantized and saved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.model.checkpoint import Checkpoint
from rdtools.model.layer_names import CapturedLayer
from rdtools.records import QuantizedWeight
from rdtools.runs.saved import SavedLayer, decoded_bias

if TYPE_CHECKING:
    from rdtools.model.inputs import SharedInput  # which load torch
    from rdtools.model.opened import OpenModel


@dataclass(frozen=True, eq=False)
class ModelBiases:
    """Places of the biases of quantized layers; a method without any has none to put anywhere.

    Attributes
    ----------
    checkpoint : the original
    there : whether the method has any, on some layer
    settings : of the configuration, in place of its own, so that these have a bias
    """

    checkpoint: Checkpoint
    there: bool
    settings: dict[str, bool]

    @classmethod
    def of(cls, checkpoint: Checkpoint, opened: OpenModel, inputs: Sequence[SharedInput], has_bias: Callable[[str], bool]) -> ModelBiases:
        """Refuse a model that cannot hold those of the layers that have one, before any work.

        Raises
        ------
        UsageError
        """
        from rdtools.model.biases import bias_settings

        layers = [layer for item in inputs for layer in item.running]
        needed = {layer.name for layer in layers if has_bias(layer.name)}
        return cls(checkpoint, bool(needed), bias_settings(opened.model, layers, needed))

    def _decoded(self, folder: Path, entries: Sequence[SavedLayer]) -> dict[str, Float64Array]:
        biases = {entry.layer.name: decoded_bias(folder, entry) for entry in entries} if self.there else {}
        return {name: bias for name, bias in biases.items() if bias is not None}

    def running(self, folder: Path, entries: Sequence[SavedLayer]) -> dict[str, Float64Array]:
        """Vectors that the saved model will add to the outputs of layers, by their names."""
        from rdtools.model.biases import stored_bias

        of = {entry.layer.name: entry.layer.captured for entry in entries}
        return {name: stored_bias(self.checkpoint, of[name], bias) for name, bias in self._decoded(folder, entries).items()}

    def tensors(self, folder: Path, entries: Sequence[SavedLayer]) -> dict[str, Any]:
        """Tensors of biases for the saved model's files, by name; of zeros where the settings ask for one that the method has not."""
        from rdtools.model.biases import checkpoint_biases

        captured = [entry.layer.captured for entry in entries]
        alone = [layer for layer in captured if layer.rows is None] if self.settings else []
        zeros = {layer.name: np.zeros(layer.shape[0]) for layer in alone}
        return checkpoint_biases(self.checkpoint, zeros | self._decoded(folder, entries), captured)

    def beside(self, layer: CapturedLayer, weight: QuantizedWeight) -> Float64Array | None:
        """The vector that the saved model will add to the outputs of a layer; None for nothing."""
        from rdtools.model.biases import stored_bias

        return None if weight.parts.bias is None else stored_bias(self.checkpoint, layer, weight.parts.bias.values)
