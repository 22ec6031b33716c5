"""What passes between the stages: frozen records of plain fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]

#: 2^(j/8), rounded to float64; literals, because a library's power function may differ between machines in the last bit.
_OCTAVE_EIGHTHS = np.array(
    [
        1.0,
        1.0905077326652577,
        1.189207115002721,
        1.2968395546510096,
        1.4142135623730951,
        1.5422108254079407,
        1.681792830507429,
        1.8340080864093424,
    ]
)


def power_of_eighths(exponents: NDArray[np.integer]) -> Float64Array:
    """``2^(e/8)``, the same bits on every machine."""
    octaves, eighths = np.divmod(exponents.astype(np.int32), 8)
    return np.asarray(np.ldexp(_OCTAVE_EIGHTHS[eighths], octaves), dtype=np.float64)


RotationKind = Literal["haar", "hadamard", "kronecker"]
CodeModelKind = Literal["fixed", "shared", "column", "histogram"]
TrellisCode = Literal["1mad", "3inst", "hyb"]

#: The rate kind that the codes of each model are charged by.
RATE_KIND_OF_MODEL: dict[CodeModelKind, str] = {
    "fixed": "fixed",
    "shared": "entropy_shared",
    "column": "entropy_column",
    "histogram": "entropy_column",
}


@dataclass(frozen=True)
class LayerKey:
    """Which matrix of which model.

    Attributes
    ----------
    model : name given to the model in the run
    name : module path, such as ``model.layers.0.self_attn.q_proj``
    type : q, k, v, o, gate, up, down, or the last part of the path
    block : index of the transformer block, −1 outside blocks
    """

    model: str
    name: str
    type: str
    block: int


@dataclass(frozen=True, eq=False)
class Hessian:
    """An input's uncentred second moment.

    Attributes
    ----------
    matrix : (n, n) float64, E[x xᵀ] over tokens, undamped
    n_tokens : tokens in the mean
    dropped_tokens : tokens left out because an activation was NaN or infinite
    name : which input, for messages and seeds
    """

    matrix: Float64Array
    n_tokens: int
    dropped_tokens: int = 0
    name: str = "Hessian"


@dataclass(frozen=True)
class Spectrum:
    """What theory needs of a Hessian, on its live columns (those with a positive diagonal).

    Attributes
    ----------
    eigenvalues : (r,) float64, descending, ≥ 0
    cholesky_diagonal : (r,) float64, ℓ_ii of ``H + damping·mean(diag H)·I = L Lᵀ``
    diagonal : (r,) float64, H_ii
    columns : n, dead columns included; r ≤ n
    rank : r where H factors without damping, else the number of eigenvalues above r·eps of the largest
    damping : relative damping that `cholesky_diagonal` needed; 0 unless H is singular
    eigenvector_max : max|Q_ij| of the orthonormal eigenvectors Q, nan where they were not computed
    simple : no two neighbouring eigenvalues agree to 1e-8 of the largest; else Q is a matter of choice
    """

    eigenvalues: Float64Array
    cholesky_diagonal: Float64Array
    diagonal: Float64Array
    columns: int
    rank: int
    damping: float = 0.0
    eigenvector_max: float = float("nan")
    simple: bool = True

    @property
    def live(self) -> int:
        """Number of live columns r."""
        return len(self.eigenvalues)


@dataclass(frozen=True)
class Rotation:
    """An orthogonal matrix that a seed rebuilds; see `rdtools.transforms`.

    The seed means the same matrix on every machine and in every version.

    Attributes
    ----------
    kind : "haar", "kronecker" (of two Haar factors) or "hadamard" (random signs, then a Hadamard matrix over √order)
    order : n
    seed : 32-bit
    """

    kind: RotationKind
    order: int
    seed: int


@dataclass(frozen=True, eq=False)
class Basis:
    """Where decoded values belong: ``Ŵ[:, live] = (Uᵀ X Qᵀ) ∘ column_scales`` and ``Ŵ[:, dead] = 0``, X being the values.

    Attributes
    ----------
    rows : m
    live : (n,) bool, the r columns that were quantized
    rotation : Q, of order r, or None
    row_rotation : U, of order m, or None
    column_scales : (r,) float64 holding bfloat16 values, or None for 1
    """

    rows: int
    live: NDArray[np.bool_]
    rotation: Rotation | None = None
    row_rotation: Rotation | None = None
    column_scales: Float64Array | None = None


@dataclass(frozen=True)
class CodeModel:
    """How integers are entropy-coded.

    Attributes
    ----------
    kind : "fixed" (uniform over `levels`), "shared" (one histogram), "histogram" (one for each column) or "column" (a normal law for
        each row and column, of variance ``(weight_std · 2^(row exponent / 8) / column step)² + noise_variance``)
    levels : number of levels K of a fixed-rate grid, integers lie in [−⌊K/2⌋, K−1−⌊K/2⌋]; 0 for the other kinds. With unequal column
        steps it is that of the finest, halved with every octave of step begun; a single level is at zero
    weight_std : float32 value; the scale of the normal laws, 0 for the other kinds
    noise_variance : float32 value; what fed-back errors add to the variance of every column, in squared steps, or a ridge takes from it;
        0 for the other kinds
    """

    kind: CodeModelKind
    levels: int = 0
    weight_std: float = 0.0
    noise_variance: float = 0.0


@dataclass(frozen=True, eq=False)
class ScalarCodes:
    """Integers on uniform grids: ``X_ki = row_scales_kg · gain_i · step_i · (z_ki + offset − zero_point_kg)``, g the group of column i.

    Attributes
    ----------
    integers : (m, r) int32, z
    step : float32 value; the step of every column, or the finest one
    model : how the integers are coded
    step_exponents : (r,) uint8, column i has step ``step · 2^(exponent/8)``; None for equal steps
    row_exponents : (m,) uint8, row k's normal laws have ``2^(exponent/8)`` times the deviation; None for equal rows
    row_scales : (m, G) float64 holding bfloat16 values, one for each row and group of columns, or None for 1
    zero_points : (m, G) int8, or None for 0
    group_size : columns in a group, the last group holding what is left; 0 for a single group
    offset : 0, or ½ for a mid-rise grid
    gain_std : float32 value; if positive, column i is reconstructed with ``lmmse_gain(step_i / gain_std)``, else with gain 1
    column_gains : (r,) float64 holding bfloat16 values, which multiply the gains; None for 1
    """

    integers: NDArray[np.int32]
    step: float
    model: CodeModel
    step_exponents: NDArray[np.uint8] | None = None
    row_exponents: NDArray[np.uint8] | None = None
    row_scales: Float64Array | None = None
    zero_points: NDArray[np.int8] | None = None
    group_size: int = 0
    offset: float = 0.0
    gain_std: float = 0.0
    column_gains: Float64Array | None = None

    def __post_init__(self) -> None:
        if self.row_scales is None and (self.zero_points is not None or self.group_size):
            raise ValueError("zero points and groups belong to row scales; expected row_scales beside them")

    @property
    def column_steps(self) -> Float64Array:
        """(r,) step of each column."""
        if self.step_exponents is None:
            return np.full(self.integers.shape[1], self.step)
        return self.step * power_of_eighths(self.step_exponents)


@dataclass(frozen=True, eq=False)
class LatticeCodes:
    """Words of the E8P codebook and its residual stages, eight columns of a row at a time; see `rdtools.ops.rvq_decode`.

    ``X = scale · decode(words)``, cut to the rows and columns of the basis.

    Attributes
    ----------
    words : one (m, ⌈r/8⌉) uint16 array for each stage
    bits : 2, 3 or 4 per weight
    scale : float32 value
    residual_scale : float32 value by which the second stage is divided; 0 with one stage
    """

    words: tuple[NDArray[np.uint16], ...]
    bits: int
    scale: float
    residual_scale: float = 0.0


@dataclass(frozen=True, eq=False)
class TrellisCodes:
    """Tail-biting paths through a bitshift trellis, one for each tile of 16 × 16 weights; see `rdtools.ops.trellis_decode`.

    ``X = scale · decode(paths)``, tiles by rows of tiles, weights within a tile by rows, cut to the rows and columns of the basis.

    Attributes
    ----------
    paths : (tiles, 32 · bits) uint8
    code : which function of the state gives the values
    state_bits : L
    bits : per weight
    scale : float32 value
    """

    paths: NDArray[np.uint8]
    code: TrellisCode
    state_bits: int
    bits: int
    scale: float


@dataclass(frozen=True, eq=False)
class QuantizedWeight:
    """All that a decoder needs to rebuild Ŵ, and nothing else: codes, and where their values belong.

    Every number in it is held exactly as it is stored, so that writing and reading lose nothing.
    """

    basis: Basis
    codes: ScalarCodes | LatticeCodes | TrellisCodes

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n) of Ŵ."""
        return self.basis.rows, len(self.basis.live)


@dataclass(frozen=True)
class QuantizedLayer:
    """A quantizer's answer: the decodable weight, and how it came about.

    Attributes
    ----------
    weight : what is stored
    method : name in result tables
    target_rate_bits : what was asked for
    code_rate_bits : what the codes take under their model, bits per weight, histograms included and other side information apart
    damping : relative damping that was used
    seed : run seed that the rotation was derived from
    backend : which kernel ran
    """

    weight: QuantizedWeight
    method: str
    target_rate_bits: float
    code_rate_bits: float
    damping: float
    seed: int
    backend: str


@dataclass(frozen=True)
class RDPoint:
    """A measured point: nothing in it comes from a formula that it will be compared with.

    Attributes
    ----------
    distortion : tr(E H Eᵀ)/(mn) of the decoded Ŵ, per weight, undamped H
    distortion_stderr : standard error over rows, taking rows as independent
    relative_distortion : distortion / (tr(W H Wᵀ)/(mn)), nan where that is zero
    squared_error : ‖W − Ŵ‖²/(mn), dead columns included; with damping δ the quantizer's own loss is ``distortion + δ · squared_error``
    edge_share : share of the integers of a fixed-rate grid that are its least or largest, where overload is; nan without such a grid
    rate_kind : what `code_rate_bits` is
    code_rate_bits : ideal length of the codes under their model, bits per weight; a histogram is part of it
    entropy_shared_bits : plug-in entropy of all codes pooled, Miller–Madow corrected, bits per weight, histogram apart; nan with too
        few codes
    entropy_column_bits : mean plug-in entropy of the columns, Miller–Madow corrected, bits per weight; nan with too few rows
    payload_bits : coded symbols in the file, bits per weight
    side_info_bits : everything else in the file, bits per weight
    coded_bits : 8 × file bytes per weight = payload_bits + side_info_bits
    """

    distortion: float
    distortion_stderr: float
    relative_distortion: float
    squared_error: float
    edge_share: float
    rate_kind: str
    code_rate_bits: float
    entropy_shared_bits: float
    entropy_column_bits: float
    payload_bits: float
    side_info_bits: float
    coded_bits: float
