"""Settings of a report: as fields in Python, as options on the command line, as keys of a TOML file."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from rdtools.errors import CorruptFile, UsageError
from rdtools.jobs.collect import CalibrationRequest, EvaluationRequest
from rdtools.methods import DEFAULT_METHODS, make_quantizers
from rdtools.quantizers import Quantizer
from rdtools.seeds import SEED_END

#: Called with a title and with what is counted, at the beginning of each stage; the block gets a function of (done, total).
Stage = Callable[[str, str], AbstractContextManager[Callable[[float, float], None]]]


def silent_stage(title: str, counted: str = "") -> AbstractContextManager[Callable[[float, float], None]]:
    """A stage that shows no progress."""
    return nullcontext(lambda done, total: None)


@dataclass(frozen=True, kw_only=True)
class ReportSettings:
    """Everything that a report depends on.

    Attributes
    ----------
    model : "embedded", a local directory or a hub id
    text, tokens, sequences, length : calibration data, see `rdtools.jobs.collect.CalibrationRequest`
    evaluation_text, evaluation_tokens : held-out data, see `rdtools.jobs.collect.EvaluationRequest`
    trust_remote_code : run code that comes with the model
    head : analyse the output head, too
    device : torch device for the forward passes of the capture
    methods : names; None for the default ones
    rates : targets in bits per weight
    damping : of the quantizers, relative to the mean diagonal; None for none unless H is singular
    seeds : of rotations; every method has a row for each
    layers : patterns such as ``*.0.*``; None for all layers
    types : of layers, such as ``q``; None for all
    workers : processes; None for one per core
    out : run directory
    fresh : start the table over: finished rows of the run are deleted
    skip_infeasible : go on where a method of `methods` cannot have a rate of `rates`

    Raises
    ------
    UsageError
        For a setting that cannot be meant, before any work.
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
    methods: tuple[str, ...] | None = None
    rates: tuple[float, ...] = (2.0, 3.0, 4.0)
    damping: float | None = None
    seeds: tuple[int, ...] = (0,)
    layers: tuple[str, ...] | None = None
    types: tuple[str, ...] | None = None
    workers: int | None = None
    out: Path = Path("rdtools-report")
    fresh: bool = False
    skip_infeasible: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "out", Path(self.out))
        for name in ("methods", "rates", "seeds", "layers", "types"):
            if isinstance(getattr(self, name), str):
                raise UsageError(f"`{name}` {getattr(self, name)!r}: expected a list")
        if not self.seeds or not all(isinstance(seed, int) and 0 <= seed < SEED_END for seed in self.seeds):
            raise UsageError(f"`seeds` {', '.join(map(str, self.seeds))}: expected whole numbers from 0 to {SEED_END - 1}, at least one")
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"`workers` {self.workers}: expected at least 1")

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
        return make_quantizers(list(dict.fromkeys(names)), sorted(dict.fromkeys(self.rates)), damping=self.damping)

    def changed(self, changes: Mapping[str, Any]) -> ReportSettings:
        """The settings with others in place of some, which are converted as in a TOML file.

        Raises
        ------
        UsageError
            For a name that is none, with the nearest one, and for a value of another type.
        """
        known, types = [field.name for field in fields(self)], get_type_hints(ReportSettings)
        values = {}
        for name, value in changes.items():
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
                raise UsageError(f"{name!r}: no setting of a report; the nearest is {near!r}")
            try:
                values[name] = TypeAdapter(types[name]).validate_python(value)
            except ValidationError as error:
                reason = error.errors(include_url=False)[0]["msg"]
                raise UsageError(f"`{name}` {value!r}: {reason}") from error
        return replace(self, **values)


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
