"""Gathers evidence about layers and holds every claim against it. With `rdtools.compare`, where theory and measurement meet."""

from rdtools.verify.families import FAMILIES as FAMILIES
from rdtools.verify.families import synthetic_layers as synthetic_layers
from rdtools.verify.run import verify as verify
from rdtools.verify.run import verify_counterexample as verify_counterexample
