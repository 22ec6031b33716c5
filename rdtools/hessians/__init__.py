"""Second moments of layer inputs: capture, storage, spectra."""

from rdtools.hessians.layer import Layer as Layer
from rdtools.hessians.layers import LAYER_TYPES as LAYER_TYPES
from rdtools.hessians.spectrum import compute_spectrum as compute_spectrum
from rdtools.hessians.spectrum import spectrum_of as spectrum_of
