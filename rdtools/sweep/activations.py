"""The moments of quantized activations that a row needs, read from a run."""

from __future__ import annotations

from rdtools.compare import ActivationInputs
from rdtools.quantizers import ActivationQuantizer, Quantizer, quantizes_activations
from rdtools.runs.activations import ActivationKey, TokenSet, read_activations
from rdtools.runs.store import Run


def activation_key(quantizer: ActivationQuantizer, hessian: int, *, seed: int, tokens: TokenSet = "calibration") -> ActivationKey:
    """The key of the moments that a method with a grid for activations needs for an input of a run."""
    grid = quantizer.activation
    assert grid is not None
    searched = "" if quantizer.activation_clip is not None else f", clipping ratio searched on the sample of seed {seed}"
    return ActivationKey(hessian, grid, quantizer.map_key(seed=seed) + searched, tokens)


class ActivationMemory:
    """Moments of the activations of one input of a run, those that were read last being kept for the layers that share them."""

    def __init__(self, run: Run, hessian: int) -> None:
        self._run, self._hessian = run, hessian
        self._last: tuple[ActivationKey, ActivationInputs] | None = None

    def read(self, quantizer: Quantizer, *, seed: int) -> ActivationInputs | None:
        """Moments that a method needs; None for one that leaves activations alone.

        Raises
        ------
        UsageError
            If the run lacks them; the message says which command makes them.
        CorruptFile
        """
        if not quantizes_activations(quantizer):
            return None
        key = activation_key(quantizer, self._hessian, seed=seed)
        if self._last is None or self._last[0] != key:
            self._last = None  # before the next one takes its memory
            moments = read_activations(self._run, key)
            assert moments is not None  # every input has calibration tokens
            heldout = read_activations(self._run, activation_key(quantizer, self._hessian, seed=seed, tokens="heldout"))
            self._last = key, ActivationInputs(moments, heldout)
        return self._last[1]
