"""Layers and the second moments of their inputs."""

from rdtools.moments.layer import Layer as Layer
from rdtools.moments.spectrum import compute_spectrum as compute_spectrum
from rdtools.moments.spectrum import spectrum_of as spectrum_of
