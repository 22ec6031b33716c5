"""The kinds of link of an `InputMap`, one per file: a new kind is a subclass of `Link` here, exported below, with a test."""

from rdtools.transforms.links.merge import Merge as Merge
from rdtools.transforms.links.permute import Permute as Permute
from rdtools.transforms.links.principal import Principal as Principal
from rdtools.transforms.links.rotate import Rotate as Rotate
from rdtools.transforms.links.scale import Scale as Scale
from rdtools.transforms.links.select import Select as Select
from rdtools.transforms.links.split import Split as Split
