"""Haar-distributed orthogonal matrices."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from rdtools.transforms.one_thread import one_blas_thread


def haar_matrix(order: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """An orthogonal matrix from the Haar measure, shape (order, order).

    QR of a Gaussian matrix with the signs of R's diagonal moved into Q; without that step the law is not invariant. The same generator
    gives the same bits whatever the number of threads.

    References
    ----------
    Mezzadri, How to generate random matrices from the classical compact groups, Notices of the AMS 54 (2007).
    """
    with one_blas_thread():
        Q, R = scipy.linalg.qr(generator.standard_normal((order, order)), overwrite_a=True, check_finite=False)
    return np.asarray(Q * np.where(np.diagonal(R) < 0, -1.0, 1.0))
