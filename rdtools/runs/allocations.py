"""A plan file: which method and rate each layer of a model gets, and what that is expected to do. JSON, which may be written by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rdtools.errors import CorruptFile, UsageError
from rdtools.files import write_atomically

#: How rates are shared out: the same target everywhere, or by least Σ of m n D, of D/D₀, or of measured slopes times D/D₀.
Rule = Literal["equal", "uniform", "relative", "kl"]
#: Where distortions come from: rows of the run, their prediction at finite rate, or R(D).
Source = Literal["measured", "predicted", "bound"]
#: Folder of the plans in a run directory.
ALLOCATIONS = "allocations"


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class AllocatedLayer(_Entry):
    """A layer's method and target rate.

    Attributes
    ----------
    layer, method, rate_bits : name, method and target in bits per weight; the others are expectations and may be left out
    weights : m n
    total_bpw : bits of its file over m n
    relative_distortion : D/D₀
    """

    layer: str
    method: str
    rate_bits: Annotated[float, Field(gt=0)]
    weights: Annotated[int, Field(ge=1)] | None = None
    total_bpw: float | None = None
    relative_distortion: float | None = None


class Allocation(_Entry):
    """A plan for all layers of a run.

    Attributes
    ----------
    model : name of the original
    files : SHA-256 of the model's files by name; empty for any model with these layers
    bits : the budget, total bits per weight over all layers
    rule, source : see `Rule` and `Source`; None in a plan that was written by hand
    checked : True if every layer was quantized and coded at its rate, so that `total_bpw` are sizes of files
    expected_kl_nats, expected_kl_low, expected_kl_high : KL by the power law through the run's evaluated rows, on Σ slope · D/D₀ where
        slopes were measured and on Σ D/D₀ else; None without at least three rows. The interval
        is for another row of one rate for all layers: without slopes it does not know which layers a plan takes bits from
    expected_kl_by_slopes_nats : Σ over layers of measured slope times D/D₀, None where slopes were not measured
    layers : each once
    """

    format: Literal["rdtools-allocation"] = "rdtools-allocation"
    version: Literal[1] = 1
    model: str
    files: dict[str, str] = {}
    bits: Annotated[float, Field(gt=0)]
    rule: Rule | None = None
    source: Source | None = None
    checked: bool = False
    expected_kl_nats: float | None = None
    expected_kl_low: float | None = None
    expected_kl_high: float | None = None
    expected_kl_by_slopes_nats: float | None = None
    layers: Annotated[list[AllocatedLayer], Field(min_length=1)]

    @model_validator(mode="after")
    def _once(self) -> Allocation:
        names = [entry.layer for entry in self.layers]
        if len(set(names)) < len(names):
            raise ValueError(f"{max(names, key=names.count)} is listed twice")
        return self

    @property
    def weights(self) -> int:
        """Weights in all layers; those of layers without a number are left out."""
        return sum(entry.weights or 0 for entry in self.layers)

    @property
    def total_bpw(self) -> float:
        """Expected bits of all files over all weights; nan where a layer does not say."""
        parts = [math.nan if e.total_bpw is None or e.weights is None else e.total_bpw * e.weights for e in self.layers]
        return sum(parts) / self.weights if self.weights else math.nan

    @property
    def summed_relative_distortion(self) -> float:
        """Expected Σ D/D₀; nan where a layer does not say."""
        return sum(math.nan if entry.relative_distortion is None else entry.relative_distortion for entry in self.layers)

    @property
    def methods(self) -> list[str]:
        """Methods of the layers, each once."""
        return sorted({entry.method for entry in self.layers})

    @property
    def label(self) -> str:
        """The way in which the rates were chosen, in tables."""
        return "by hand" if self.rule is None else f"{self.rule}, {self.source}"

    @property
    def expectations(self) -> dict[str, Any]:
        """Columns of an evaluated row that the plan fills."""
        names = ("expected_kl_nats", "expected_kl_low", "expected_kl_high", "expected_kl_by_slopes_nats")
        return {name: math.nan if getattr(self, name) is None else getattr(self, name) for name in names}

    def check_layers(self, names: list[str], files: dict[str, str], place: Path) -> None:
        """Refuse a plan of another model.

        Raises
        ------
        UsageError
            If files differ, or layers are missing or unknown.
        """
        other = next((name for name, sha256 in self.files.items() if files.get(name) != sha256), None)
        if other is not None:
            raise UsageError(f"{place}: made for another model {self.model}: {other} differs; make it again with rdtools allocate")
        mine = {entry.layer for entry in self.layers}
        for kind, some in (("has no rate for", set(names) - mine), ("has a rate for a layer that is not there,", mine - set(names))):
            if some:
                raise UsageError(f"{place}: {kind} {min(some)} ({len(some)} such layers); expected each of the {len(names)} layers once")


def read_allocation(path: Path) -> Allocation:
    """The plan in a file.

    Raises
    ------
    UsageError
        If there is no such file.
    CorruptFile
        If it is no plan.
    """
    if not path.is_file():
        raise UsageError(f"{path}: {'a directory' if path.is_dir() else 'no such file'}; expected a plan as rdtools allocate writes it")
    try:
        return Allocation.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise CorruptFile(f"{path}: no plan of rdtools: {where}: {first['msg']}; make it again with rdtools allocate") from error


def write_allocation(path: Path, allocation: Allocation) -> None:
    """Write a plan, whole or not at all.

    Raises
    ------
    OutputError
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(allocation.model_dump(), indent=1, ensure_ascii=False) + "\n").encode())
