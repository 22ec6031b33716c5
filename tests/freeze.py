"""The freeze: hashes of what every method decides, so that a restructured tree can be shown to compute the same.

    python tests/freeze.py write RECORD.parquet [--run DIR] [selection]     record the tree as it is
    python tests/freeze.py check RECORD.parquet [--run DIR] [selection]     run again and compare

Every method name, one rotated and one ordered form of each, at 2, 3 and 4 bits, with one thread, on blocks 0 and 5 of the embedded
model, or on all layers of a run directory. A row holds the SHA-256 of the symbols that the file decodes to, the distortion and the bytes
of the file. Symbols and bytes must agree exactly, the distortion to 1e-12 relative, which allows for sums taken in another order.

A record is valid for one kind of processor: another BLAS kernel rounds otherwise and moves symbols at ties. So it is compared by hand
before and after a change, on one machine; the suite runs `test_freeze.py`, which checks that the comparison itself can fail.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import multiprocessing
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed

from rdtools.coding import decode, encode
from rdtools.errors import RdtoolsError
from rdtools.measure import measure
from rdtools.methods import METHODS, RENAMED, format_method, make_quantizers
from rdtools.quantizers import ActivationQuantizer, Quantizer
from rdtools.runs.store import Run, open_run

RATES = (2.0, 3.0, 4.0)
BLOCKS = (0, 5)
RELATIVE_DISTORTION = 1e-12
KEY = ["model", "layer", "method", "rate"]

#: Names of version 0.1 whose meaning changed with the name.
_MEANT = {"gptq": "hptq", "rtn": "hrtn"}
#: Names of version 0.1 that had a suffix in another place.
_SUFFIXED = {"quip-sharp+hadamard-unrefined": "quip-sharp-unrefined+hadamard"}


def method_forms() -> list[str]:
    """Every name of a method for weights alone, a rotated form of each, and an ordered one where columns are decided one after another."""
    forms = []
    for name in METHODS:
        (quantizer,) = make_quantizers([name], [3.0])
        if isinstance(quantizer, ActivationQuantizer):  # which needs more than a layer
            continue
        forms.append(name)
        if hasattr(quantizer, "rotation"):
            forms.append(name + ("+rotation" if quantizer.rotation is None else "+hadamard"))
        if hasattr(quantizer, "order") and getattr(quantizer, "groups", "static") == "static":
            forms.append(name + "+act-order")
    return forms


def renamed(record: pd.DataFrame) -> pd.DataFrame:
    """A record of version 0.1 under the names of today."""

    def today(method: str) -> str:
        if method in _SUFFIXED:
            return _SUFFIXED[method]
        base, plus, suffixes = method.partition("+")
        return (RENAMED | _MEANT).get(base, base) + plus + suffixes

    return record.assign(method=record["method"].map(today))


def _symbols(symbols: Any) -> list[np.ndarray]:
    for name in ("integers", "words", "paths", "codes"):
        if hasattr(symbols, name):
            value = getattr(symbols, name)
            return list(value) if isinstance(value, tuple) else [value]
    raise TypeError(f"{type(symbols).__name__}: symbols that the freeze does not know")


def _sha(symbols: Any) -> str:
    digest = hashlib.sha256()
    for array in _symbols(symbols):
        digest.update(np.ascontiguousarray(array).astype("<i4").tobytes())
    return digest.hexdigest()


def freeze_layer(run: Run, name: str, quantizers: Sequence[Quantizer]) -> list[dict[str, object]]:
    """One row for each quantizer; a refused rate is a row too."""
    layer = run[name]
    rows = []
    for quantizer in quantizers:
        row: dict[str, object] = {"model": run.model_name, "layer": name, "method": format_method(quantizer), "rate": quantizer.rate_bits}
        try:
            quantized = quantizer.quantize(layer, seed=0)
        except (RdtoolsError, ArithmeticError) as error:
            rows.append(row | {"sha256": type(error).__name__, "distortion": np.nan, "bytes": 0})
            continue
        data = encode(quantized.weight).data
        symbols = decode(data).symbols
        rows.append(row | {"sha256": _sha(symbols), "distortion": measure(layer, quantized).distortion, "bytes": len(data)})
    return rows


def compare_records(expected: pd.DataFrame, actual: pd.DataFrame) -> list[str]:
    """One line for each row of `actual` that differs from `expected` or is missing there."""
    both = actual.merge(expected, on=KEY, how="left", suffixes=("", "_expected"))
    lines = []
    for row in both.itertuples():
        where = f"{row.layer}: {row.method} at {row.rate:g}"
        if not isinstance(row.sha256_expected, str):
            lines.append(f"{where}: not in the record")
        elif row.sha256 != row.sha256_expected:
            lines.append(f"{where}: symbols {row.sha256[:12]}, expected {row.sha256_expected[:12]}")
        elif row.bytes != row.bytes_expected:
            lines.append(f"{where}: {row.bytes} bytes, expected {row.bytes_expected:g}")
        elif not np.isclose(row.distortion, row.distortion_expected, rtol=RELATIVE_DISTORTION, atol=0, equal_nan=True):
            lines.append(f"{where}: distortion {row.distortion!r}, expected {row.distortion_expected!r}")
    return lines


def _layers(run: Run, pattern: str) -> list[str]:
    embedded = run.model_name == "embedded"
    names = [e.name for e in run.layers if fnmatch.fnmatch(e.name, pattern) and (not embedded or run.key(e).block in BLOCKS)]
    if not names:
        raise SystemExit(f"--layers {pattern!r} matches no layer of {run.model_name} that is frozen")
    return names


def _work(job: tuple[Path, str, list[str], list[float]]) -> list[dict[str, object]]:
    path, name, methods, rates = job
    quantizers: list[Quantizer] = []
    for method in methods:
        for rate in rates:
            try:
                quantizers += make_quantizers([method], [rate])
            except RdtoolsError:
                continue  # a setting that the constructor refuses has no row
    return freeze_layer(open_run(path, verified=True), name, quantizers)


def freeze(path: Path, *, methods: Sequence[str], layers: str = "*", rates: Sequence[float] = RATES, workers: int = 2) -> pd.DataFrame:
    """The record of a run directory."""
    run = open_run(path)
    jobs = [(path, name, list(methods), list(rates)) for name in _layers(run, layers)]
    rows: list[dict[str, object]] = []
    with multiprocessing.get_context("spawn").Pool(workers, initializer=threadpool_limits, initargs=(1,)) as pool:
        for index, part in enumerate(pool.imap(_work, jobs), 1):
            rows += part
            print(f"{index}/{len(jobs)} layers", file=sys.stderr, flush=True)
    return pd.DataFrame(rows).sort_values(KEY, ignore_index=True)


def _embedded_run(folder: Path) -> Path:
    from rdtools.jobs.calibration import CalibrationRequest
    from rdtools.jobs.collect import collect

    return collect("embedded", CalibrationRequest(), out=folder).path


def main(argv: Sequence[str] | None = None) -> int:
    """Write or check a record; 1 if a row differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=("write", "check"))
    parser.add_argument("record", type=Path)
    parser.add_argument("--run", type=Path, help="run directory; a new one of the embedded model is made if it does not exist")
    parser.add_argument("--methods", default="*", help="pattern, such as 'hptq*'")
    parser.add_argument("--layers", default="*", help="pattern, such as '*.0.*'")
    parser.add_argument("--rates", type=float, nargs="+", default=list(RATES))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--renamed", action="store_true", help="the record has the names of version 0.1")
    options = parser.parse_args(argv)
    path = options.run or Path("runs/freeze")
    if not (path / "manifest.json").is_file():
        _embedded_run(path)
    methods = fnmatch.filter(method_forms(), options.methods)
    actual = freeze(path, methods=methods, layers=options.layers, rates=options.rates, workers=options.workers)
    if options.action == "write":
        actual.to_parquet(options.record, index=False, compression="zstd")
        print(f"{options.record}: {len(actual)} rows")
        return 0
    expected = pd.read_parquet(options.record)
    differences = compare_records(renamed(expected) if options.renamed else expected, actual)
    print("\n".join([*differences[:50], f"{len(actual)} rows, {len(differences)} differ"]))
    return 1 if differences else 0


if __name__ == "__main__":
    raise SystemExit(main())
