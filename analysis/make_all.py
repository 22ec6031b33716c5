"""Every figure that the repository keeps, and the table behind each, but for timings: those are `rdtools.analysis.bench`'s.

python -m rdtools.analysis.make_all --run rdtools-report --others runs/other
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import pandas as pd
from rdtools.analysis import coders, default_model_loss, low_rank, low_rate, orders, reassembly

from rdtools.report import write_figures
from rdtools.report.figures import READS, save_figure
from rdtools.report.style import RC
from rdtools.runs.results import read_curves, read_results


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("rdtools-report"), help="of rdtools report on the embedded model")
    parser.add_argument("--others", type=Path, nargs="*", default=[], help="runs of other models, which the figure of orders shows as well")
    parser.add_argument("--out", type=Path, default=Path("figures"))
    options = parser.parse_args(argv)
    results, curves = read_results(options.run, READS), read_curves(options.run)
    write_figures(results, curves, options.out)
    drawn = set(results.drop_duplicates("layer").groupby("layer_type")["layer"].apply(lambda s: s.iloc[len(s) // 2]))
    results[list(READS)].to_csv(options.out / "results.csv", index=False, float_format="%.6g")
    curves[curves["layer"].isin(drawn)].to_csv(options.out / "curves.csv", index=False, float_format="%.6g")
    loss = default_model_loss.run(options.out)
    tables = (
        (coders, coders.run(options.run), 6),
        (orders, orders.run([options.run, *options.others]), 4),
        (low_rate, low_rate.run(options.run), 5),
        (low_rank, low_rank.run(), 6),
        (reassembly, reassembly.run(), 5),
    )
    with matplotlib.rc_context(RC):
        save_figure(default_model_loss.draw(loss), options.out / "default_model_loss")
        for module, rows, digits in tables:
            stem = options.out / module.__name__.rpartition(".")[2]
            rows.to_csv(stem.with_suffix(".csv"), index=False, float_format=f"%.{digits}g")
            save_figure(module.draw(rows), stem)
    print(pd.Series(sorted(p.name for p in options.out.iterdir())).to_string(index=False))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
