"""``plan.json``: which methods and rates a run's table consists of, in the order in which they were first asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from rdtools.errors import UsageError
from rdtools.files import write_atomically
from rdtools.runs.seal import UNSEALED, Sealed, read_sealed, sealed

#: File name in a run directory.
PLAN = "plan.json"


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class PlannedMethod(_Entry):
    """A method at one rate, on all layers of the run or some.

    Attributes
    ----------
    method : name in tables
    settings : of the quantizer, all but its rate
    rate_bits : target rate
    seed : of the run
    layers : names; None for all layers
    """

    method: str
    settings: str
    rate_bits: Annotated[float, Field(gt=0)]
    seed: Annotated[int, Field(ge=0)]
    layers: list[str] | None = None

    @property
    def series(self) -> tuple[str, int]:
        """The part that all rates of a method have in common."""
        return self.settings, self.seed

    def covers(self, layer: str) -> bool:
        """True if the method is wanted on a layer."""
        return self.layers is None or layer in self.layers


class RunPlan(_Entry, Sealed):
    """Every method and rate that was asked for in a run."""

    format: Literal["rdtools-plan"] = "rdtools-plan"
    version: Literal[2] = 2
    methods: list[PlannedMethod] = []
    sha256: str = UNSEALED

    def extended(self, wanted: Sequence[PlannedMethod]) -> RunPlan:
        """The plan with further methods, rates or layers; those that are there keep their place, rates of a method ascend.

        Raises
        ------
        UsageError
            If a method of the same name and seed is there with other settings: the two could not be told apart in a table.
        """
        known = {(entry.series, entry.rate_bits): entry for entry in self.methods}
        for entry in wanted:
            same_name = (p for p in known.values() if (p.method, p.seed) == (entry.method, entry.seed))
            other = next((p for p in same_name if p.settings != entry.settings), None)
            if other is not None:
                raise UsageError(
                    f"{entry.method}: the run has rows of this method with other settings, {other.settings} instead of {entry.settings}; "
                    "choose another place, or start its table over with `fresh`"
                )
            key = (entry.series, entry.rate_bits)
            before = known.get(key)
            if before is None:
                known[key] = entry
            elif before.layers is not None:
                merged = None if entry.layers is None else list(dict.fromkeys([*before.layers, *entry.layers]))
                known[key] = before.model_copy(update={"layers": merged})
        series = {name: index for index, name in enumerate(dict.fromkeys(entry.series for entry in known.values()))}
        return RunPlan(methods=sorted(known.values(), key=lambda entry: (series[entry.series], entry.rate_bits)))

    def top_rate(self, layer: str) -> float:
        """The highest rate that is wanted on a layer; 0 without any."""
        return max((entry.rate_bits for entry in self.methods if entry.covers(layer)), default=0.0)


def read_plan(folder: Path) -> RunPlan:
    """The plan of a run directory; an empty one where there is none.

    Raises
    ------
    CorruptFile
    """
    path = folder / PLAN
    if not path.is_file():
        return RunPlan()
    remedy = "delete it and give your rdtools report commands again: finished rows of the same numbers are kept"
    plan = read_sealed(path, RunPlan, remedy=remedy, other_version=remedy)
    return plan.model_copy(update={"sha256": UNSEALED})


def write_plan(plan: RunPlan, folder: Path) -> None:
    """Write the plan of a run directory, whole or not at all.

    Raises
    ------
    OutputError
    """
    write_atomically(folder / PLAN, sealed(plan.model_dump_json(indent=1).encode()))
