"""Size and speed of the page of a large run, in a headless Chromium: ``python -m rdtools.analysis.page_speed --layers 5000``.

The run is synthetic: numbers are drawn that look like those of a Llama, and nothing is quantized.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rdtools.model.layer_names import LAYER_TYPES
from rdtools.records import Spectrum
from rdtools.records.rows import COLUMNS, SCHEMA_VERSION
from rdtools.report import Verdicts, paired_differences, write_figures, write_page
from rdtools.runs.run_manifest import Manifest
from rdtools.runs.spectra import write_spectrum
from rdtools.runs.store import Run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

#: Mean gap in bpw of each method, and the kind of its rate.
METHODS = {
    "rtn": (1.6, "fixed"), "hrtn": (0.8, "entropy_shared"), "gptq": (1.2, "fixed"), "hptq": (0.38, "entropy_shared"),
    "hptq+rotation": (0.36, "entropy_shared"), "hptq-column": (0.36, "entropy_column"), "watersic": (0.3, "entropy_column"),
    "watersic-shared": (0.4, "entropy_shared"), "watersic-mmse": (0.28, "entropy_column"), "watersic-trellis": (0.06, "entropy_trellis"),
    "quip": (0.65, "fixed"), "quip-sharp": (0.54, "fixed"), "qtip": (0.3, "fixed"),
}  # fmt: skip
RATES = (2.0, 3.0, 4.0)
_INPUTS = {"q_proj": 0, "k_proj": 0, "v_proj": 0, "o_proj": 1, "gate_proj": 2, "up_proj": 2, "down_proj": 3}
_CURVES = ("rd_bound", "rd_bound_rowvar", "rd_bound_aligned", "rd_bound_covariance", "shannon_lower_bound", "hptq", "watersic")


def _layers(count: int) -> pd.DataFrame:
    number = np.arange(count)
    block, kind = number // len(LAYER_TYPES), np.array(LAYER_TYPES)[number % len(LAYER_TYPES)]
    names = [f"model.layers.{b}.{'self_attn' if k[0] in 'qkvo' else 'mlp'}.{k}" for b, k in zip(block, kind, strict=True)]
    return pd.DataFrame({"layer": names, "layer_type": kind, "block": block, "hessian": 4 * block + [_INPUTS[k] for k in kind]})


def synthetic_table(layers: int, *, methods: Sequence[str] = tuple(METHODS), seed: int = 0) -> pd.DataFrame:
    """Rows of every layer, method and rate; every hundredth is infeasible, and every twentieth has a note."""
    rng = np.random.default_rng(seed)
    facts = _layers(layers).drop(columns="hessian")
    size = rng.lognormal(0, 0.3, (layers, 5))
    facts = facts.assign(
        rows=4096, columns=4096, active_columns=4096, rank=4096, n_tokens=131072, distinct_tokens=131072, weight_incoherence=8 * size[:, 0],
        hessian_incoherence=20 * size[:, 1], critical_rate_bpw=2 * size[:, 2], pred_gptq_gap_bpw=0.07 * size[:, 3],
        pred_gptq_gap_haar_bpw=0.05 * size[:, 3], pred_rtn_gap_bpw=0.5 * size[:, 4],
    )  # fmt: skip
    settings = pd.DataFrame([{"method": m, "target_bpw": rate, "rate_kind": METHODS[m][1]} for m in methods for rate in RATES])
    table = facts.merge(settings, how="cross")
    count = len(table)
    noise = rng.standard_normal((count, 8))
    gap = table["method"].map({m: gap for m, (gap, _) in METHODS.items()}) * (1 + 0.15 * noise[:, 0])
    symbols, overhead = table["target_bpw"] + 0.005 * noise[:, 1], 0.03 * np.exp(0.5 * noise[:, 2])
    bound = np.maximum(symbols + overhead - gap, 0.1)
    relative = 10 ** (-(6.0206 * bound + 2 + 2 * noise[:, 3]) / 10)
    place = np.arange(count)
    table = table.assign(
        model="synthetic", status=np.where(place % 100 == 99, "infeasible", "ok"), seed=0, distortion=1e-3 * relative,
        distortion_stderr=1e-5 * relative, relative_distortion=relative, sqnr_db=-10 * np.log10(relative),
        heldout_distortion=relative * (1 + 0.02 * noise[:, 4]), heldout_over_calibration=1 + 0.02 * noise[:, 4], symbol_bpw=symbols,
        overhead_bpw=overhead, total_bpw=symbols + overhead, rd_bound_rate_bpw=bound, rate_gap_total_bpw=symbols + overhead - bound,
        rate_gap_total_rowvar_bpw=symbols + overhead - bound + 0.05 * np.abs(noise[:, 5]), rate_gap_symbols_bpw=symbols - bound,
        measured_over_pred_high_rate=1 + 0.1 * noise[:, 6], measured_over_pred_finite_rate=1 + 0.01 * noise[:, 7], damping=0.0,
        rotation=np.where(table["method"].str.contains("rotation"), "hadamard", "none"), backend="numba", wall_s=np.exp(noise[:, 0]),
        schema_version=SCHEMA_VERSION,
        message=[f"overhead takes {o:.4f} bpw, more than unequal steps gain" if i % 20 == 0 else "" for i, o in enumerate(overhead)],
    )  # fmt: skip
    measured = [c.name for c in COLUMNS if c.kind in ("measured", "bound", "predicted") and c.name in table and c.name not in facts]
    table.loc[table["status"] != "ok", measured] = np.nan
    return table.reindex(columns=[column.name for column in COLUMNS])


def synthetic_curves(layers: int, *, points: int = 38) -> pd.DataFrame:
    """Theory curves of every layer."""
    rates = np.linspace(0, 4.625, points)
    names = _layers(layers)["layer"].to_numpy()
    offset = np.arange(len(_CURVES))[:, None]
    decibels = 6.0206 * rates + 5 * (1 - np.exp(-2 * rates)) - 0.7 * offset
    shift = np.random.default_rng(1).standard_normal((layers, 1, 1))
    distortion = 1e-3 * 10 ** (-(decibels + shift) / 10)
    shape = distortion.shape
    columns = (np.repeat(names, len(_CURVES) * points), np.tile(np.repeat(_CURVES, points), layers), np.broadcast_to(rates, shape).ravel())
    return pd.DataFrame(dict(zip(("layer", "curve", "rate_bpw", "distortion"), (*columns, distortion.ravel()), strict=True)))


def synthetic_run(folder: Path, layers: int, *, columns: int = 128) -> Run:
    """An opened run without Hessians or weights, whose spectra are on disk."""
    facts = _layers(layers)
    hessians = sorted(set(facts["hessian"]))
    place = {hessian: i for i, hessian in enumerate(hessians)}
    sha = [hashlib.sha256(str(hessian).encode()).hexdigest() for hessian in hessians]
    entry = {"bytes": 1, "columns": columns, "n_tokens": 131072, "dropped_tokens": 0, "distinct_tokens": 131072}
    tokens = {"source": "synthetic", "sequences": 64, "length": 2048, "padding": 0, "token_sha256": sha[0], "trust_remote_code": False}
    model = {"name": "synthetic", "source": "synthetic", "directory": None, "files": {"model.safetensors": {"bytes": 1, "sha256": sha[0]}}}
    manifest = Manifest.model_validate(
        {
            "created": "2026-01-01T00:00:00+00:00",
            "conventions": {},
            "versions": {"rdtools": "synthetic"},
            "model": {**model, "parameters": layers * 2**24, "analysed": layers * 2**24},
            "calibration": {**tokens, "device": "cpu", "runner": "block by block"},
            "hessians": [{**entry, "name": f"input {i}", "file": f"hessians/{i:04d}.safetensors", "sha256": s} for i, s in enumerate(sha)],
            "layers": [
                {"name": name, "tensor": f"{name}.weight", "shape": [columns, columns], "transposed": False, "hessian": place[hessian]}
                for name, hessian in zip(facts["layer"], facts["hessian"], strict=True)
            ],
        }
    )
    rng = np.random.default_rng(2)
    for index, name in enumerate(sha):
        values = np.sort(np.exp(2 * rng.standard_normal(columns)))
        spectrum = Spectrum(values[::-1].copy(), np.sqrt(rng.permutation(values)), values, columns, columns, 0.0, 0.3, False)
        write_spectrum(folder, index, spectrum, hessian=name)
    return Run(folder, manifest)


def write_synthetic(folder: Path, layers: int) -> Path:
    """The page of a synthetic run, with its figures."""
    run, table, curves = synthetic_run(folder, layers), synthetic_table(layers), synthetic_curves(layers)
    figures = write_figures(table, curves, folder / "figures")
    started = time.perf_counter()
    none = Verdicts(pd.DataFrame(columns=["subject"]))
    page = write_page(run, table, curves, paired_differences(table), figures, verdicts=none, command="none")
    seconds, size = time.perf_counter() - started, page.stat().st_size / 1e6
    print(f"{len(table)} rows of {layers} layers: page written in {seconds:.1f} s, {size:.2f} MB")
    return page


def chromium() -> str | None:
    """Path of a Chromium or Chrome on this machine; None where there is none."""
    return next((path for name in ("chromium", "chromium-browser", "google-chrome", "chrome") if (path := shutil.which(name))), None)


@contextmanager
def browser() -> Iterator[Browser]:
    """A headless Chromium without a sandbox, which root cannot have; it opens nothing but files of this machine."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield started
        started.close()


#: A sort of "rows" by a column, from the click to the next frame.
SORT = """(name) => new Promise((done) => {
  const at = page.rows.columns.findIndex((c) => c.name === name);
  document.querySelectorAll("#rows thead button")[at].click();
  requestAnimationFrame(() => setTimeout(done));
})"""


class _Clock:
    """Wall seconds, and CPU seconds of the page's main thread, which other programs of a busy machine do not lengthen."""

    def __init__(self, tab: Page) -> None:
        self._session = tab.context.new_cdp_session(tab)
        self._session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def now(self) -> tuple[float, float]:
        metrics = self._session.send("Performance.getMetrics")["metrics"]
        return time.perf_counter(), next(m["value"] for m in metrics if m["name"] == "TaskDuration")


def measure(path: Path, started: Browser) -> dict[str, tuple[float, float]]:
    """Wall and CPU seconds of opening a page, of sorting by numbers and by texts, and of a filter."""
    tab = started.new_page(viewport={"width": 1280, "height": 800})
    clock, timings = _Clock(tab), {}

    def timed(name: str, work: Callable[[], object]) -> None:
        before = clock.now()
        work()
        after = clock.now()
        timings[name] = (after[0] - before[0], after[1] - before[1])

    def summaries() -> None:
        tab.goto(path.as_uri(), wait_until="commit")
        tab.wait_for_selector("#gaps tbody td", timeout=120_000)

    def search() -> None:
        tab.locator("#rows-tools input[type=search]").fill("17.mlp")
        tab.wait_for_function("!document.getElementById('rows-count').textContent.startsWith(String(page.rows.length))")

    timed("first table", summaries)
    timed("table of all rows, after that", lambda: tab.wait_for_selector("#rows tbody th", timeout=120_000))
    for name in ("rate_gap_total_bpw", "relative_distortion", "layer", "message"):
        timed(f"sort by {name}", partial(tab.evaluate, SORT, name))
    timed("filter by text", search)
    return timings


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page of a synthetic run and print what is measured of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=5000)
    parser.add_argument("--out", type=Path, help="keep the run here")
    asked = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        page = write_synthetic(asked.out or Path(scratch), asked.layers)
        if chromium() is None:
            print("no Chromium on this machine: nothing is timed")
            return 0
        with browser() as started:
            for name, (wall, cpu) in measure(page, started).items():
                print(f"{name}: {wall:.3f} s, {cpu:.3f} s of CPU")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
