"""The base of methods that quantize activations: their grid, the map before it, and the moments that they ask for.

A method says by `map_key` which map it wants for an input, and chooses it by `choose_map`; its error on the tokens is then summed once per
(input, map, grid, token set), see `rdtools.moments.activations`, and handed to `quantize` as `ActivationMoments`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeGuard

from rdtools.arrays import Float64Array
from rdtools.errors import UsageError
from rdtools.moments.layer import Layer
from rdtools.quantizers.base import Quantizer, SettledQuantizer, Solution
from rdtools.quantizers.preparation import Preparation
from rdtools.quantizers.problem import Problem, draw_basis
from rdtools.records import ActivationGrid, ActivationMoments, InputMap
from rdtools.transforms.basis_map import input_map_of_basis
from rdtools.transforms.links.fields import same_map


def basis_map(layer: Layer, preparation: Preparation, *, seed: int) -> InputMap:
    """The map of the basis that a preparation draws for a layer: the same for all layers of one input, as the drawing is by its name."""
    return input_map_of_basis(draw_basis(layer, preparation, seed=seed))


@dataclass(frozen=True, kw_only=True)
class ActivationQuantizer(SettledQuantizer):
    """A method that quantizes activations beside weights.

    Attributes
    ----------
    activation_bits : b of the grid of a token; None leaves activations alone
    activation_grid : "symmetric" or "asymmetric", see `ActivationGrid`
    activation_clip : clipping ratio; 0.9 is QuaRot's
    activation_group : channels that share a step; 0 for all
    """

    activation_bits: int | None = 4
    activation_grid: Literal["symmetric", "asymmetric"] = "symmetric"
    activation_clip: float = 0.9
    activation_group: int = 0

    #: True if `choose_map` looks at a sample of activations.
    needs_sample: ClassVar[bool] = False

    @property
    def activation(self) -> ActivationGrid | None:
        """Grid of the activations that the layer runs with; None where they are left alone."""
        if self.activation_bits is None:
            return None
        return ActivationGrid(self.activation_bits, self.activation_grid == "symmetric", self.activation_clip, self.activation_group)

    @abstractmethod
    def map_key(self, *, seed: int) -> str:
        """Everything of the settings and the seed that decides the map of an input; equal keys share moments."""

    @abstractmethod
    def choose_map(self, layers: Sequence[Layer], sample: Float64Array | None, *, seed: int) -> InputMap:
        """The map T of an input.

        Parameters
        ----------
        layers : all layers that read it
        sample : (tokens, n) activations, for a method that needs them; else None
        seed : of the run
        """

    @abstractmethod
    def input_map_of(self, problem: Problem) -> InputMap:
        """The map from the inputs of a layer to what a prepared problem quantizes, for comparison with that of the moments."""

    def check_activations(self, problem: Problem, activations: ActivationMoments | None) -> None:
        """Refuse moments that are missing, or not those of this method on this layer; raises UsageError."""
        name, grid = problem.key.name, self.activation
        if grid is None:
            super().check_activations(problem, activations)
            return
        if activations is None:
            raise UsageError(
                f"{name}: no moments of activations quantized by {grid}, which {type(self).__name__} needs; expected `activations`: "
                "rdtools.moments.activations sums them over tokens, and rdtools report does it for a model"
            )
        if activations.grid != grid:
            raise UsageError(f"{name}: moments of activations quantized by {activations.grid}, expected {grid}; sum them for this method")
        if not same_map(activations.input_map, self.input_map_of(problem)):
            raise UsageError(
                f"{name}: moments of activations behind {activations.input_map!r}, expected {self.input_map_of(problem)!r} of this seed; "
                "likely of another seed, rotation or input"
            )

    def answer(self, problem: Problem, activations: ActivationMoments | None) -> Solution:
        """Quantize a prepared layer, beside the moments of its activations where these are quantized; raises UsageError."""
        self.check_activations(problem, activations)
        return self.solve(problem) if activations is None else self.solve_beside(problem, activations)

    @abstractmethod
    def solve_beside(self, problem: Problem, activations: ActivationMoments) -> Solution:
        """Quantize a prepared layer whose activations are quantized."""


def quantizes_activations(quantizer: Quantizer) -> TypeGuard[ActivationQuantizer]:
    """True for a method with a grid for activations, which needs the moments of their errors."""
    return isinstance(quantizer, ActivationQuantizer) and quantizer.activation is not None
