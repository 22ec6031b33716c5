"""Methods on equal footing, WaterSIC's corrections added one at a time: the whole model quantized, evaluated, and its files counted.

All methods see the same moments of the partly quantized model, with the same damping, and code their integers with a Gaussian model per
column, those of a trellis given their parity; ``+adaptive`` has learnt models instead. A row's corrections are those that its name lists.

    python -m rdtools.analysis.ablation --model embedded --out figures/ablation.csv
    python -m rdtools.analysis.ablation --model DIR --name NAME --text train.txt --evaluation-text test.txt --out figures/ablation.csv

Each finished row is in the table at once, and the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rdtools.corrections.table import CORRECTIONS
from rdtools.errors import RateUnreachable
from rdtools.files import atomic_path
from rdtools.jobs.calibration import CalibrationRequest, EvaluationRequest
from rdtools.jobs.evaluate import evaluate
from rdtools.jobs.quantize import quantize_model
from rdtools.report.figures.ablation import draw as draw

METHODS = (
    *("hrtn-column", "hptq-column", "hptq-column+rotation", "watersic", "watersic-mmse", "watersic-trellis"),
    *("watersic-mmse+adaptive", "watersic-trellis+adaptive"),
)
RATES = (2.0, 3.0)
#: Of every method, relative to the mean diagonal: WaterSIC's.
DAMPING = 1e-4
#: Corrections that are on in each step, one more each time.
STEPS = tuple(tuple(one.name for one in CORRECTIONS[:count]) for count in range(len(CORRECTIONS) + 1))
COLUMNS = (
    *("model", "method", "target_bpw", "corrections", "damping", "protocol", "scored_tokens", "clusters", "total_bpw"),
    *(
        "summed_relative_distortion",
        "summed_relative_output_error",
        "perplexity_original",
        "perplexity",
        "perplexity_low",
        "perplexity_high",
    ),
    *("kl_nats", "kl_stderr", "kl_low", "kl_high", "kl_cvar1_nats", "top1_agreement", "seconds"),
)


def step_name(names: Sequence[str]) -> str:
    """Corrections as a row has them.

    Examples
    --------
    >>> step_name(()), step_name(("drift", "residual"))
    ('none', 'drift+residual')
    """
    return "+".join(names) or "none"


def row(model: str, method: str, bits: float, names: Sequence[str], *, name: str, windows: int | None, **data: Any) -> dict[str, Any]:
    """A model quantized in a directory that is removed again, and evaluated.

    Parameters
    ----------
    model, method, bits, names : what is quantized and how; names of corrections
    name : of the model in the table
    windows : that are scored, None for all
    data : `calibration` and `evaluation`, requests as of the jobs
    """
    started, folder = time.perf_counter(), Path(tempfile.mkdtemp(prefix="rdtools-ablation-"))
    try:
        saved = quantize_model(
            model,
            method,
            bits,
            folder / "model",
            corrections=names,
            damping=DAMPING,
            calibration=data.get("calibration"),
            say=lambda sentence: None,
        )
        evaluated = evaluate(folder / "model", evaluation=data.get("evaluation"), noise=False, windows=windows, say=lambda sentence: None)
    finally:
        shutil.rmtree(folder)
    outputs = [entry.relative_output_error for entry in saved.layers]
    facts = evaluated.iloc[0].to_dict() | {
        "model": name,
        "method": method,
        "corrections": step_name(names),
        "damping": DAMPING,
        "summed_relative_output_error": sum(value for value in outputs if value is not None) if any(outputs) else np.nan,
        "seconds": time.perf_counter() - started,
    }
    return {column: facts[column] for column in COLUMNS}


def rows_missing(
    table: pd.DataFrame, name: str, methods: Sequence[str], rates: Sequence[float], steps: Sequence[Sequence[str]]
) -> Iterator[tuple[str, float, Sequence[str]]]:
    """Methods, rates and corrections that a table has no row of."""
    keys = ["model", "method", "target_bpw", "corrections"]
    known = set(table[keys].itertuples(index=False, name=None)) if len(table) else set()
    for rate in rates:
        for names in steps:
            yield from ((method, rate, names) for method in methods if (name, method, rate, step_name(names)) not in known)


def run(runs: Sequence[Path]) -> pd.DataFrame:
    """The table that the repository has: its rows take hours, and are made by the command above."""
    return pd.read_csv(Path(__file__).resolve().parents[1] / "figures" / "ablation.csv")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--name", help="of the model in the table")
    parser.add_argument("--text", help="for calibration")
    parser.add_argument("--sequences", type=int, help="of the calibration")
    parser.add_argument("--length", type=int, help="of a calibration sequence")
    parser.add_argument("--evaluation-text", help="that is scored")
    parser.add_argument("--windows", type=int, help="scored at most")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--rates", default=",".join(f"{rate:g}" for rate in RATES))
    parser.add_argument("--steps", default=",".join(str(step) for step in range(len(STEPS))), help="numbers of corrections that are on")
    parser.add_argument("--out", type=Path, default=Path("figures/ablation.csv"))
    options = parser.parse_args(argv)
    name = options.name or options.model
    table = pd.read_csv(options.out) if options.out.is_file() else pd.DataFrame(columns=list(COLUMNS))
    steps, rates = [STEPS[int(step)] for step in options.steps.split(",")], [float(rate) for rate in options.rates.split(",")]
    calibration = CalibrationRequest(text=options.text, sequences=options.sequences, length=options.length)
    evaluation = EvaluationRequest(text=options.evaluation_text)
    for method, rate, names in list(rows_missing(table, name, options.methods.split(","), rates, steps)):
        data = {"calibration": calibration, "evaluation": evaluation, "windows": options.windows}
        try:
            result = row(options.model, method, rate, names, name=name, **data)
        except RateUnreachable as error:
            print(f"{method} at {rate:g} with {step_name(names)}: {error}", flush=True)
            continue
        table = pd.concat([table, pd.DataFrame([result])], ignore_index=True) if len(table) else pd.DataFrame([result])
        with atomic_path(options.out) as out:
            table.to_csv(out, index=False, float_format="%.6g")
        print(f"{method} {rate:g} {step_name(names)}: {result['total_bpw']:.4f} bpw, KL {result['kl_nats']:.5f}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
