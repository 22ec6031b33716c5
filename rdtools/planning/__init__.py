"""Settings of methods that theory chooses."""

from rdtools.planning.softwater import SoftWater as SoftWater
from rdtools.planning.watersic_lattice import LatticeWaterSIC as LatticeWaterSIC
from rdtools.planning.watersic_mmse import MmseWaterSIC as MmseWaterSIC
from rdtools.planning.watersic_trellis import TrellisWaterSIC as TrellisWaterSIC
