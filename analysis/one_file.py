"""Total rate above R(D), one variance, of every matrix of a run on a trellis: in a file of its own, and in one with those of its input.

python -m rdtools.analysis.one_file --run RUN

The integers of both are the same: one file has the exponents of column steps once. It is written where it is smaller.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from rdtools.compare import BOUNDS, LayerFacts, layer_facts
from rdtools.measure import measure
from rdtools.measure.point import coded
from rdtools.methods import parse_method
from rdtools.moments.layer import Layer
from rdtools.runs.store import open_run

METHODS = ("watersic-trellis",)
RATES = (2.0, 3.0, 4.0)
BOUND = "rd_bound"


def rows_of(layers: Sequence[Layer], facts: Sequence[LayerFacts], method: str, rate: float) -> Iterator[dict[str, object]]:
    """Rows of the matrices of one input, first those of a file each."""
    names = [layer.key.name for layer in layers]
    answers = [parse_method(method, rate).quantize(layer) for layer in layers]
    weights = [answer.weight for answer in answers]
    alone = [coded([weight], [name])[0] for weight, name in zip(weights, names, strict=True)]
    for suffix, files in (("", alone), ("+one-file", coded(weights, names))):
        for layer, known, answer, file in zip(layers, facts, answers, files, strict=True):
            point = measure(layer, answer, file=file)
            yield {
                "layer": layer.key.name,
                "layer_type": layer.key.type,
                "weights": layer.weight.size,
                "method": f"{method}{suffix}",
                "target_bpw": rate,
                "container_layers": file.layers,
                "total_bpw": point.total_bpw,
                "rate_gap_total_bpw": point.total_bpw - BOUNDS[BOUND].rate(known, point.distortion),
            }


def run(folder: Path, rates: Sequence[float] = RATES, methods: Sequence[str] = METHODS) -> pd.DataFrame:
    """Rows of every matrix of a run."""
    opened, by_input = open_run(folder), dict[str, list[str]]()
    for entry in opened.layers:
        by_input.setdefault(entry.hessian, []).append(entry.name)
    rows: list[dict[str, object]] = []
    for names in by_input.values():
        layers = [opened[name] for name in names]
        facts = [layer_facts(layer) for layer in layers]
        for method in methods:
            for rate in rates:
                rows += rows_of(layers, facts, method, rate)
    return pd.DataFrame(rows).sort_values(["method", "target_bpw", "layer"], ignore_index=True)


def main(argv: list[str] | None = None) -> int:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("rdtools-report"), help="of rdtools report on the embedded model")
    parser.add_argument("--out", type=Path, default=Path("figures/one_file.csv"))
    options = parser.parse_args(argv)
    run(options.run).to_csv(options.out, index=False, float_format="%.5g")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
