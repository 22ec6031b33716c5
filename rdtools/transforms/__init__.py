"""Orthogonal transforms."""

from rdtools.transforms.haar import haar_matrix as haar_matrix
from rdtools.transforms.hadamard import hadamard_multiply as hadamard_multiply
from rdtools.transforms.hadamard import is_hadamard_order as is_hadamard_order
from rdtools.transforms.kronecker import kronecker_orders as kronecker_orders
from rdtools.transforms.rotation import RotationChoice as RotationChoice
from rdtools.transforms.rotation import new_rotation as new_rotation
from rdtools.transforms.rotation import rotate as rotate
from rdtools.transforms.rotation import rotate_back as rotate_back
from rdtools.transforms.rotation import rotate_moment as rotate_moment
from rdtools.transforms.rotation import rotate_rows as rotate_rows
