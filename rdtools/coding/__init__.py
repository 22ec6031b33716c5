"""Entropy coding of quantized weights into files, and back."""

from rdtools.coding.container import Container as Container
from rdtools.coding.container import container_bits as container_bits
from rdtools.coding.container import decode as decode
from rdtools.coding.container import decode_all as decode_all
from rdtools.coding.container import encode as encode
from rdtools.coding.entropy.coset import fit_coset_laws as fit_coset_laws
from rdtools.coding.entropy.exponents import exponent_bytes as exponent_bytes
from rdtools.coding.entropy.fit import fit_column_laws as fit_column_laws
from rdtools.coding.entropy.fit import paying_row_exponents as paying_row_exponents
from rdtools.coding.entropy.length import scalar_code_length as scalar_code_length
from rdtools.coding.entropy.models import count_codes as count_codes
from rdtools.coding.entropy.models import mean_column_entropy as mean_column_entropy
from rdtools.coding.entropy.models import pooled_entropy as pooled_entropy
from rdtools.coding.entropy.models import shared_table as shared_table
from rdtools.coding.formats import code_length as code_length
from rdtools.coding.formats import codec_of as codec_of
from rdtools.coding.formats.scalar import column_scales as column_scales
from rdtools.coding.formats.scalar import reconstruction_gains as reconstruction_gains
from rdtools.coding.formats.scalar import spread_groups as spread_groups
from rdtools.coding.formats.trellis import TILE as TILE
from rdtools.coding.reconstruct import effective_layer as effective_layer
from rdtools.coding.reconstruct import reconstruct as reconstruct
from rdtools.coding.scales import octave_exponents as octave_exponents
from rdtools.coding.scales import round_to_bfloat16 as round_to_bfloat16
from rdtools.coding.scales import round_to_float32 as round_to_float32
