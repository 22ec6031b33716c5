"""Entropy coding of quantized weights into files, and back."""

from rdtools.coding.container import Container as Container
from rdtools.coding.container import decode as decode
from rdtools.coding.container import encode as encode
from rdtools.coding.fit import fit_column_laws as fit_column_laws
from rdtools.coding.fit import paying_row_exponents as paying_row_exponents
from rdtools.coding.length import code_length as code_length
from rdtools.coding.length import scalar_code_length as scalar_code_length
from rdtools.coding.models import column_levels as column_levels
from rdtools.coding.models import count_codes as count_codes
from rdtools.coding.models import mean_column_entropy as mean_column_entropy
from rdtools.coding.models import pooled_entropy as pooled_entropy
from rdtools.coding.models import shared_table as shared_table
from rdtools.coding.reconstruct import TILE as TILE
from rdtools.coding.reconstruct import place as place
from rdtools.coding.reconstruct import reconstruct as reconstruct
from rdtools.coding.reconstruct import reconstruction_gains as reconstruction_gains
from rdtools.coding.reconstruct import spread_groups as spread_groups
from rdtools.coding.scales import octave_exponents as octave_exponents
from rdtools.coding.scales import round_to_bfloat16 as round_to_bfloat16
from rdtools.coding.scales import round_to_float32 as round_to_float32
