"""Models that can be evaluated, with the rows that are asked for, and the methods of a run as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rdtools.errors import UsageError
from rdtools.jobs.recipes import Recipe, quantizers_of
from rdtools.jobs.sequential import Sequential
from rdtools.methods import format_method, infeasible_reason, make_quantizers, parse_method
from rdtools.model.checkpoint import Checkpoint
from rdtools.model.layer_names import CapturedLayer
from rdtools.quantizers import Quantizer
from rdtools.records.evaluation_row import LayerSums
from rdtools.runs.allocations import Allocation, read_allocation
from rdtools.runs.plan import read_plan
from rdtools.runs.run_manifest import CalibrationEntry
from rdtools.runs.store import Run, open_run
from rdtools.sweep.plan import settings_of

if TYPE_CHECKING:
    from rdtools.evaluation.contest import Contender  # which load torch
    from rdtools.model.opened import OpenModel


class Summed(Protocol):
    """Layers that know the columns about them."""

    @property
    def sums(self) -> LayerSums:
        """Once all of them were used."""


#: See `RowRequest.enter`.
Enter = Callable[["OpenModel", Path, Callable[[int, int], None]], "tuple[Contender, Summed]"]


@dataclass(frozen=True, eq=False)
class RowRequest:
    """A row that is asked for.

    Attributes
    ----------
    method, target_bpw, hessians, corrections : columns
    allocation : of the rates; None for one rate
    identity : of everything that decides the row beside the subject and the tokens
    enter : the contender on an opened original, and the layers that know their sums; it is given a folder for files that are needed while
        the contender runs, and tells its progress
    ahead : True if `enter` runs the calibration tokens through the model
    """

    method: str
    target_bpw: float
    hessians: str
    identity: object
    enter: Enter
    allocation: Allocation | None = None
    corrections: str = "none"
    ahead: bool = False


@dataclass(frozen=True, eq=False)
class Subject:
    """An original model and the quantized ones beside it.

    Attributes
    ----------
    folder : where rows and tables are kept
    name : of the original
    checkpoint, files : its files, and their SHA-256
    layers : that are quantized, as they stand in the files
    head : True if the output head is one of them
    trust_remote_code : of the original
    calibration : the tokens that the quantizers saw
    identity : hashes of all that decides the numbers of every row
    requests : rows
    check : compares files with their hashes
    """

    folder: Path
    name: str
    checkpoint: Checkpoint
    files: Mapping[str, str]
    layers: Sequence[CapturedLayer]
    head: bool
    trust_remote_code: bool
    calibration: CalibrationEntry
    identity: object
    requests: Sequence[RowRequest]
    check: Callable[[], None]

    def with_noise(self, *, seed: int) -> Subject:
        """The same with a row of the noise floor before the others."""
        from rdtools.evaluation.contest import Contender
        from rdtools.evaluation.layers import NoisyLayers
        from rdtools.evaluation.noise import NOISE

        def enter(opened: OpenModel, folder: Path, progress: Callable[[int, int], None]) -> tuple[Contender, Summed]:
            layers = NoisyLayers(self.checkpoint, self.layers, seed=seed)
            assert opened.stages is not None
            return Contender(opened.stages, opened.layers.inputs, layers), layers

        return replace(self, requests=[RowRequest(NOISE, float("nan"), "none", NOISE, enter), *self.requests])


def subject_of_run(
    path: Path,
    *,
    methods: Sequence[str] | None,
    rates: Sequence[float] | None,
    damping: float | None,
    seed: int,
    allocations: Sequence[Path] = (),
    ahead: Sequential | None = None,
) -> Subject:
    """The model of a run, and a row for each method and rate, or for each plan.

    Parameters
    ----------
    path : run directory
    methods, rates : None for those that the run's reports were asked for, but for rates that no layer can have
    damping : of methods that are named here, where their names have none
    seed : of the run
    allocations : plan files; methods and rates are then None
    ahead : for layers that are quantized from inputs of the partly quantized model; None for those of the original

    Raises
    ------
    UsageError
        If there is nothing to evaluate, a plan is of another model, or the tokens are others.
    UnknownMethod, CorruptFile, ModelUnreadable
    """
    run = open_run(path)
    manifest = run.manifest
    files = {name: file.sha256 for name, file in manifest.model.files.items()}
    held = () if manifest.heldout is None else manifest.heldout.hessians
    known = manifest.calibration
    tokens = None if ahead is None else ahead.tokens
    if tokens is not None and tokens.sha256 != known.token_sha256:
        raise UsageError(
            f"{path}: {' × '.join(map(str, tokens.ids.shape))} tokens of {tokens.source} are not those of the run's calibration, "
            f"{known.sequences} × {known.length} of {known.source}; layers are quantized one after the other from these: give the data, "
            "`sequences` and `length` that the run was made with"
        )
    requests = [_allocated(run, path, damping, seed, ahead) for path in allocations] or [
        _request(run, quantizer, seed, ahead) for quantizer in _quantizers(run, methods, rates, damping)
    ]
    return Subject(
        folder=run.path,
        name=run.model_name,
        checkpoint=run.checkpoint(),
        files=files,
        layers=[entry.captured for entry in run.layers],
        head=manifest.model.head_analysed,
        trust_remote_code=manifest.calibration.trust_remote_code,
        calibration=manifest.calibration,
        identity=[
            files,
            [entry.sha256 for entry in (*run.hessians, *held)],
            [entry.name for entry in run.layers],
        ],
        requests=requests,
        check=run.check,
    )


def _entered(run: Run, quantizers: Mapping[str, Quantizer], seed: int, sequential: Sequential | None, *, together: bool) -> Enter:
    def enter(opened: OpenModel, folder: Path, progress: Callable[[int, int], None]) -> tuple[Contender, Summed]:
        from rdtools.evaluation.contest import Contender
        from rdtools.evaluation.layers import QuantizedLayers
        from rdtools.evaluation.sequential import SequentialLayers

        assert opened.stages is not None
        if sequential is None:
            quantized = QuantizedLayers(run, quantizers, seed=seed, together=together)
            return Contender(opened.stages, opened.layers.inputs, quantized), quantized
        layers = SequentialLayers(run, quantizers, seed=seed, together=together, corrections=sequential.corrections)
        contender = Contender(opened.stages, opened.layers.inputs, layers)
        try:
            layers.quantize(opened, sequential.tokens, folder, progress)
        except Exception as error:  # of this row alone
            contender.failure = error
        return contender, layers

    return enter


def _columns(sequential: Sequential | None) -> dict[str, Any]:
    """Columns about the inputs that the quantizers see."""
    if sequential is None:
        return {"hessians": "original"}
    return {"hessians": "sequential", "corrections": "+".join(sequential.corrections) or "none", "ahead": True}


def _identity(sequential: Sequential | None) -> list[str]:
    """The part that these inputs add to the identity of a row."""
    return [] if sequential is None else ["sequential", *sequential.corrections]


def _request(run: Run, quantizer: Quantizer, seed: int, sequential: Sequential | None) -> RowRequest:
    rate = float(quantizer.rate_bits)
    return RowRequest(
        format_method(quantizer),
        rate,
        identity=[settings_of(quantizer), rate, *_identity(sequential)],
        enter=_entered(run, dict.fromkeys(run, quantizer), seed, sequential, together=True),
        **_columns(sequential),
    )


def _allocated(run: Run, path: Path, damping: float | None, seed: int, sequential: Sequential | None) -> RowRequest:
    plan = read_allocation(path)
    recipe = Recipe(by_layer=quantizers_of(plan, damping), allocation=plan, plan_path=path)
    recipe.check(list(run), {name: file.sha256 for name, file in run.manifest.model.files.items()})
    return RowRequest(
        recipe.method,
        plan.bits,
        identity=[plan.label, recipe.settings, *_identity(sequential)],
        enter=_entered(run, recipe.by_layer or {}, seed, sequential, together=False),
        allocation=plan,
        **_columns(sequential),
    )


def _quantizers(run: Run, methods: Sequence[str] | None, rates: Sequence[float] | None, damping: float | None) -> list[Quantizer]:
    if methods is not None and rates is not None:
        named = make_quantizers(methods, rates, damping=damping)
        refused = [reason for reason in map(infeasible_reason, named) if reason is not None]
        if refused:
            raise UsageError(f"{refused[0]}; choose other `rates` or `methods`")
        return named
    planned = read_plan(run.path).methods
    if not planned:
        raise UsageError(f"{run.path}: no report has quantized anything in this run; give both `methods` and `rates`")
    bits = sorted(dict.fromkeys(entry.rate_bits for entry in planned))
    if methods is not None:
        return [quantizer for quantizer in make_quantizers(methods, bits, damping=damping) if infeasible_reason(quantizer) is None]
    pairs = dict.fromkeys((entry.method, entry.rate_bits) for entry in planned if rates is None or entry.rate_bits in rates)
    if not pairs:
        missing = ", ".join(f"{rate:g}" for rate in rates or ())
        raise UsageError(f"`rates` {missing}: the run has none of them; give both `methods` and `rates`")
    return [quantizer for quantizer in (parse_method(*pair) for pair in pairs) if infeasible_reason(quantizer) is None]
