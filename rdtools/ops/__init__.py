"""The only door to the kernels: one function an operation, dispatched to a backend.

The place of the data decides: NumPy arrays and CPU tensors go to the fastest of "numba" and "reference" that this machine has, CUDA
tensors to "triton" where there is such a kernel and else to "torch", those on other devices to "torch", and results are of the kind that
came in. A backend asked for by name and missing raises. Results carry the name of the backend that ran.
"""

from __future__ import annotations

from rdtools.ops.adaptive_coder import LearntModels as LearntModels
from rdtools.ops.adaptive_coder import adaptive_decode as adaptive_decode
from rdtools.ops.adaptive_coder import adaptive_encode as adaptive_encode
from rdtools.ops.adaptive_coder import adaptive_length as adaptive_length
from rdtools.ops.adaptive_coder import adaptive_moment as adaptive_moment
from rdtools.ops.cancellation import cancellation_moments as cancellation_moments
from rdtools.ops.codebook import codebook_error as codebook_error
from rdtools.ops.codebook import codebook_gradient as codebook_gradient
from rdtools.ops.codebook import codebook_search as codebook_search
from rdtools.ops.coordinate_descent import coordinate_descent as coordinate_descent
from rdtools.ops.coset_coder import coset_decode as coset_decode
from rdtools.ops.coset_coder import coset_encode as coset_encode
from rdtools.ops.coset_trellis import COSET_STATES as COSET_STATES
from rdtools.ops.coset_trellis import coset_transitions as coset_transitions
from rdtools.ops.coset_trellis import coset_trellis_sweep as coset_trellis_sweep
from rdtools.ops.dispatch import BACKENDS as BACKENDS
from rdtools.ops.dispatch import ON_DEVICE as ON_DEVICE
from rdtools.ops.dispatch import available_backends as available_backends
from rdtools.ops.dispatch import choose_backend as choose_backend
from rdtools.ops.dispatch import missing_triton_reason as missing_triton_reason
from rdtools.ops.e8p_residual import rvq_decode as rvq_decode
from rdtools.ops.e8p_residual import rvq_nearest as rvq_nearest
from rdtools.ops.gaussian import portable_normal as portable_normal
from rdtools.ops.hadamard import hadamard_inplace as hadamard_inplace
from rdtools.ops.householder import householder_product as householder_product
from rdtools.ops.moments import column_histogram as column_histogram
from rdtools.ops.moments import quadratic_form as quadratic_form
from rdtools.ops.moments import rank_update as rank_update
from rdtools.ops.registry import OPERATIONS as OPERATIONS
from rdtools.ops.registry import backends as backends
from rdtools.ops.registry import device_backend as device_backend
from rdtools.ops.registry import warm_up as warm_up
from rdtools.ops.sic import INTEGER_MAX as INTEGER_MAX
from rdtools.ops.sic import INTEGER_MIN as INTEGER_MIN
from rdtools.ops.sic import sic_sweep as sic_sweep
from rdtools.ops.sic import sic_sweep_sample_gains as sic_sweep_sample_gains
from rdtools.ops.threads import map_on_threads as map_on_threads
from rdtools.ops.trellis import trellis_decode as trellis_decode
from rdtools.ops.trellis import trellis_pack as trellis_pack
from rdtools.ops.trellis import trellis_quantize as trellis_quantize
from rdtools.ops.trellis import trellis_values as trellis_values
from rdtools.ops.vectors import centroid_update as centroid_update
from rdtools.ops.vectors import e8p_nearest as e8p_nearest
from rdtools.ops.vectors import e8p_words as e8p_words
from rdtools.ops.vectors import nearest_centroid as nearest_centroid
