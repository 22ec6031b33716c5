"""One budget of bytes shared out among the layers of a run by their rate–distortion curves."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from rdtools.devices import check_device
from rdtools.errors import InvalidRate, RateUnreachable, UsageError
from rdtools.files import check_output_file, sole_writer
from rdtools.jobs.arguments import method_names, path_of
from rdtools.jobs.calibration import CalibrationRequest, read_tokens
from rdtools.jobs.expected_kl import expected_kl
from rdtools.jobs.progress import log_sentence, python_stage
from rdtools.jobs.settings import Stage
from rdtools.jobs.slopes import kl_slopes
from rdtools.methods import parse_method
from rdtools.methods.names import entry_of
from rdtools.model.layer_names import block_index
from rdtools.planning.rate_curves import RateCurve
from rdtools.planning.shares import Pick, Shares
from rdtools.quantizers import Quantizer
from rdtools.report.rows import bound_note
from rdtools.runs.allocations import ALLOCATIONS, AllocatedLayer, Allocation, Rule, Source, write_allocation
from rdtools.runs.results import read_curves, read_results
from rdtools.runs.store import Run, open_run
from rdtools.seeds import check_seed

#: Curves by method of each layer.
Curves = dict[str, dict[str, RateCurve]]
#: Rounds of quantizing every layer and choosing again with the sizes that its files had.
ROUNDS = 4
#: Windows of calibration tokens on which slopes are measured.
WINDOWS = 32


def allocate(
    run: str | Path,
    bits: float,
    *,
    methods: str | Sequence[str] | None = None,
    rule: Rule = "kl",
    source: Source = "measured",
    slopes: bool = False,
    seed: int = 0,
    tokens: Any = None,
    windows: int = WINDOWS,
    check: bool = True,
    out: str | Path | None = None,
    device: str = "cpu",
    say: Callable[[str], None] = log_sentence,
    stage: Stage = python_stage,
) -> Allocation:
    """Share a budget of bytes out among the layers of a run, and write the plan that `evaluate` and `quantize_model` take.

    The files of all layers take at most `bits` per weight together and at least 99.8 % of that. Choices of a layer are the methods at the
    target rates of the run's rows and, of a method that has every rate, at those between them; the sum over layers of a loss is least (see
    `rdtools.theory.byte_budget`). The loss is m n D (rule uniform), D/D₀ (relative), or D/D₀ times a slope of KL that is measured one layer
    at a time on calibration tokens (kl); the rule equal gives one method the same target everywhere, for comparison. Of the models measured
    for this project only kl is better than equal in KL: neither m n D nor D/D₀ knows which layers matter.

    Parameters
    ----------
    run : of a report that quantized every layer at two rates or more
    bits : budget in total bits per weight, scales and models included
    methods : that layers may have, one or several; None for all of the run that leave activations alone
    rule : what is minimized
    source : of distortions: rows of the run, their prediction at finite rate, or R(D) of the layer
    slopes : measure slopes for an expected KL under another rule, too
    seed : of the run's rotations
    tokens : on which slopes are measured, a `CalibrationRequest` or ids in memory; None for the calibration tokens of the embedded model
    windows : of these tokens, at most
    check : quantize and code layers whose files are not known to have their size, and choose again until the sum is within the budget
    out : plan file; None for one named by bits, rule and source in the run's folder of allocations
    device : torch device for the forward passes of slopes
    say, stage : for sentences and progress

    Returns
    -------
    Allocation
        As it was written.

    Raises
    ------
    RateUnreachable
        If no choices have the budget; the message has the nearest.
    UsageError
        If the run has no rows of a method on some layer.
    WrongType, UnknownMethod, BadTokens, NotByBlocks, CorruptFile, ModelUnreadable, OutputError, Busy
    """
    opened, seed = open_run(path_of("allocate", run, "a run, such as 'rdtools-report'")), check_seed(seed)
    names = None if methods is None else method_names("allocate", methods)
    for word, value, kinds in (("rule", rule, Rule), ("source", source, Source)):
        if value not in get_args(kinds):
            raise UsageError(f"`{word}` {value!r}: expected one of {', '.join(get_args(kinds))}")
    if not (isinstance(bits, int | float) and math.isfinite(bits) and bits > 0):
        raise UsageError(f"`bits` {bits!r}: expected a finite number above 0")
    check_device(device)
    path = opened.path / ALLOCATIONS / f"{bits:g}-{rule}-{source}.json" if out is None else path_of("allocate", out, "a plan")
    check_output_file(path)
    curves, energies = _curves(opened, names, source, seed)
    if rule == "equal" and len(next(iter(curves.values()))) > 1:
        raise UsageError(f"`rule` equal: one rate of one method; got {', '.join(next(iter(curves.values())))}; name one in `methods`")
    with sole_writer(opened.path):
        known = None
        if slopes or rule == "kl":
            cut = _windows(opened, tokens, windows)
            known = kl_slopes(opened, _typical(curves, bits), cut, seed=seed, device=device, say=say, stage=stage)
        losses = {"relative": dict.fromkeys(energies, 1.0), "kl": known or {}}.get(rule, energies)
        weights = {entry.name: math.prod(entry.shape) for entry in opened.layers}
        shares = Shares(curves, weights, losses, float(bits), equal=rule == "equal")
        try:
            picks = _settled(opened, shares, seed, stage) if check else shares.choose()
        except RateUnreachable as error:
            raise RateUnreachable(f"{opened.path}: {error}") from error
    plan = Allocation(
        model=opened.model_name,
        files={name: file.sha256 for name, file in opened.manifest.model.files.items()},
        bits=float(bits),
        rule=rule,
        source=source,
        checked=check,
        **expected_kl(opened.path, {name: pick.distortion for name, pick in picks.items()}, known, seed),
        layers=[
            AllocatedLayer(
                layer=name,
                method=pick.method,
                rate_bits=pick.target,
                weights=weights[name],
                total_bpw=pick.bits / weights[name],
                relative_distortion=pick.distortion,
            )
            for name, pick in picks.items()
        ],
    )
    write_allocation(path, plan)
    say(f"{path}: {plan.total_bpw:.5f} of {bits:g} bpw")
    return plan


def _typical(curves: Curves, bits: float) -> dict[str, Quantizer]:
    """For slopes: each layer by the first method, at the known rate nearest to the budget."""
    typical = {}
    for name, by_method in curves.items():
        method, curve = next(iter(by_method.items()))
        typical[name] = parse_method(method, min(set(curve.totals) or curve.distortions, key=lambda rate: abs(rate - bits)))
    return typical


def _settled(run: Run, shares: Shares, seed: int, stage: Stage) -> dict[str, Pick]:
    """Choices whose files take what the budget allows, those that rows do not have measured on the way.

    Where interpolated sizes do not lead there, as of files of a few hundred bytes, the answer is the best of all that was measured.
    """
    measured: dict[str, dict[tuple[str, float], Pick]] = {name: {} for name in shares.curves}

    def measure(name: str, pick: Pick) -> None:
        from rdtools.evaluation.layers import LayerFailed, QuantizedLayers

        layers, block = QuantizedLayers(run, {name: parse_method(pick.method, pick.target)}, seed=seed), block_index(name)
        try:
            layers(None if block < 0 else block)
        except LayerFailed as error:
            if not isinstance(error.__cause__, RateUnreachable):
                raise
            shares.failed.add((name, pick.method, pick.target))
            return
        point = layers.points[name]
        exact = replace(pick, bits=float(round(point.total_bpw * shares.weights[name])), distortion=point.relative_distortion)
        shares.learn(name, exact)
        measured[name][pick.method, pick.target] = exact

    for _ in range(ROUNDS):
        picks = shares.choose()
        todo = {name: pick for name, pick in picks.items() if not shares.is_known(name, pick)}
        if todo:
            with stage("Quantize and code", "layers") as progress:
                for number, (name, pick) in enumerate(todo.items()):
                    measure(name, pick)
                    progress(number + 1, len(todo))
        exact = {name: measured[name].get((pick.method, pick.target), pick) for name, pick in picks.items()}
        if all(shares.is_known(name, pick) for name, pick in exact.items()) and shares.fits(exact.values()):
            return exact
    if shares.equal:
        raise RateUnreachable(f"no target rate tried for all layers is within {shares.bits:g} bits per weight; ask for another budget")
    return shares.choose_known(
        {name: [measured[name].get((pick.method, pick.target), pick) for pick in shares.known(name)] for name in shares.curves}
    )


def _windows(run: Run, tokens: Any, most: int) -> Any:
    from rdtools.evaluation.windows import cut
    from rdtools.model.pretrained import model_limits

    request, manifest = tokens if isinstance(tokens, CalibrationRequest) else CalibrationRequest(tokens=tokens), run.manifest
    tokens_read, _ = read_tokens(request, None, run.checkpoint(), trust_remote_code=manifest.calibration.trust_remote_code)
    longest = model_limits(run.checkpoint(), trust_remote_code=manifest.calibration.trust_remote_code).longest
    return cut(tokens_read, min(tokens_read.longest, longest or tokens_read.longest), most=most)


#: Source → column of the rows that has distortions; R(D) is in the run's curves.
_COLUMNS = {"measured": "distortion", "predicted": "pred_finite_rate_distortion", "bound": "distortion"}


def _curves(run: Run, methods: Sequence[str] | None, source: Source, seed: int) -> tuple[Curves, dict[str, float]]:
    """Curves of every layer by method, and m n D₀ of every layer."""
    table = read_results(
        run.path, ("distortion", "relative_distortion", "total_bpw", "container_layers", "activation_bits", "seed", _COLUMNS[source])
    )
    rows = table[(table["status"] == "ok") & (table["seed"] == seed) & table["activation_bits"].isna()]
    bounds = read_curves(run.path) if source == "bound" else None
    chosen = list(rows["method"].unique() if methods is None else methods)
    other = bound_note(chosen) if bounds is not None else ""
    if other:
        raise UsageError(f"`source` bound: the run has curves of H alone, and {other}; choose other methods, or `source` measured")
    report = "report it into this run first, at two rates or more"
    energies: dict[str, float] = {}
    curves: Curves = {}
    for entry in run.layers:
        of_layer = rows[rows["layer"] == entry.name]
        by_method: dict[str, RateCurve] = {}
        for method in chosen:
            some = of_layer[(of_layer["method"] == method) & (of_layer[_COLUMNS[source]] > 0)].sort_values("target_bpw")
            if some.empty:
                with contextlib.suppress(InvalidRate, RateUnreachable):
                    parse_method(method, 3.0)  # an unknown name has no rows anywhere
                raise UsageError(f"{run.path}: no row of {method} on {entry.name} with a distortion ({source}) and seed {seed}; {report}")
            energy = float((some["distortion"] / some["relative_distortion"]).iloc[0])
            energies[entry.name] = energy * math.prod(entry.shape)
            distortions = dict(zip(some["target_bpw"], some[_COLUMNS[source]] / energy, strict=True))
            if bounds is not None:
                curve = bounds[(bounds["layer"] == entry.name) & (bounds["curve"] == "rd_bound") & (bounds["distortion"] > 0)]
                inside = curve[curve["rate_bpw"].between(min(distortions), max(distortions))].drop_duplicates("distortion")
                distortions = dict(zip(inside["rate_bpw"], inside["distortion"] / energy, strict=True))
            base, _ = entry_of(method)
            alone = some[some["container_layers"] == 1]  # files of several layers are not those of a plan
            totals = dict(zip(alone["target_bpw"], alone["total_bpw"], strict=True))
            by_method[method] = RateCurve(distortions, totals, continuous=base is not None and "min" in base.rates)
        curves[entry.name] = by_method
    if not chosen:
        raise UsageError(f"{run.path}: no rows of a method that leaves activations alone; {report}")
    return curves, energies
