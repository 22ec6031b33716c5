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
    bits per weight; its kind is one of
    entropy_column (symbols under a Gaussian entropy model of each column),
    entropy_trellis (the same given the parity that a trellis' state implies),
    entropy_lattice (the same given the parities of a vector of a lattice, which a codeword says),
    entropy_adaptive (the same with a mean and a variance that the decoder learns from the rows that it has),
    entropy_histogram (under a table of each column),
    entropy_shared (symbols under one pooled frequency table, and the table),
    fixed (logarithm of the number of levels),
    total (8 × bytes of a file that decodes to Ŵ, all side information included).
Gap
    rate minus R(D), the reverse-waterfilling rate at the measured distortion, in bits per weight.
Order of successive cancellation
    ``H = L Lᵀ`` with L lower triangular; columns are decided from the last to the first.
"""

from __future__ import annotations

import math

#: Noise power of a uniform scalar quantizer with entropy coding over that of the Gaussian limit at high rate.
SCALAR_LOSS = 2 * math.pi * math.e / 12
#: The same in bits: ½ log2(2πe/12) = 0.2546.
SCALAR_LOSS_BITS = 0.5 * math.log2(SCALAR_LOSS)
