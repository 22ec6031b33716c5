"""Matrices through NNCodec, the reference software of ISO/IEC 15938-17: coded with its dependent quantization and decoded again.

Runs in an environment of its own, ``pip install nncodec``, which needs an older NumPy than rdtools: see `rdtools.analysis.nncodec_peer`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np


def main(argv: list[str] | None = None) -> int:
    """``WEIGHTS.npz OUT.npz QP…``: of each matrix and parameter the decoded matrix, ``name|qp``, and bytes, ``name|qp|bytes``."""
    source, target, *parameters = sys.argv[1:] if argv is None else argv
    from nncodec import nnc

    weights, coded = np.load(Path(source)), {}
    for name in weights:
        for qp in map(int, parameters):
            stream = nnc.compress({name: weights[name]}, qp=qp, use_dq=True, return_bitstream=True, bitstream_path=None)
            coded[f"{name}|{qp}"] = nnc.decompress(stream)[name]
            coded[f"{name}|{qp}|bytes"] = np.array(len(stream))
    np.savez(Path(target), **coded)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
