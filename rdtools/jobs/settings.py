"""Settings of a report: as fields in Python, as options on the command line, as keys of a TOML file."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError

from rdtools.errors import CorruptFile, UsageError
from rdtools.jobs.calibration import CalibrationRequest, EvaluationRequest
from rdtools.methods import DEFAULT_METHODS, make_quantizers
from rdtools.quantizers import Quantizer
from rdtools.records import Coding
from rdtools.seeds import SEED_END
from rdtools.sweep.engines.dask import check_scheduler

#: Called with a title and with what is counted, at the beginning of each stage; the block gets a function of (done, total).
Stage = Callable[[str, str], AbstractContextManager[Callable[[float, float], None]]]


Names = Annotated[tuple[str, ...], Field(min_length=1)]
#: What a value of a setting is to be, where `_EXPECTED_TYPES` does not say it by its type.
_EXPECTED = {
    "model": "'embedded', a local directory or a hub id",
    "sequences": "a whole number of windows, such as 128",
    "length": "a whole number of tokens, such as 2048",
    "device": "a torch device, such as 'cpu'",
    "methods": "a list of names, at least one, such as ['gptq', 'watersic']",
    "rates": "a list of bits per weight, at least one, such as [2, 3, 4]",
    "damping": "a number, such as 0.01",
    "coding": "'exact' or 'sampled'",
    "seeds": f"a list of whole numbers from 0 to {SEED_END - 1}, at least one, such as [0, 1]",
    "layers": "a list of patterns, at least one, such as ['*.0.*']",
    "types": "a list of types of layers, at least one, such as ['q_proj']",
    "workers": "a whole number from 0 on, such as 2",
    "scheduler": "the address of a Dask scheduler, such as 'tcp://host:8786'",
    "out": "the path of a directory, such as 'rdtools-report'",
}
_EXPECTED_TYPES = {Path | None: "the path of a file, such as 'calibration.txt'", bool: "true or false"}


@dataclass(frozen=True, kw_only=True)
class ReportSettings:
    """Everything that a report depends on.

    Attributes
    ----------
    model : "embedded", a local directory or a hub id
    text, tokens, sequences, length : calibration data, see `rdtools.jobs.calibration.CalibrationRequest`
    evaluation_text, evaluation_tokens : held-out data, see `rdtools.jobs.calibration.EvaluationRequest`
    trust_remote_code : run code that comes with the model
    head : analyse the output head, too
    device : torch device for the forward passes of the capture and for methods that work on one
    methods : names; None for the default ones
    rates : targets in bits per weight
    damping : of the quantizers, relative to the mean diagonal; None for none unless H is singular
    coding : "exact", or "sampled" for rows of which a part of the file is coded and the rest counted by its entropy model
    seeds : of rotations; every method has a row for each
    layers : patterns such as ``*.0.*``; None for all layers
    types : of layers, such as ``q``; None for all
    workers : processes; None for one per core, 0 to leave the work to `rdtools worker`
    scheduler : address of a Dask scheduler, whose workers do the methods in place of `workers`
    out : run directory
    fresh : start the table over: finished rows of the run, and held-out moments of other text, are deleted
    skip_infeasible : go on where a method of `methods` cannot have a rate of `rates`

    Raises
    ------
    UsageError
        For a value that a setting cannot have, before any work; lists, strings and NumPy's numbers are converted as from a TOML file.
    """

    model: str = "embedded"
    text: Path | None = None
    tokens: Path | None = None
    sequences: int | None = None
    length: int | None = None
    evaluation_text: Path | None = None
    evaluation_tokens: Path | None = None
    trust_remote_code: bool = False
    head: bool = False
    device: str = "cpu"
    methods: Names | None = None
    rates: Annotated[tuple[float, ...], Field(min_length=1)] = (2.0, 3.0, 4.0)
    damping: float | None = None
    coding: Coding = "exact"
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=SEED_END)], ...], Field(min_length=1)] = (0,)
    layers: Names | None = None
    types: Names | None = None
    workers: Annotated[int, Field(ge=0)] | None = None
    scheduler: str | None = None
    out: Path = Path("rdtools-report")
    fresh: bool = False
    skip_infeasible: bool = False

    def __post_init__(self) -> None:
        for name, adapter in _adapters().items():
            value = getattr(self, name)
            value = value.tolist() if hasattr(value, "tolist") else value  # an array or a number of NumPy
            try:
                object.__setattr__(self, name, adapter.validate_python(value))
            except ValidationError as error:
                shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) and value else repr(value)
                expected = _EXPECTED.get(name) or _EXPECTED_TYPES[get_type_hints(ReportSettings)[name]]
                raise UsageError(f"`{name}` {shown}: expected {expected}") from error
        check_scheduler(self.scheduler, self.workers)

    @property
    def calibration(self) -> CalibrationRequest:
        """The part about calibration data."""
        return CalibrationRequest(text=self.text, tokens=self.tokens, sequences=self.sequences, length=self.length)

    @property
    def evaluation(self) -> EvaluationRequest:
        """The part about held-out data."""
        return EvaluationRequest(text=self.evaluation_text, tokens=self.evaluation_tokens)

    def quantizers(self) -> list[Quantizer]:
        """Every method at every rate, rates ascending.

        Raises
        ------
        UnknownMethod, InvalidRate, RateUnreachable, UsageError
        """
        names = DEFAULT_METHODS if self.methods is None else self.methods
        return make_quantizers(list(dict.fromkeys(names)), sorted(dict.fromkeys(self.rates)), damping=self.damping, coding=self.coding)

    def changed(self, changes: Mapping[str, Any]) -> ReportSettings:
        """The settings with others in place of some.

        Raises
        ------
        UsageError
            For a name that is none, with the nearest one, and for a value that the setting cannot have.
        """
        known = [field.name for field in fields(self)]
        for name in changes:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
                raise UsageError(f"{name!r}: no setting of a report; the nearest is {near!r}")
        return replace(self, **changes)


@cache
def _adapters() -> dict[str, TypeAdapter[Any]]:
    return {name: TypeAdapter(kind) for name, kind in get_type_hints(ReportSettings, include_extras=True).items()}


def read_settings(config: Path) -> ReportSettings:
    """Settings from a TOML file whose keys are the attributes of `ReportSettings`; a missing key has its default.

    Raises
    ------
    UsageError
        If there is no such file, or for a key or value as `ReportSettings.changed` says; the message names the file.
    CorruptFile
        If it is not TOML.
    """
    try:
        return ReportSettings().changed(tomllib.loads(config.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CorruptFile(f"{config}: not TOML: {error}; see `rdtools report --help` for the keys") from error
    except OSError as error:
        raise UsageError(f"{config}: cannot be read: {error.strerror}; expected a TOML file") from error
    except UsageError as error:
        raise type(error)(f"{config}: {error}") from error
