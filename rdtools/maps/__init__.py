"""Maps of a layer's inputs, moments behind them, and the layer that runs in the end."""

from rdtools.maps.activation_grid import ActivationGrid as ActivationGrid
from rdtools.maps.basis_map import basis_of_input_map as basis_of_input_map
from rdtools.maps.basis_map import input_map_of_basis as input_map_of_basis
from rdtools.maps.effective_layer import EffectiveLayer as EffectiveLayer
from rdtools.maps.input_map import InputMap as InputMap
from rdtools.maps.input_moments import InputMoments as InputMoments
from rdtools.maps.link import Link as Link
from rdtools.maps.links import Merge as Merge
from rdtools.maps.links import Permute as Permute
from rdtools.maps.links import Rotate as Rotate
from rdtools.maps.links import Scale as Scale
from rdtools.maps.links import Select as Select
from rdtools.maps.links import Split as Split
from rdtools.maps.low_rank import LowRank as LowRank
from rdtools.maps.measured_error import error as error
