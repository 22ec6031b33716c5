"""Products of Householder reflections as three matrix products, on any device that torch has."""

from __future__ import annotations

import torch
from torch import Tensor


def householder_product(
    x: Tensor,  # (m, n)
    vectors: Tensor,  # (K, n)
    scales: Tensor,  # (K,)
    starts: Tensor,  # (K,)
) -> None:
    """Same as `rdtools.kernels.householder_reference.householder_product` but for rounding: sums are those of the device's products.

    ``H_0 H_1 … H_{K−1} = I − Uᵀ T U`` with the vectors in the rows of U and ``T⁻¹ = diag(1/τ) + the strict upper triangle of U Uᵀ``; a
    scale of zero, whose reflection is the identity, counts as a vector of zeros.

    References
    ----------
    Puglisi, Modification of the Householder method based on the compact WY representation, SIAM J. Sci. Stat. Comput. 13 (1992), 723.
    """
    if len(scales) == 0 or x.numel() == 0:
        return
    columns = torch.arange(x.shape[1], device=x.device)
    U = torch.where((columns[None, :] >= starts[:, None]) & (scales[:, None] != 0), vectors, 0.0)
    inverse = torch.triu(U @ U.T, 1)
    inverse.diagonal().copy_(1.0 / torch.where(scales != 0, scales, 1.0))
    x -= torch.linalg.solve_triangular(inverse, x @ U.T, upper=True, left=False) @ U
