"""Conventions and constants, stated once.

Weight ``W``
    shape (m, n) = (out_features, in_features), as ``torch.nn.Linear.weight``.
Hessian ``H``
    E[x xᵀ], shape (n, n): the uncentred mean over tokens; no factor 2, no damping.
Distortion
    ``tr((W − Ŵ) H (W − Ŵ)ᵀ) / (m n)``: per weight, always with the undamped H.
Relative distortion
    distortion over ``tr(W H Wᵀ) / (m n)``.
Rate
    bits per weight; its kind is one of RATE_KINDS.
Gap
    rate minus the reverse-waterfilling rate at the measured distortion, in bits per weight.
Order of successive cancellation
    ``H = L Lᵀ`` with L lower triangular; columns are decided from the last to the first.
"""

from __future__ import annotations

import math

#: entropy_column: codes under one model a column; entropy_shared: under one histogram of the whole matrix;
#: fixed: logarithm of the number of levels; coded: 8 × bytes of a file that decodes to Ŵ, side information included.
RATE_KINDS = ("entropy_column", "entropy_shared", "fixed", "coded")

#: What a uniform scalar quantizer with entropy coding loses to the Gaussian limit at high rate: ½ log2(2πe/12) bits.
SCALAR_LOSS_BITS = 0.5 * math.log2(2 * math.pi * math.e / 12)

#: Bits of one stored scale (bfloat16).
SCALE_BITS = 16

NATS_PER_BIT = math.log(2)
