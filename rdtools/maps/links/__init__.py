"""The kinds of link, one per file: a new kind is a subclass of `rdtools.maps.link.Link` here, exported below, with a test."""

from rdtools.maps.links.merge import Merge as Merge
from rdtools.maps.links.permute import Permute as Permute
from rdtools.maps.links.rotate import Rotate as Rotate
from rdtools.maps.links.scale import Scale as Scale
from rdtools.maps.links.select import Select as Select
from rdtools.maps.links.split import Split as Split
