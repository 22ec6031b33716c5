"""Time of kernels, coders and quantizers against the least that the machine could take, and against how others do the same.

python -m rdtools.analysis.bench [--op NAME] [--out figures/bench.csv]

Rows of the same ops in that file are replaced, those of others stay. `block` is a whole job on a block of Llama-3.2-1B's shapes, for which
2.5 GB of memory and about ten minutes on two idle cores are needed; it is the one that an installed package without the tests can run.

Every repetition times the floor and then the contestant, so that a ratio compares two neighbouring moments; rows give medians and 20 %
and 80 % quantiles over repetitions. An op whose tests fail is not reported. Rows are of the CPU; of a GPU there are none.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

import numba
import pandas as pd
import torch
from rdtools.analysis import bench_block, bench_crvq, bench_learnt, bench_ops
from rdtools.analysis.bench_measure import Op, environment, measure, passes
from threadpoolctl import threadpool_limits

from rdtools.report.figures import save_figure
from rdtools.report.figures.bench import draw as draw
from rdtools.report.figures.canvas import styled

OPS = {
    "sic_sweep": Op(bench_ops.build_sweep, (1024, 4096), ("tests/kernels/test_sic_sweep.py", "tests/kernels/test_philox.py")),
    "gptq": Op(bench_ops.build_gptq, (1024, 4096), ("tests/kernels/test_sic_sweep.py",)),
    "hadamard": Op(bench_ops.build_hadamard, (4096,), ("tests/kernels/test_hadamard.py",)),
    "rank_update": Op(bench_ops.build_rank_update, (4096,), ("tests/kernels/test_rank_update.py",)),
    "quadratic_form": Op(bench_ops.build_quadratic_form, (4096,), ("tests/kernels/test_quadratic_form.py",)),
    "column_histogram": Op(bench_ops.build_column_histogram, (4096,), ("tests/kernels/test_column_histogram.py",)),
    "e8p": Op(bench_ops.build_e8p, (4096,), ("tests/kernels/test_e8p.py",)),
    "nearest_centroid": Op(bench_ops.build_nearest_centroid, (4096,), ("tests/kernels/test_nearest_centroid.py",)),
    "coding": Op(bench_ops.build_coding, (4096,), ("tests/coding/test_container.py", "tests/coding/entropy/test_models.py")),
    "trellis_sic": Op(bench_ops.build_trellis_sic, (4096,), ("tests/kernels/test_coset_trellis.py", "tests/kernels/test_coset_coder.py")),
    "crvq": Op(bench_crvq.build_crvq, (1024,), ("tests/quantizers/methods/test_crvq.py", "tests/kernels/test_codebook.py")),
    "learnt": Op(bench_learnt.build_learnt, (4096,), ("tests/kernels/test_adaptive_coder.py", "tests/coding/entropy/test_adaptive.py")),
    "block": Op(bench_block.build_block, (2048,), ()),
    "quantize": Op(bench_ops.build_quantize, (4096,), ("tests/quantizers/test_conformance.py", "tests/quantizers/test_against_theory.py")),
}


def run(names: list[str], *, sizes: tuple[int, ...] | None, seconds: float, repeats: int, threads: int) -> tuple[pd.DataFrame, list[str]]:
    """Rows of the ops whose tests pass, and the names of the others."""
    green = {name: passes(OPS[name].tests) for name in names}
    rows = []
    before = torch.get_num_threads(), numba.get_num_threads()
    try:
        torch.set_num_threads(threads)
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        with threadpool_limits(threads, user_api="blas"):
            for name in (name for name in names if green[name]):
                for size in sizes or OPS[name].sizes:
                    for case in OPS[name].build(size):
                        rows += [{"op": name, **row} for row in measure(case, seconds=seconds, repeats=repeats)]
    finally:
        torch.set_num_threads(before[0])
        numba.set_num_threads(before[1])
    return pd.DataFrame(rows).assign(**environment(threads)), [name for name in names if not green[name]]


def _beside_others(rows: pd.DataFrame, place: Path) -> pd.DataFrame:
    """Rows with those of other ops that a file has, in the order of the ops."""
    if not place.is_file():
        return rows
    before, rows = pd.read_csv(place), pd.read_csv(io.StringIO(rows.to_csv(index=False, float_format="%.6g")))  # both of a file's types
    table = pd.concat([before[~before["op"].isin(rows["op"])], rows], ignore_index=True)
    order = {name: number for number, name in enumerate(OPS)}
    return table.sort_values("op", key=lambda ops: ops.map(order), kind="stable", ignore_index=True)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--op", action="append", choices=sorted(OPS), help="may be given again; all if left out")
    parser.add_argument("--out", type=Path, default=Path("figures/bench.csv"), help="the figure goes beside it")
    parser.add_argument("--size", type=int, action="append", help="rows and columns, in place of the op's own")
    parser.add_argument("--seconds", type=float, default=8.0, help="for each contestant, after which it is not run again")
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--threads", type=int, default=numba.config.NUMBA_NUM_THREADS)
    return parser


def main(argv: list[str] | None = None) -> int:
    options = build_parser().parse_args(argv)
    sizes = tuple(options.size) if options.size else None
    names = options.op or list(OPS)
    options.out.parent.mkdir(parents=True, exist_ok=True)  # before the long part
    rows, red = run(names, sizes=sizes, seconds=options.seconds, repeats=options.repeats, threads=options.threads)
    for name in red:
        print(f"{name}: not reported, its tests fail or are missing: {' '.join(OPS[name].tests)}", file=sys.stderr)
    if not rows.empty:
        table = _beside_others(rows, options.out)
        table.to_csv(options.out, index=False, float_format="%.6g")
        with styled():
            save_figure(draw(table), options.out.with_suffix(""))
        shown = ["op", "rows", "contestant", "dtype", "seconds", "cpu_seconds", "ratio_to_floor", "at_most", "relative_loss"]
        print(rows[shown].to_string(index=False, float_format="%.4g"))
    return 1 if red else 0


if __name__ == "__main__":
    raise SystemExit(main())
