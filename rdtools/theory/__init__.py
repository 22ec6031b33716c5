"""Closed forms: limits and predictions. Nothing here looks at a measured number."""

from rdtools.theory import high_rate as high_rate
from rdtools.theory import incoherence as incoherence
from rdtools.theory import rotation as rotation
from rdtools.theory import sic as sic
from rdtools.theory import waterfilling as waterfilling
