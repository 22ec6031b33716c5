"""Rate above R(D) of NNCodec on the matrices of one block: dependent quantization and arithmetic coding that know no Hessian.

python -m rdtools.analysis.nncodec_peer --run RUN --python VENV/bin/python
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from rdtools.analysis.trellis_frontier import BLOCK

from rdtools.compare import BOUNDS, layer_facts
from rdtools.moments.layer import Layer
from rdtools.runs.store import open_run

#: Quantization parameters: a step grows by 2^(1/4) with each.
PARAMETERS = (-32, -28, -24, -20, -16)


def coded_rows(layer: Layer, parameter: int, decoded: np.ndarray, size: int) -> dict[str, object]:
    """Rate of the whole bitstream, distortion under H, and the gaps to every bound; and the gap in mean square alone, H = I."""
    facts, error = layer_facts(layer), layer.weight - decoded
    m, n = error.shape
    distortion, total = float(np.einsum("ij,jk,ik->", error, layer.hessian.matrix, error)) / (m * n), 8 * size / (m * n)
    mean_square = float(np.mean(error**2)) / float(np.mean(layer.weight**2))
    return {
        "layer": layer.key.name,
        "layer_type": layer.key.type,
        "qp": parameter,
        "total_bpw": total,
        "distortion": distortion,
        **{f"gap_to_{bound.name}_bpw": total - bound.rate(facts, distortion) for bound in BOUNDS.values()},
        "gap_in_mean_square_bpw": total + 0.5 * float(np.log2(mean_square)),
    }


def run(folder: Path, python: str, parameters: tuple[int, ...] = PARAMETERS) -> pd.DataFrame:
    """A row for each matrix of the block and parameter."""
    opened = open_run(folder)
    layers = [layer for layer in (opened[name] for name in opened) if layer.key.block == BLOCK]
    worker = Path(__file__).with_name("nncodec_worker.py")
    with tempfile.TemporaryDirectory() as scratch:
        source, target = Path(scratch) / "weights.npz", Path(scratch) / "coded.npz"
        np.savez(source, **{layer.key.name: layer.weight.astype(np.float32) for layer in layers})
        subprocess.run([python, str(worker), str(source), str(target), *map(str, parameters)], check=True)
        with np.load(target) as coded:
            return pd.DataFrame(
                coded_rows(layer, qp, coded[f"{layer.key.name}|{qp}"].astype(np.float64), int(coded[f"{layer.key.name}|{qp}|bytes"]))
                for layer in layers
                for qp in parameters
            )


def main(argv: list[str] | None = None) -> int:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("rdtools-report"), help="of rdtools report on the embedded model")
    parser.add_argument("--python", required=True, help="interpreter of an environment with nncodec")
    parser.add_argument("--out", type=Path, default=Path("figures/nncodec.csv"))
    options = parser.parse_args(argv)
    run(options.run, options.python).to_csv(options.out, index=False, float_format="%.6g")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
