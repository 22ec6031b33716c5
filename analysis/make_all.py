"""Every figure that the repository keeps, and the table behind each, but for timings: those are `rdtools.analysis.bench`'s.

python -m rdtools.analysis.make_all --run rdtools-report --others runs/other [--only low_rate]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import pandas as pd
from rdtools.analysis import (
    ablation,
    bounds,
    coders,
    default_model_loss,
    equal_footing,
    low_rank,
    low_rate,
    orders,
    reassembly,
    trellis_frontier,
    trellis_stacked,
    trellis_states,
)

from rdtools.report import write_figures
from rdtools.report.figures import READS, save_figure
from rdtools.report.style import RC
from rdtools.runs.results import read_curves, read_results

#: Figures whose rows are made anew: rows from runs or from synthetic layers, the drawing, and digits of the table.
FIGURES = {
    "coders": (coders.run, coders.draw, 6),
    "orders": (orders.run, orders.draw, 4),
    "low_rate": (low_rate.run, low_rate.draw, 5),
    "low_rank": (lambda _: low_rank.run(), low_rank.draw, 6),
    "equal_footing": (equal_footing.run, equal_footing.draw, 6),
    "ablation": (ablation.run, ablation.draw, 6),
    "reassembly": (lambda _: reassembly.run(), reassembly.draw, 5),
    "trellis_frontier": (trellis_frontier.run, trellis_frontier.draw, 5),
    "trellis_states": (trellis_states.run, trellis_states.draw, 5),
    "trellis_stacked": (trellis_stacked.run, trellis_stacked.draw, 5),
    "bounds": (bounds.run, bounds.draw, 5),
}


def write_figure(name: str, runs: Sequence[Path], out: Path) -> None:
    """The table of one of `FIGURES` from runs, that of the embedded model first, and its drawing."""
    make, draw, digits = FIGURES[name]
    rows = make(runs)
    rows.to_csv(out / f"{name}.csv", index=False, float_format=f"%.{digits}g")
    with matplotlib.rc_context(RC):
        save_figure(draw(rows), out / name)


def write_run(run: Path, out: Path) -> None:
    """The figures of a report, the tables that they read, and the loss curve of the embedded model."""
    results, curves = read_results(run, READS), read_curves(run)
    write_figures(results, curves, out)
    drawn = set(results.drop_duplicates("layer").groupby("layer_type")["layer"].apply(lambda s: s.iloc[len(s) // 2]))
    results[list(READS)].to_csv(out / "results.csv", index=False, float_format="%.6g")
    curves[curves["layer"].isin(drawn)].to_csv(out / "curves.csv", index=False, float_format="%.6g")
    with matplotlib.rc_context(RC):
        save_figure(default_model_loss.draw(default_model_loss.run(out)), out / "default_model_loss")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("rdtools-report"), help="of rdtools report on the embedded model")
    parser.add_argument("--others", type=Path, nargs="*", default=[], help="runs of other models, which the figure of orders shows as well")
    parser.add_argument("--out", type=Path, default=Path("figures"))
    parser.add_argument("--only", choices=list(FIGURES), help="one figure and its table")
    options = parser.parse_args(argv)
    for name in FIGURES if options.only is None else [options.only]:
        write_figure(name, [options.run, *options.others], options.out)
    if options.only is None:
        write_run(options.run, options.out)
    print(pd.Series(sorted(p.name for p in options.out.iterdir())).to_string(index=False))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
