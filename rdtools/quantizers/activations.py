"""The base of methods that quantize activations: their grid, the map before it, and the moments that they ask for.

A method says by `map_key` which map it wants for an input, chooses it by `choose_map`, and its grid by `choose_grid`; its error on the
tokens is then summed once per
(input, map, grid, token set), see `rdtools.moments.activations`, and handed to `quantize` as `ActivationMoments`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, TypeGuard

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.errors import UsageError
from rdtools.linalg import as_float64
from rdtools.moments.layer import Layer
from rdtools.quantizers.base import Quantizer, SettledQuantizer, Solution
from rdtools.quantizers.preparation import Preparation
from rdtools.quantizers.problem import Problem, draw_basis
from rdtools.quantizers.settings import check_choice
from rdtools.records import ActivationGrid, ActivationMoments, InputMap
from rdtools.transforms.basis_map import input_map_of_basis
from rdtools.transforms.links.fields import same_map


def basis_map(layer: Layer, preparation: Preparation, *, seed: int) -> InputMap:
    """The map of the basis that a preparation draws for a layer: the same for all layers of one input, as the drawing is by its name."""
    return input_map_of_basis(draw_basis(layer, preparation, seed=seed))


def checked_sample(sample: Float64Array | None, layer: Layer, purpose: str) -> Float64Array:
    """The sample of activations that is there.

    Raises
    ------
    UsageError
        If there is none, or no token in it.
    NotFiniteInput
    """
    if sample is None or len(sample) == 0:
        raise UsageError(f"{layer.key.name}: no sample of activations, {purpose}; expected (tokens, n)")
    return as_float64(sample, name=f"{layer.key.name}: sample of activations")


@dataclass(frozen=True, kw_only=True)
class ActivationQuantizer(SettledQuantizer):
    """A method that quantizes activations beside weights.

    Attributes
    ----------
    activation_bits : b of the grid of a token; None leaves activations alone
    activation_grid : "symmetric" or "asymmetric", see `ActivationGrid`
    activation_clip : clipping ratio; 0.9 is QuaRot's. None to search, for each input, the one of least output error on a sample of tokens
    activation_group : channels that share a step; 0 for all
    """

    activation_bits: int | None = 4
    activation_grid: Literal["symmetric", "asymmetric"] = "symmetric"
    activation_clip: float | None = 0.9
    activation_group: int = 0

    #: True if the map of an input goes on behind that of the basis.
    extends_map: ClassVar[bool] = False
    #: Clipping ratios that are searched, and tokens of the sample that the search looks at.
    clips: ClassVar[tuple[float, ...]] = tuple(round(1 - 0.05 * step, 2) for step in range(11))
    clip_tokens: ClassVar[int] = 512

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("activation_grid", self.activation_grid, ("symmetric", "asymmetric"))
        _ = self.activation  # which refuses settings that cannot be

    @property
    def needs_sample(self) -> bool:
        """True if `choose_map` or `choose_grid` looks at a sample of activations."""
        return self.activation_clip is None

    @property
    def activation(self) -> ActivationGrid | None:
        """Grid of the activations that the layer runs with, not clipped where the ratio is searched; None where they are left alone."""
        if self.activation_bits is None:
            return None
        clip = 1.0 if self.activation_clip is None else self.activation_clip
        return ActivationGrid(self.activation_bits, self.activation_grid == "symmetric", clip, self.activation_group)

    def fits(self, grid: ActivationGrid) -> bool:
        """True for the grid of this method behind some map, with any clipping ratio where that is searched."""
        activation = self.activation
        same = replace(grid, fine_channels=0, fine_bits=ActivationGrid.fine_bits)
        return activation is not None and activation == (replace(same, clip=1.0) if self.activation_clip is None else same)

    def grid_behind(self, input_map: InputMap) -> ActivationGrid:
        """The grid behind a map, but for a clipping ratio that is searched."""
        grid = self.activation
        assert grid is not None
        return grid

    def choose_grid(self, layers: Sequence[Layer], sample: Float64Array | None, input_map: InputMap) -> ActivationGrid:
        """The grid Q of an input: that of the settings, its clipping ratio searched where they leave it open.

        The ratio is the one of `clips` with the least ``E‖W (T x − Q(T x))‖²`` on the sample, over the weights of all layers; the
        larger one of equals.

        Parameters
        ----------
        layers : all layers that read the input
        sample : (tokens, n) activations, for a search; else None
        input_map : T

        Raises
        ------
        UsageError
            If a sample is needed and there is none.
        """
        grid = self.grid_behind(input_map)
        if self.activation_clip is not None:
            return grid
        x = checked_sample(sample, layers[0], "which the clipping ratio is searched on")[: self.clip_tokens]
        mapped = input_map.apply(x)
        weight = input_map.weight(np.concatenate([layer.weight for layer in layers]))

        def lost(clip: float) -> float:
            error = mapped - replace(grid, clip=clip).quantize(mapped, input_map.shifts)
            return float(np.sum((error @ weight.T) ** 2))

        return replace(grid, clip=min(self.clips, key=lost))

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

    def input_map_of(self, problem: Problem) -> InputMap:
        """The map from the inputs of a layer to what a prepared problem quantizes, for comparison with that of the moments, which goes on
        behind it if the method `extends_map`.
        """
        return input_map_of_basis(problem.basis)

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
        if not self.fits(activations.grid):
            raise UsageError(f"{name}: moments of activations quantized by {activations.grid}, expected {grid}; sum them for this method")
        expected, stated = self.input_map_of(problem), activations.input_map
        start = InputMap(stated.links[: len(expected.links)], columns=stated.columns) if self.extends_map else stated
        if not same_map(start, expected) or self.grid_behind(stated).fine_channels != activations.grid.fine_channels:
            raise UsageError(
                f"{name}: moments of activations behind {stated!r}, expected {'a map that begins with ' if self.extends_map else ''}"
                f"{expected!r} of this seed; likely of another seed, rotation or input"
            )

    def answer(self, problem: Problem, activations: ActivationMoments | None) -> Solution:
        """Quantize a prepared layer, beside the moments of its activations where these are quantized; raises UsageError."""
        self.check_activations(problem, activations)
        return self.solve(problem) if activations is None else self.solve_beside(problem, activations)

    def solve(self, problem: Problem) -> Solution:
        """Quantize a prepared layer whose activations are left alone; a method that always quantizes them refuses, with UsageError."""
        self.check_activations(problem, None)
        raise AssertionError  # never, as the check refuses

    @abstractmethod
    def solve_beside(self, problem: Problem, activations: ActivationMoments) -> Solution:
        """Quantize a prepared layer whose activations are quantized."""


def heard_moment(moment: Float64Array) -> Float64Array:
    """A moment with next to no power in the place of none: channels that always round to zero keep their columns."""
    silent = np.diagonal(moment) == 0
    if not silent.any():
        return moment
    heard = moment.copy()
    heard[silent, silent] = 1e-8 * (float(np.mean(np.diagonal(moment))) or 1.0)
    return heard


def quantizes_activations(quantizer: Quantizer) -> TypeGuard[ActivationQuantizer]:
    """True for a method with a grid for activations, which needs the moments of their errors."""
    return isinstance(quantizer, ActivationQuantizer) and quantizer.activation is not None
