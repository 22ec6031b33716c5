"""The only door to the kernels: one function an operation, dispatched to a backend.

The place of the data decides: NumPy arrays and CPU tensors go to the fastest of "numba" and "reference" that this machine has, CUDA
tensors to "triton", and results are of the kind that came in. A backend asked for by name and missing raises. Results carry the name of
the backend that ran.
"""

from __future__ import annotations

import numpy as np

from rdtools.ops.coordinate_descent import coordinate_descent as coordinate_descent
from rdtools.ops.dispatch import BACKENDS as BACKENDS
from rdtools.ops.dispatch import available_backends as available_backends
from rdtools.ops.dispatch import choose_backend as choose_backend
from rdtools.ops.dispatch import why_no_triton as why_no_triton
from rdtools.ops.e8p_residual import rvq_decode as rvq_decode
from rdtools.ops.e8p_residual import rvq_nearest as rvq_nearest
from rdtools.ops.hadamard import hadamard_multiply as hadamard_multiply
from rdtools.ops.householder import householder_product as householder_product
from rdtools.ops.moments import column_histogram as column_histogram
from rdtools.ops.moments import quadratic_form as quadratic_form
from rdtools.ops.moments import rank_update as rank_update
from rdtools.ops.sweep import CODE_MAX as CODE_MAX
from rdtools.ops.sweep import CODE_MIN as CODE_MIN
from rdtools.ops.sweep import cross_target as cross_target
from rdtools.ops.sweep import sic_sweep as sic_sweep
from rdtools.ops.sweep import sic_sweep_sample_gains as sic_sweep_sample_gains
from rdtools.ops.trellis import trellis_decode as trellis_decode
from rdtools.ops.trellis import trellis_pack as trellis_pack
from rdtools.ops.trellis import trellis_quantize as trellis_quantize
from rdtools.ops.trellis import trellis_values as trellis_values
from rdtools.ops.vectors import centroid_update as centroid_update
from rdtools.ops.vectors import e8p_nearest as e8p_nearest
from rdtools.ops.vectors import e8p_words as e8p_words
from rdtools.ops.vectors import nearest_centroid as nearest_centroid


def warm_up() -> None:
    """Compile the kernels that quantizers use, so that worker processes load them from the cache."""
    if choose_backend(None) == "numba":
        for order in (1, 2):
            hadamard_multiply(np.zeros((1, 2)), np.ones((order, order)))
        sic_sweep(np.zeros((1, 1)), np.ones((1, 1)), np.ones(1), residual=False)
