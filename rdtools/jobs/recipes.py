"""The quantizer of every layer of a model: one for all of them, or those of a plan."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rdtools.errors import RateUnreachable, UsageError
from rdtools.methods import format_method, infeasible_reason, parse_method
from rdtools.quantizers import Quantizer, quantizes_activations, shares_file
from rdtools.runs.allocations import Allocation, read_allocation
from rdtools.sweep.plan import settings_of


@dataclass(frozen=True, eq=False)
class Recipe:
    """Quantizers of a whole model.

    Attributes
    ----------
    quantizer : of every layer; None where a plan has them
    by_layer : those of a plan
    allocation, plan_path : the plan and its file
    """

    quantizer: Quantizer | None = None
    by_layer: Mapping[str, Quantizer] | None = None
    allocation: Allocation | None = None
    plan_path: Path | None = None

    @property
    def quantizers(self) -> list[Quantizer]:
        """All of them, each once."""
        several = [self.of("")] if self.by_layer is None else self.by_layer.values()
        return list({(settings_of(quantizer), quantizer.rate_bits): quantizer for quantizer in several}.values())

    def of(self, layer: str) -> Quantizer:
        """The quantizer of a layer."""
        quantizer = self.quantizer if self.by_layer is None else self.by_layer[layer]
        assert quantizer is not None
        return quantizer

    def check(self, layers: Sequence[str], files: Mapping[str, str]) -> None:
        """Refuse a plan that is not of these layers and files.

        Raises
        ------
        UsageError
        """
        if self.allocation is not None and self.plan_path is not None:
            self.allocation.check_layers(list(layers), dict(files), self.plan_path)

    @property
    def shares_file(self) -> bool:
        """True if layers of one input go into one file where that is smaller; those of a plan have files of their own."""
        return self.quantizer is not None and shares_file(self.quantizer)

    def has_bias(self, layer: str) -> bool:
        """True if a layer gets a bias per row beside its weights."""
        return bool(getattr(self.of(layer), "bias", False))

    @property
    def method(self) -> str:
        """Name in tables, several joined by ``&``."""
        return "&".join(self.allocation.methods) if self.quantizer is None and self.allocation else format_method(self.of(""))

    @property
    def rate_bits(self) -> float:
        """Target rate; of a plan its budget."""
        return self.allocation.bits if self.allocation is not None else float(self.of("").rate_bits)

    @property
    def settings(self) -> str:
        """Everything that decides the integers but the rate; of a plan, of all layers, and with their rates."""
        if self.by_layer is None:
            return settings_of(self.of(""))
        return json.dumps([[name, settings_of(q), float(q.rate_bits)] for name, q in sorted(self.by_layer.items())])


def quantizers_of(allocation: Allocation, damping: float | None) -> dict[str, Quantizer]:
    """Quantizers of a plan by layer.

    Raises
    ------
    UnknownMethod, UsageError, RateUnreachable
        If one cannot be, which the message names.
    """
    others = {} if damping is None else {"damping": damping}
    quantizers = {}
    for entry in allocation.layers:
        quantizer = quantizers[entry.layer] = parse_method(entry.method, entry.rate_bits, **others)
        reason = infeasible_reason(quantizer)
        if reason is not None:
            raise RateUnreachable(f"{entry.layer}: {reason}")
    return quantizers


def weight_recipe(method: str | None, bits: float | None, allocation: Path | None, damping: float | None) -> Recipe:
    """The recipe of a method and a rate, or of a plan; of weights alone.

    Raises
    ------
    UsageError
        If there is neither, or both, or activations are quantized, or the method is one for output heads.
    RateUnreachable, UnknownMethod, CorruptFile
    """
    if allocation is not None and (method is not None or bits is not None):
        raise UsageError("`allocation` says the method and rate of every layer; leave `method` and `bits` out")
    if allocation is not None:
        plan = read_allocation(allocation)
        recipe = Recipe(by_layer=quantizers_of(plan, damping), allocation=plan, plan_path=allocation)
    elif method is None or bits is None:
        missing = " and no ".join(word for word, value in (("`method`", method), ("`bits`", bits)) if value is None)
        raise UsageError(f"got no {missing}; give `method` and `bits`, or an `allocation`")
    else:
        recipe = Recipe(parse_method(method, bits, **({} if damping is None else {"damping": damping})))
        reason = infeasible_reason(recipe.of(""))
        if reason is not None:
            raise RateUnreachable(reason)
    for quantizer in recipe.quantizers:
        if quantizes_activations(quantizer):
            raise UsageError(
                f"{format_method(quantizer)}: quantizes activations, which no checkpoint of weights can hold; rdtools eval runs it from "
                "a run"
            )
        if quantizer.heads_alone:
            raise UsageError(
                f"{format_method(quantizer)}: has steps of its own for output heads alone, which are not quantized here, and is watersic "
                "elsewhere; give watersic"
            )
    return recipe
