"""Theory beside measurement: facts of layers, bounds, predictions, and one row for each layer, method and rate."""

from rdtools.compare.rows import LAYER_COLUMNS as LAYER_COLUMNS
from rdtools.compare.rows import RESULT_COLUMNS as RESULT_COLUMNS
from rdtools.compare.rows import LayerFacts as LayerFacts
from rdtools.compare.rows import compare as compare
from rdtools.compare.rows import layer_columns as layer_columns
from rdtools.compare.rows import layer_facts as layer_facts
from rdtools.compare.rows import layer_status as layer_status
