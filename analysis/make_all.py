"""Every figure that the repository keeps, and the table behind each, but for timings: those are `rdtools.analysis.bench`'s.

python -m rdtools.analysis.make_all --run rdtools-report --others runs/other [--only low_rate]
python -m rdtools.analysis.make_all --run runs/smollm2 --out figures/smollm2 --compact [--heldout runs/smollm2-heldout]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rdtools.analysis import (
    ablation,
    allocation,
    bias,
    bias_rows,
    bounds,
    calibration,
    coders,
    column_rates,
    critical_channels,
    equal_footing,
    head,
    incoherence,
    low_rank,
    low_rate,
    orders,
    proxy_loss,
    rate_split,
    reassembly,
    spectra,
    trellis_frontier,
    trellis_stacked,
    trellis_states,
    whole_model,
)

from rdtools.claims.tightness import READS as VERDICT_COLUMNS
from rdtools.claims.tightness import ratio
from rdtools.jobs.figures import figures
from rdtools.jobs.verify import VERDICT_VERSIONS, VERDICTS
from rdtools.report import read_verdicts
from rdtools.report.figures import MODULES, READS, draw_figure, save_figure
from rdtools.report.figures.canvas import styled
from rdtools.runs.results import read_curves, read_results

#: Figures whose rows are made anew: rows from runs or from synthetic layers, and digits of the table.
FIGURES = {
    "spectra": (spectra.run, 5),
    "column_rates": (column_rates.run, 5),
    "incoherence": (incoherence.run, 5),
    "proxy_loss": (proxy_loss.run, 5),
    "calibration": (calibration.run, 5),
    "rate_split": (rate_split.run, 5),
    "coders": (coders.run, 6),
    "orders": (orders.run, 4),
    "low_rate": (low_rate.run, 5),
    "low_rank": (lambda _: low_rank.run(), 6),
    "equal_footing": (equal_footing.run, 6),
    "critical_channels": (lambda _: critical_channels.run(), 6),
    "whole_model": (lambda _: whole_model.run(), 6),
    "ablation": (ablation.run, 6),
    "reassembly": (lambda _: reassembly.run(), 5),
    "trellis_frontier": (trellis_frontier.run, 5),
    "trellis_states": (trellis_states.run, 5),
    "trellis_stacked": (trellis_stacked.run, 5),
    "bounds": (bounds.run, 5),
    "allocation": (allocation.run, 6),
    "bias": (bias.run, 5),
    "bias_rows": (bias_rows.run, 5),
    "head": (lambda _: head.run(), 5),
}
#: Figures of results that are kept of other models.
COMPACT = ("gap_depth", "gap_to_rd", "pooled", "gptq_watersic_gap")
STYLE, FORMATS = "icml", ("pdf", "png")
#: Those whose rows take seconds to minutes; `rdtools figures` makes them of any run.
QUICK = ("spectra", "column_rates", "incoherence", "proxy_loss", "calibration", "rate_split")


def write_figure(name: str, runs: Sequence[Path], out: Path) -> None:
    """The table of one of `FIGURES` from runs, that of the embedded model first, and the drawing of its rows as they are kept."""
    make, digits = FIGURES[name]
    make(runs).to_csv(out / f"{name}.csv", index=False, float_format=f"%.{digits}g")
    with styled(STYLE):
        save_figure(draw_figure(name, {name: pd.read_csv(out / f"{name}.csv")}), out / name, FORMATS)


def _of_tables(out: Path) -> list[str]:
    """Figures whose tables are not made here, those of claims and of timings where there are some."""
    optional = {"tightness": "verdicts", "bench": "bench", "default_model_loss": "default_model_loss"}
    return [name for name in MODULES if name not in FIGURES and (out / f"{optional.get(name, 'results')}.csv").is_file()]


def write_verdicts(run: Path, out: Path) -> None:
    """Both sides of the claims that have a tightness, of a run that `rdtools verify` checked."""
    verdicts = read_verdicts(run / VERDICTS, VERDICT_VERSIONS).table
    if len(verdicts):
        shown = verdicts.loc[ratio(verdicts).notna(), ["subject", *(name for name in VERDICT_COLUMNS if name != "statement")]]
        shown.to_csv(out / "verdicts.csv", index=False, float_format="%.4g")


def write_run(run: Path, out: Path) -> None:
    """The tables of a report and of its claims that figures read, and all figures that are drawn of them or of rows that are kept there."""
    results, curves = read_results(run, READS), read_curves(run)
    drawn = set(results.drop_duplicates("layer").groupby("layer_type")["layer"].apply(lambda s: s.iloc[len(s) // 2]))
    results[list(READS)].to_csv(out / "results.csv", index=False, float_format="%.6g")
    curves[curves["layer"].isin(drawn)].to_csv(out / "curves.csv", index=False, float_format="%.6g")
    write_verdicts(run, out)
    figures(out, out, names=_of_tables(out), style=STYLE, formats=FORMATS, captions=False)


def _with_heldout(results: pd.DataFrame, heldout: Path) -> pd.DataFrame:
    """Results with held-out numbers, of the layers and methods that another run of the same weights and Hessians has them of."""
    reads, keys = MODULES["heldout"].READS, ["layer", "method", "target_bpw"]
    known = read_results(heldout, reads)[list(reads)].drop(columns="status").dropna()
    return results.merge(known.round({"effective_tokens": 1}), "left", keys)


def write_compact(run: Path, out: Path, heldout: Path | None = None) -> None:
    """Columns of the results that some figures need, to four decimals and with short names, and these figures."""
    reads = [*dict.fromkeys(name for figure in COMPACT for name in MODULES[figure].READS)]
    results = read_results(run, reads)[reads]
    results = (results if heldout is None else _with_heldout(results, heldout)).round(4)
    results["layer"] = results["block"].astype(str) + "." + results["layer_type"].str.removesuffix("_proj")
    results.to_csv(out / "results.csv", index=False)
    figures(out, out, names=[*COMPACT, *(["heldout"] if heldout else [])], style=STYLE, formats=FORMATS, captions=False)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("rdtools-report"), help="of rdtools report on the embedded model")
    parser.add_argument("--others", type=Path, nargs="*", default=[], help="runs of other models, which the figure of orders shows as well")
    parser.add_argument("--out", type=Path, default=Path("figures"))
    parser.add_argument("--compact", action="store_true", help="the quick figures and tables of any run, in few kilobytes")
    parser.add_argument("--heldout", type=Path, help="with --compact: a run with held-out tokens of the same model and calibration")
    parser.add_argument("--only", choices=[*FIGURES, "tightness"], help="one figure and its table")
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.only == "tightness":
        write_verdicts(options.run, options.out)
        figures(options.out, options.out, names=["tightness"], style=STYLE, formats=FORMATS, captions=False)
    for name in QUICK if options.compact else FIGURES if options.only is None else {options.only} & set(FIGURES):
        write_figure(name, [options.run, *options.others], options.out)
    if options.compact:
        write_compact(options.run, options.out, options.heldout)
    elif options.only is None:
        write_run(options.run, options.out)
    print(pd.Series(sorted(p.name for p in options.out.iterdir())).to_string(index=False))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
