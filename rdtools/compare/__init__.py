"""Theory beside measurement: facts of layers, bounds, predictions, and one row for each layer, method and rate."""

from rdtools.compare.activations import ActivationInputs as ActivationInputs
from rdtools.compare.bounds import BOUNDS as BOUNDS
from rdtools.compare.bounds import Bound as Bound
from rdtools.compare.facts import LayerFacts as LayerFacts
from rdtools.compare.facts import layer_facts as layer_facts
from rdtools.compare.facts import layer_status as layer_status
from rdtools.compare.rows import result_row as result_row
