"""Version 3 of the container, which is written: one or more matrices that share their input.

Against version 2 only the frame is new: side information of the codecs and payload are the same bytes, and a file of one matrix is larger
by four bytes for each rotation; integers may have the flag INTEGER_GAINS, and a layer may have parts beside its weights. Numbers and
layouts that are not here are those of
`rdtools.coding.format_v2`. Everything but the payload is side information.

Frame, little-endian::

    "RDTQ", version                                       4s u8
    rotation kind of the inputs, flags                    u8          low four bits, high four bits
    columns n                                             u32
    matrices k, bytes of shared side information          u8, u32     if the flag SEVERAL is set, else 1 and none
    of each matrix: codec tag, rotation kind of outputs   2×u8        tag + PARTS where the layer has parts beside its weights,
                                                                      + FOLLOWS where it shares with the matrix before it
                    rows m, bytes of side information     2×u32       of a single matrix, shared side information included
    CRC-32 of the above and of all side information       u32
    shared: rotation seed of the inputs                   u64         if rotated
            active columns                                n bits      if some are not
            column scales                                 r×bf16      if all matrices have the same ones
    of each matrix: rotation seed of the outputs          u64         if rotated
                    whether it has column scales          u8          if the flag OWN_SCALES is set, then
                    column scales                         r×bf16      if it has
                    parts beside the weights                          if the tag says so, see `rdtools.coding.parts`
                    side information of the codec                     see `rdtools.coding.formats`
    payload of each matrix in turn                                    coded symbols, each block with a CRC-32 in the side information

with r the number of active columns, and a column scale a bfloat16 above zero. A matrix with FOLLOWS has the codec and the step exponents of
the one before it, and does not store these; models that it learns may go on from the rows of all matrices back to the last one without
FOLLOWS, which CONTINUED beside their strength says.
"""

from __future__ import annotations

import struct

from rdtools.records import CodeModelKind, LatticeName, RotationKind, StoredOrder
from rdtools.records.stored import StoredDtype

VERSION = 3
HEAD = struct.Struct("<4sBBI")
SEVERAL_HEAD = struct.Struct("<BI")
MATRIX_HEAD = struct.Struct("<BBII")
SEED = struct.Struct("<Q")
#: Kinds by number. 1 and 3 were the Haar and Kronecker rotations of version 2, which cannot be rebuilt.
ROTATIONS: dict[int, RotationKind | None] = {0: None, 2: "hadamard", 4: "haar", 5: "kronecker"}
#: Integers on a trellis of cosets: bits of a state, and those that there are codes for; standard deviation in steps above
#: which low bits are equally likely, and how many at most. The codes, `rdtools.kernels.coset_trellis_reference.CODES`, belong to it too.
COSET_STATE = struct.Struct("<B")
COSET_STATE_BITS = range(2, 11)
FINE_STD = 512.0
MAX_SHIFT = 20
#: Lattices of entropy-coded points by place.
LATTICES: tuple[LatticeName, ...] = ("D4", "E8")
#: Flags of the frame besides INACTIVE_COLUMNS and COLUMN_SCALES of version 2.
OWN_SCALES, SEVERAL = 4, 8
#: Flag of integers besides those of version 2: the gain of each column follows from the mean square of its integers.
INTEGER_GAINS = 128

#: Kinds of entropy models whose places are after those of version 2, and flag of integers on a trellis: models that the decoder learns. The
#: strength follows, and, unless it is 0, the columns of a group. The arithmetic of `rdtools.kernels.adaptive_coder_reference`, with its
#: numbers, belongs to the format.
NEW_MODELS: tuple[CodeModelKind, ...] = ("adaptive",)
COSET_ADAPTIVE = 128
STRENGTH, GROUP_COLUMNS = struct.Struct("<B"), struct.Struct("<H")

#: Additive codebooks: how the order of the columns is stored, by place; basic codebooks, their bits, extended ones, their bits, critical
#: groups, checksum; then the dtype of codewords.
ADDITIVE_HEAD = struct.Struct("<BBBBBII")
ADDITIVE_ORDERS: tuple[StoredOrder, ...] = ("natural", "set", "permutation")
CODEWORDS_DTYPE = "<f2"

#: Paths of blocks of columns: code by place, state bits, rows of tiles, checksum; and the scales of one to four bits.
TILE_HEAD, TILE_SCALES = struct.Struct("<BBII"), struct.Struct("<4f")

#: Links of an input map by place, and the most bits that a number of copies may have.
LINKS = ("select", "merge", "split", "principal")
MOST_COPIES_BITS = 31

#: Added to the tag of the codec where the layer has parts beside its weights: which of them; a grid of activations, its bits, symmetry,
#: clip and group size, and of its fine channels their number and bits; a low-rank term, its rank and the dtype of its factors, by place
#: in the table; and a bias, a bfloat16 per row.
PARTS = 128
HAS_ACTIVATION, HAS_LOW_RANK, HAS_LINKS, HAS_FINE, HAS_BIAS = 1, 2, 4, 8, 16
#: Added to the tag of the codec of a matrix that shares with the one before it; and to the strength of models that go on learning.
FOLLOWS, CONTINUED = 64, 16
ACTIVATION_GRID = struct.Struct("<BBdI")
FINE_CHANNELS = struct.Struct("<IB")
LOW_RANK = struct.Struct("<IB")
FACTOR_DTYPES: dict[StoredDtype, str] = {"bfloat16": "<u2", "float16": "<f2", "float32": "<f4", "float64": "<f8"}
