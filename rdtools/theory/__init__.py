"""Closed forms: limits and predictions. Nothing here looks at a measured number."""

from rdtools.theory import activation as activation
from rdtools.theory import activation_moments as activation_moments
from rdtools.theory import allocation as allocation
from rdtools.theory import bias_correction as bias_correction
from rdtools.theory import byte_budget as byte_budget
from rdtools.theory import calibration as calibration
from rdtools.theory import channel_merging as channel_merging
from rdtools.theory import correction_target as correction_target
from rdtools.theory import critical_channels as critical_channels
from rdtools.theory import finite_rate as finite_rate
from rdtools.theory import fixed_rate as fixed_rate
from rdtools.theory import high_rate as high_rate
from rdtools.theory import incoherence as incoherence
from rdtools.theory import lattice as lattice
from rdtools.theory import ldlq as ldlq
from rdtools.theory import low_rank as low_rank
from rdtools.theory import mismatch as mismatch
from rdtools.theory import mixture as mixture
from rdtools.theory import mmse_plan as mmse_plan
from rdtools.theory import mmse_sic as mmse_sic
from rdtools.theory import rotated_cholesky as rotated_cholesky
from rdtools.theory import row_covariance as row_covariance
from rdtools.theory import shannon as shannon
from rdtools.theory import sic as sic
from rdtools.theory import vector_code_rate as vector_code_rate
from rdtools.theory import waterfilling as waterfilling
