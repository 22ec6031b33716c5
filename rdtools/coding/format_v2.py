"""Version 2 of the container, which is read and no longer written: every number that decides its bytes, and the layout of its frame.

Changing a number here makes old files unreadable. It is a new version with a module of its own, that takes over from this one what stays,
and with golden files of its own in ``tests/golden/container``. Of the arithmetic in `rdtools.normal`, the constants of `normal_cdf` and
`lmmse_gain` belong to the format as well; they stand there because quantizers use the same gains.

Frame, little-endian::

    "RDTQ", version, codec tag, rotation kinds, flags     4s 4×u8     kinds: inputs in the low four bits, outputs in the high ones
    rows m, columns n                                     2×u32
    bytes of side information after the checksum          u32
    CRC-32 of the above and of the side information       u32
    rotation seeds                                        u32 each    inputs, then outputs, if rotated
    active columns                                        n bits      if some are not
    column scales                                         r×bf16      if the flag is set
    side information of the codec                                     see `rdtools.coding.formats`
    payload                                                           coded symbols, each block with a CRC-32 in the side information
"""

from __future__ import annotations

import struct

from rdtools.records import CodeModelKind, RotationKind, TrellisCode

MAGIC = b"RDTQ"
VERSION = 2
HEAD = struct.Struct("<4sBBBBIII")
CHECKSUM = struct.Struct("<I")
SEED = struct.Struct("<I")
#: A kind is stored as its place.
ROTATIONS: tuple[RotationKind | None, ...] = (None, "haar", "hadamard", "kronecker")
#: Flags of the frame.
INACTIVE_COLUMNS, COLUMN_SCALES = 1, 2

#: Variable-length integers: zigzag sign, then so many bits per byte, low first, the highest bit saying that more follow.
VARINT_BITS = 7
#: No integer has more bits.
VARINT_LIMIT = 63

#: Symbols in a block: enough that its 10 bytes of side information do not count, few enough to share the work.
BLOCK_SYMBOLS = 2**20
#: Probabilities are multiples of 2⁻²⁴; no symbol is less likely than one of them.
PRECISION_BITS = 24
#: Half-width of the window of a Gaussian model in standard deviations, and its limit in symbols; integers outside are escaped.
WINDOW_STDS = 6.0
WINDOW_LIMIT = 2**18
#: Minimum variance of a Gaussian model with negative noise variance, squared steps.
MIN_VARIANCE = 2.0**-12
#: Minimum standard deviation that a table is made for.
MIN_STD = 1e-30

#: Integers: step, kinds of entropy models by place, and flags of the fields that are there.
SCALAR_HEAD = struct.Struct("<Bf")
MODELS: tuple[CodeModelKind, ...] = ("fixed", "shared", "column", "histogram")
LEVELS, GAUSSIAN = struct.Struct("<I"), struct.Struct("<ff")
GAIN, BLOCK_CHECKSUM = struct.Struct("<f"), struct.Struct("<I")
STEP_EXPONENTS, ROW_EXPONENTS, ROW_SCALES, ZERO_POINTS, GAIN_STD, COLUMN_GAINS, MID_RISE = (1 << k for k in range(7))
SCALES_DTYPE, WORDS_DTYPE = "<u2", "<u4"

#: Exponents: plain, or coded after mean and standard deviation, which has a minimum for exponents that are all the same.
EXPONENTS_HEAD = struct.Struct("<BBf")
PLAIN_EXPONENTS, CODED_EXPONENTS = 0, 1
MIN_EXPONENT_STD = 0.05

#: Lattice words: bits, scale, residual scale, checksum; then bytes per word of each stage, by bits per weight.
LATTICE_HEAD = struct.Struct("<BffI")
STAGE_BYTES: dict[int, tuple[int, ...]] = {2: (2,), 3: (2, 1), 4: (2, 2)}

#: Trellis paths: code by place, state bits, bits, scale, tiles, checksum; then rows and columns of the tile that a path runs through.
TRELLIS_HEAD = struct.Struct("<BBBfII")
TRELLIS_CODES: tuple[TrellisCode, ...] = ("1mad", "3inst", "hyb")
TILE = 16
