"""The scales and errors that `rdtools.quantizers.methods.qtip.TRELLIS_RMS` lists: a trellis on a source of independent normal numbers.

python -m rdtools.analysis.trellis_rms 3inst 12 2       one entry of the table: code, L and k; minutes for L = 12
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np

from rdtools.arrays import Float64Array, FloatArray
from rdtools.errors import UsageError
from rdtools.ops import trellis_quantize, trellis_values


@dataclass(frozen=True)
class TrellisError:
    """Scale and error of a trellis on a source.

    Attributes
    ----------
    input_rms : root mean square of what the search was given, in units of the table
    relative_error : squared error over the squares of the source
    standard_error : of the relative error, from the spread over sequences
    """

    input_rms: float
    relative_error: float
    standard_error: float


def relative_error(
    source: FloatArray,  # (S, T)
    values: Float64Array,  # (2^L, V)
    bits_per_weight: int,
    input_rms: float,
    *,
    backend: str | None = None,
) -> TrellisError:
    """Relative error of tail-biting paths on a source of unit variance that the search is given at this rms.

    ``ε = Σ (x − q(s x)/s)² / Σ x²`` over all weights x, s the rms. A ratio of sums varies less than the error alone, because both are large
    where the source is; its standard error is that of ``mean e_i − ε mean p_i`` over sequences with errors e_i and powers p_i.

    Parameters
    ----------
    source : (S, T) with S > 1, of unit variance
    values, bits_per_weight, backend : as for `trellis_quantize`
    input_rms : s, positive

    Raises
    ------
    ShapeMismatch, UnsupportedDtype, UsageError, NotFiniteInput, ScaleOutOfRange, BackendUnavailable
    """
    if source.ndim != 2 or len(source) < 2 or not input_rms > 0:
        raise UsageError(f"relative_error: source {source.shape}, rms {input_rms}; expected (S, T) with S > 1, and a positive rms")
    given = source * source.dtype.type(input_rms)
    _, reconstruction = trellis_quantize(given, values, bits_per_weight, backend=backend)
    errors = ((given - reconstruction) ** 2).sum(axis=1)
    powers = (given.astype(np.float64) ** 2).sum(axis=1)
    ratio = float(errors.sum() / powers.sum())
    spread = float(np.std(errors - ratio * powers, ddof=1))
    return TrellisError(input_rms, ratio, spread / (float(powers.mean()) * len(source) ** 0.5))


def best_rms(
    source: FloatArray,  # (S, T)
    values: Float64Array,  # (2^L, V)
    bits_per_weight: int,
    *,
    backend: str | None = None,
) -> TrellisError:
    """The input rms of least error on this source.

    In steps of 5 % of the rms of the values from 0.7 to 1.4 of it, then of 0.01 about the best of these.

    Raises
    ------
    ShapeMismatch, UnsupportedDtype, UsageError, NotFiniteInput, ScaleOutOfRange, BackendUnavailable
    """

    def best(candidates: Float64Array) -> TrellisError:
        results = [relative_error(source, values, bits_per_weight, float(s), backend=backend) for s in candidates]
        return min(results, key=lambda result: result.relative_error)

    coarse = best(np.sqrt(np.mean(values**2)) * np.arange(0.7, 1.425, 0.05)).input_rms
    return best(np.round(coarse, 2) + np.arange(-4, 5) / 100)


def main(argv: list[str] | None = None) -> int:
    """Search the scale on one source, measure the error on another, and print both as an entry of the table."""
    code, state_bits, bits = argv or sys.argv[1:]
    values, searched = trellis_values(code, int(state_bits)), 1024 if int(state_bits) <= 12 else 256
    rng = np.random.default_rng(0)
    rms = best_rms(rng.standard_normal((searched, 256), dtype=np.float32), values, int(bits)).input_rms
    error = relative_error(rng.standard_normal((8 * searched, 256), dtype=np.float32), values, int(bits), rms)
    spread = error.standard_error / error.relative_error
    print(f'("{code}", {state_bits}, {bits}): ({rms:.4g}, {error.relative_error:.4g}),  # standard error {spread:.1%}')
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
