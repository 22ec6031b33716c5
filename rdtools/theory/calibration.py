"""What too few calibration tokens cost, in closed form."""

from __future__ import annotations

import math


def calibration_penalty_bits(ratio: float) -> float:
    """``½ log2(1/(1−y)) + (−1 + ((y−1)/y) ln(1−y)) / (2 ln 2)``: bits that WaterSIC loses to too few calibration tokens.

    At high rate, with a Hessian from N = n/y independent normal tokens: the limit, for n and N large, of
    ``½ log2(AM/GM of the eigenvalues of Σ̃⁻¹ Σ)`` with Σ̃ the sample moment. The arithmetic mean is 1/(1−y), the geometric mean comes from
    the mean log-determinant of a Wishart matrix. 0 at y = 0, ¼ y log2(e) to first order, infinite at y = 1. Tokens of one text are
    correlated, so that their effective number is smaller than their count.

    Parameters
    ----------
    ratio : y = n/N, columns over effective tokens, in [0, 1]

    Raises
    ------
    ValueError
        For y outside [0, 1].

    References
    ----------
    Derived for this project (mismatched successive cancellation, Marchenko–Pastur law).

    Examples
    --------
    >>> [round(calibration_penalty_bits(y), 4) for y in (0.0, 0.05, 0.25, 0.5)]
    [0.0, 0.0187, 0.1087, 0.2787]
    """
    y = float(ratio)
    if not 0 <= y <= 1:
        raise ValueError(f"calibration penalty: ratio {ratio} of columns to tokens, expected 0 to 1; above 1 the Hessian is singular")
    if y == 1:
        return math.inf
    if y < 1e-4:  # series; the closed form cancels: −1 + ((y−1)/y) ln(1−y) = −y/2 − y²/6 − …
        return (y / 2 + y * y / 4 - y / 4 - y * y / 12) / math.log(2)
    log = math.log1p(-y)
    return (-0.5 * log + 0.5 * (-1.0 + (y - 1.0) / y * log)) / math.log(2)
