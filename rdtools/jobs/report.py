"""The main job: from a model to tables, figures and a page."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from rdtools.devices import methods_device
from rdtools.errors import WrongType
from rdtools.files import sha256_of_file, sole_writer
from rdtools.jobs.activations import collect_activations
from rdtools.jobs.collect import collect
from rdtools.jobs.evaluate import PARQUET as EVALUATION
from rdtools.jobs.plan import check_report, refuse_infeasible
from rdtools.jobs.progress import log_sentence, python_stage
from rdtools.jobs.settings import ReportSettings, Stage
from rdtools.jobs.verify import VERDICT_VERSIONS, VERDICTS
from rdtools.quantizers import quantizes_activations
from rdtools.runs.allocations import ALLOCATIONS, read_allocation
from rdtools.runs.foreign import LIST as FOREIGN
from rdtools.runs.foreign import has_foreign, read_foreign
from rdtools.runs.journal import encoded
from rdtools.runs.result_files import unchanged_files, write_manifest
from rdtools.runs.results import refuse_other_schema, write_results
from rdtools.runs.store import Run
from rdtools.sweep import SweepResult, choose_workers, run_sweep, worker_bytes

#: Files of the package that decide what a report says.
_CODE = (".py", ".html", ".css", ".js")


@dataclass(frozen=True, eq=False)
class Report:
    """A finished report.

    Attributes
    ----------
    run : with its Hessians
    table : all finished rows of the run, those of earlier reports too
    curves : the theory curves of every layer that is in the table
    page : path of index.html
    notes : sentences for the reader
    failed_curves : layers whose theory curves could not be computed
    """

    run: Run
    table: pd.DataFrame
    curves: pd.DataFrame
    page: Path
    notes: tuple[str, ...]
    failed_curves: int

    @property
    def complete(self) -> bool:
        """True if something was measured and neither a row nor a curve failed."""
        return self.failed_curves == 0 and all_measured(self.table)


def all_measured(table: pd.DataFrame) -> bool:
    """True if something was measured and no row failed."""
    return not table["distortion"].isna().all() and not (table["status"] == "failed").any()


def run_report(
    settings: ReportSettings | None = None,
    *,
    say: Callable[[str], None] = log_sentence,
    stage: Stage = python_stage,
    command: str = "rdtools.run_report",
    **changes: Any,
) -> Report:
    """Capture Hessians, compute the bounds, quantize, code, measure, and write a page about it.

    Writes into the run directory: index.html, results.parquet and results.csv, paired.parquet and paired.csv, curves.parquet,
    figures/*.png, *.pdf and *.svg, results.json with the hashes of these, finished rows under rows/, and the Hessians with a manifest. The
    page shows the verdicts of `rdtools.verify` on this run, if there are any. The same call goes on after an interrupt and tries failed
    rows again; another method, rate or seed adds to the table. Where nothing is left to do and nothing has changed, the files stay as they
    are.

    Parameters
    ----------
    settings : None for the default ones
    say : called with sentences about what goes on
    stage : shows progress, see `rdtools.jobs.settings.Stage`
    command : as the page quotes it
    changes : attributes of `settings` to be replaced

    Raises
    ------
    WrongType
        If `settings` are none.
    UsageError, CorruptFile, ModelUnreadable, BadTokens, BadActivations, OutputError, Busy, ServiceUnavailable
    """
    if not isinstance(settings, ReportSettings | None):
        raise WrongType(
            f"run_report: got {settings!r}, expected ReportSettings, or each setting by its name: "
            "run_report(model='embedded', methods=['watersic'], rates=[3])"
        )
    settings = (settings or ReportSettings()).changed(changes)
    calibration, evaluation, out = settings.calibration, settings.evaluation, settings.out
    refuse_infeasible(settings)
    quantizers, chosen, infeasible = check_report(settings)
    device = settings.device if settings.scheduler else methods_device(settings.device, say)  # workers of a cluster look at their own
    for pair in infeasible:
        say(f"infeasible: {pair}")
    if not settings.fresh:
        refuse_other_schema(out)
    with sole_writer(out):
        with stage("Hessians", "") as progress:
            run = collect(
                settings.model,
                calibration,
                out=out,
                evaluation=evaluation,
                trust_remote_code=settings.trust_remote_code,
                device=settings.device,
                head=settings.head,
                fresh=settings.fresh,
                say=say,
                progress=progress,
            )
        if any(map(quantizes_activations, quantizers)):
            with stage("Quantized activations", "tokens") as progress:
                collect_activations(
                    run,
                    quantizers,
                    seeds=settings.seeds,
                    layers=chosen,
                    calibration=calibration,
                    evaluation=evaluation,
                    trust_remote_code=settings.trust_remote_code,
                    device=settings.device,
                    say=say,
                    progress=progress,
                )
        run.check()  # refuse altered files before any work
        workers = 1 if settings.scheduler else choose_workers(out, settings.workers, each=worker_bytes(run), device=device, say=say)
        with stage("Quantize, code, measure", "rows") as progress:
            swept = run_sweep(
                run,
                quantizers,
                seeds=settings.seeds,
                workers=workers,
                scheduler=settings.scheduler,
                device=device,
                layers=chosen,
                fresh=settings.fresh,
                say=say,
                progress=progress,
            )
        made_of = _made_of(run, swept, command)
        page = next((path for name, path in (unchanged_files(out, made_of) or {}).items() if name.endswith(".html")), None)
        if page is None:
            page = _write(run, swept, command, made_of, stage)
    return Report(run, swept.table, swept.curves, page, (*run.notes, *swept.notes), swept.failed_curves)


def _plan_files(run: Run) -> list[Path]:
    return sorted((run.path / ALLOCATIONS).glob("*.json"))


def _allocations(run: Run) -> pd.DataFrame | None:
    """The table of the plans in a run, beside the KL of those that were evaluated; None where there are none.

    Raises
    ------
    CorruptFile
    """
    from rdtools.report.allocations_table import allocations_table

    plans = {path.stem: read_allocation(path) for path in _plan_files(run)}
    evaluated = run.path / EVALUATION
    return allocations_table(plans, pd.read_parquet(evaluated) if evaluated.is_file() else pd.DataFrame()) if plans else None


def _made_of(run: Run, swept: SweepResult, command: str) -> str:
    """Hash of all that the files of a report depend on: run, rows, verdicts, files of others, command, and what writes them."""
    package = Path(__file__).resolve().parents[1]
    code = [path.read_bytes() for path in sorted(package.rglob("*")) if path.suffix in _CODE]
    libraries = [version(name) for name in ("matplotlib", "pandas", "pyarrow")]
    others = (run.path / VERDICTS, run.path / FOREIGN, run.path / EVALUATION, *_plan_files(run))
    checked = [(path.name, sha256_of_file(path)) for path in others if path.is_file()]
    rows = swept.keys, list(swept.table["wall_s"]), run.model_name, checked
    return hashlib.sha256(encoded([run.manifest.model_dump_json(), command, libraries, rows]) + b"".join(code)).hexdigest()


def _write(run: Run, swept: SweepResult, command: str, made_of: str, stage: Stage) -> Path:
    """Write tables, figures and page of a run; returns the page."""
    from rdtools.report import PAGE, paired_differences, read_verdicts, write_figures, write_page, write_paired  # loads matplotlib
    from rdtools.report.style import SAVE_METADATA

    out = run.path
    files = write_results(swept.table, swept.curves, out)
    paired = paired_differences(swept.table)
    files += write_paired(paired, out)
    (out / PAGE).unlink(missing_ok=True)  # an old page must not stand beside new results
    with stage("Figures and page", ""):
        figures = write_figures(swept.table, swept.curves, out / "figures")
        verdicts = read_verdicts(out / VERDICTS, VERDICT_VERSIONS)
        tables = {"foreign": read_foreign(out) if has_foreign(out) else None, "allocations": _allocations(run)}
        page = write_page(run, swept.table, swept.curves, paired, figures, verdicts=verdicts, command=command, **tables)
    files += [page, *(path.with_suffix(f".{kind}") for path in figures.values() for kind in SAVE_METADATA)]
    write_manifest(out, files, versions=run.manifest.versions, command=command, made_of=made_of)
    return page
