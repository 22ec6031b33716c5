"""Rows of the result table. Every column is described here, on the field that holds it, and nowhere else."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from rdtools._version import __version__
from rdtools.records.about import About, Column
from rdtools.records.points import ActivationPoint, RDPoint

#: Version of the columns; tables without one are those of rdtools 0.1.
SCHEMA_VERSION = 3
#: Columns of the table of theory curves.
CURVE_COLUMNS = ("layer", "curve", "rate_bpw", "distortion")

#: When there is no gap, see `rdtools.compare.rows`.
NO_GAP = "nan where one weight has 10 % or more of the squared norm and 20 times the root mean square, as the message says"

Status = Literal["ok", "undersampled", "degenerate", "infeasible", "failed"]


@dataclass(frozen=True)
class LayerRow:
    """Columns that depend on the layer alone; None and nan where it could not be read."""

    model: Annotated[str, About("", "setting", "name of the model in the run")]
    layer: Annotated[str, About("", "setting", "module path", "layer")]
    layer_type: Annotated[str, About("", "setting", "last module name, such as q_proj; of experts with expert_ before it")]
    block: Annotated[int, About("", "setting", "index of the transformer block, −1 outside blocks")]
    rows: Annotated[int, About("", "setting", "m, output features", "m")]
    columns: Annotated[int, About("", "setting", "n, input features", "n")]
    active_columns: Annotated[int | None, About("", "measured", "input features that are not always zero", "active")] = None
    nearly_dead_columns: Annotated[
        int | None,
        About("", "measured", "active input features of an energy below 1e-8 of the median; not counted in the critical rate"),
    ] = None
    rank: Annotated[int | None, About("", "measured", "of the Hessian H", "rank")] = None
    n_tokens: Annotated[int | None, About("tokens", "setting", "calibration tokens in H; 0 for an exact H", "tokens")] = None
    dropped_tokens: Annotated[int | None, About("tokens", "measured", "left out of H because of NaN or infinite activations")] = None
    distinct_tokens: Annotated[
        int | None,
        About("tokens", "measured", "N: tokens in H without those whose last 16 ids occur before, which are copies"),
    ] = None
    heldout_tokens: Annotated[int | None, About("tokens", "setting", "tokens in H′, the second moment over text held out")] = None
    effective_tokens: Annotated[
        float,
        About(
            "tokens",
            "measured",
            "N_eff: independent normal tokens of which H would err as tr(H⁻¹H′) says; other text in H′ lowers it; nan for a singular H",
        ),
    ] = math.nan
    pred_calibration_penalty_bpw: Annotated[
        float,
        About(
            "bpw",
            "predicted",
            "what WaterSIC loses at high rate to n/N, active columns over distinct tokens, were these independent; infinite from N = n on",
        ),
    ] = math.nan
    heldout_calibration_penalty_bpw: Annotated[
        float, About("bpw", "measured", "the same formula at effective_tokens in place of distinct_tokens")
    ] = math.nan
    weight_variance: Annotated[float, About("weight²", "measured", "mean square of the weights of active columns")] = math.nan
    weight_negentropy_bpw: Annotated[
        float,
        About("bits per active weight", "measured", "how far the entropy of the weights is below that of a Gaussian of their variance"),
    ] = math.nan
    row_covariance_saving_bpw: Annotated[
        float,
        About(
            "bpw",
            "measured",
            "what a coder that learns the covariance of rows saves at high rate on rows that it has not seen, over one that knows the mean "
            "square of every row; nan for few rows or many columns",
            "row covariance (bpw)",
        ),
    ] = math.nan
    row_covariance_saving_stderr_bpw: Annotated[
        float,
        About(
            "bpw",
            "measured",
            "standard error of that, and of rd_bound_covariance_rate_bpw, over runs of 1, 8 or 32 neighbouring rows, the largest",
            "±",
        ),
    ] = math.nan
    weight_incoherence: Annotated[float, About("", "measured", "μ_W = √(mn) max|W| / ‖W‖ over active columns", "μ_W")] = math.nan
    hessian_incoherence: Annotated[float, About("", "measured", "μ_H = √n max|Q|, Q the eigenvectors of H", "μ_H")] = math.nan
    top_eigenvalue_fraction: Annotated[float, About("", "measured", "largest eigenvalue of H over their sum")] = math.nan
    min_conditional_variance_ratio: Annotated[
        float, About("", "measured", "min ℓ_ii²/H_ii: energy of a column that those before it do not explain; 0 for a singular H")
    ] = math.nan
    critical_rate_bpw: Annotated[
        float, About("bpw", "bound", "from this rate on every direction is active and the high-rate form is R(D)", "R_c (bpw)")
    ] = math.nan
    pred_gptq_gap_bpw: Annotated[
        float, About("bpw", "predicted", "G = ½ log₂(AM/GM of ℓ_ii²): what GPTQ loses to WaterSIC at high rate", "G, GPTQ (bpw)")
    ] = math.nan
    pred_gptq_gap_haar_bpw: Annotated[
        float, About("bpw", "predicted", "the same after a random rotation, in closed form", "G, rotated")
    ] = math.nan
    pred_rtn_gap_bpw: Annotated[
        float, About("bpw", "predicted", "what rounding to nearest loses to WaterSIC at high rate", "G, RTN (bpw)")
    ] = math.nan

    def to_row(self) -> dict[str, Any]:
        """Columns by name; those that are None are left out."""
        return dict(cells_of(self))


def _version(package: str) -> str:
    """Version of a package without loading it; "" where it is not installed, as layers can be quantized without torch."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


@dataclass(frozen=True)
class Provenance:
    """Versions that made a row."""

    schema_version: Annotated[int, About("", "setting", "of these columns")] = SCHEMA_VERSION
    rdtools_version: Annotated[str, About("", "setting", "of rdtools")] = __version__
    numpy_version: Annotated[str, About("", "setting", "of NumPy")] = np.__version__
    scipy_version: Annotated[str, About("", "setting", "of SciPy")] = _version("scipy")
    torch_version: Annotated[str, About("", "setting", "of torch")] = _version("torch")
    python_version: Annotated[str, About("", "setting", "of Python")] = platform.python_version()


@dataclass(frozen=True)
class ResultRow:
    """A layer, a method and a rate: settings, what was measured, and theory beside it; without a point where nothing was measured."""

    facts: LayerRow
    method: Annotated[str, About("", "setting", "name of the method", "method")]
    target_bpw: Annotated[float, About("bits per active weight", "setting", "rate asked for, which symbol_active_bpw meets", "target")]
    status: Annotated[
        Status,
        About(
            "",
            "setting",
            "ok; undersampled: rank or distinct_tokens below active_columns; degenerate: zero weights or H; "
            "infeasible: the rate cannot be met; failed",
            "status",
        ),
    ]
    seed: Annotated[int, About("", "setting", "of the run; rotations are drawn from it")]
    message: Annotated[str, About("", "setting", "what a reader of this row should know, and why it is not ok")] = ""
    point: RDPoint | None = None
    activation: ActivationPoint | None = None
    pred_high_rate_distortion: Annotated[
        float,
        About("", "predicted", "D at the entropy of the symbols by high-rate theory; nan without a formula or for a singular H"),
    ] = math.nan
    measured_over_pred_high_rate: Annotated[
        float, About("", "measured", "D over pred_high_rate_distortion", "D / D predicted at high rate")
    ] = math.nan
    high_rate_valid: Annotated[bool | None, About("", "predicted", "whether high-rate theory applies to the steps used")] = None
    pred_finite_rate_distortion: Annotated[
        float,
        About(
            "",
            "predicted",
            "D at the steps used for Gaussian weights; nan for fixed rates, wide layers, and where fed-back errors add a bit or more",
        ),
    ] = math.nan
    measured_over_pred_finite_rate: Annotated[
        float, About("", "measured", "D over pred_finite_rate_distortion", "D / D predicted at finite rate")
    ] = math.nan
    pred_heldout_over_calibration: Annotated[
        float,
        About(
            "",
            "predicted",
            "(D′/D₀′)/(D/D₀) at high rate for distinct_tokens independent normal tokens, both texts of one distribution; "
            "nan with damping, a ridge or an error without a formula",
        ),
    ] = math.nan
    rd_bound_rate_bpw: Annotated[
        float,
        About(
            "bpw",
            "bound",
            "R(D): least rate of any method at the measured D for i.i.d. Gaussian weights of one variance; with +bias it, the other "
            "bounds and predictions are of the covariance of the input in place of H",
            "R(D), one variance",
        ),
    ] = math.nan
    rd_bound_distortion: Annotated[
        float, About("", "bound", "least D of any method at symbol_bpw + low_rank_bpw, for the same weights")
    ] = math.nan
    rd_bound_rowvar_rate_bpw: Annotated[
        float, About("bpw", "bound", "R(D) for independent Gaussian rows, each of its own variance known to both sides")
    ] = math.nan
    rd_bound_aligned_rate_bpw: Annotated[
        float,
        About(
            "bpw", "bound", "R(D) for a decoder that also knows the mean square of the rows along every eigenvector of H, bias corrected"
        ),
    ] = math.nan
    rd_bound_covariance_rate_bpw: Annotated[
        float,
        About(
            "bpw",
            "bound",
            "R(D) for Gaussian rows whose mean squares and covariance both sides know, from above by held-out rows; its standard error is "
            "row_covariance_saving_stderr_bpw",
        ),
    ] = math.nan
    rate_gap_symbols_bpw: Annotated[float, About("bpw", "measured", f"symbol_bpw + low_rank_bpw − rd_bound_rate_bpw; {NO_GAP}")] = math.nan
    rate_gap_total_bpw: Annotated[
        float,
        About(
            "bpw",
            "measured",
            f"total_bpw − rd_bound_rate_bpw; {NO_GAP}",
            "total − R(D), one variance",
        ),
    ] = math.nan
    rate_gap_total_rowvar_bpw: Annotated[
        float, About("bpw", "measured", f"total_bpw − rd_bound_rowvar_rate_bpw; {NO_GAP}", "total − R(D), row variances")
    ] = math.nan
    rate_gap_total_aligned_bpw: Annotated[float, About("bpw", "measured", f"total_bpw − rd_bound_aligned_rate_bpw; {NO_GAP}")] = math.nan
    rate_gap_total_covariance_bpw: Annotated[
        float, About("bpw", "measured", f"total_bpw − rd_bound_covariance_rate_bpw; {NO_GAP}", "total − R(D), covariance")
    ] = math.nan
    pred_gptq_gap_as_run_bpw: Annotated[
        float, About("bpw", "predicted", "G in the basis and order and with the damping of this row; nan without feedback")
    ] = math.nan
    rotation: Annotated[str | None, About("", "setting", "of the input: none, hadamard, haar or kronecker", "rotation")] = None
    damping: Annotated[float, About("", "setting", "of the quantizer, relative to the mean diagonal of H", "damping")] = math.nan
    backend: Annotated[str | None, About("", "setting", "what decided the integers: numpy, numba, triton, torch or reference")] = None
    device: Annotated[str | None, About("", "setting", "where the method ran: cpu, or a device of torch such as cuda:0")] = None
    dtype: Annotated[str | None, About("", "setting", "in which the integers were decided: float64 or float32")] = None
    wall_s: Annotated[float, About("s", "measured", "wall time of quantizing, coding and measuring")] = math.nan
    provenance: Provenance = field(default_factory=Provenance)

    def to_row(self) -> dict[str, Any]:
        """Columns by name; those that are None are left out, as are those of a point that is not there."""
        return dict(cells_of(self))


def cells_of(record: Any) -> Iterator[tuple[str, Any]]:
    """Columns of a row by name, those of records in it too; what is None is left out."""
    for part in fields(record):
        value = getattr(record, part.name)
        if is_dataclass(value):
            yield from cells_of(value)
        elif value is not None:
            yield part.name, value


def columns_of(record: type) -> Iterator[Column]:
    """Every column of a kind of row, described."""
    for name, hint in get_type_hints(record, include_extras=True).items():
        if get_origin(hint) is Annotated:
            yield Column(name, *hint.__metadata__[0])
        else:  # a record, or one that may be missing
            yield from columns_of(next(part for part in (hint, *get_args(hint)) if isinstance(part, type) and is_dataclass(part)))


#: Every column of the result table, in order; those of the layer come first.
COLUMNS = tuple(columns_of(ResultRow))
#: Those of the layer alone.
LAYER_COLUMNS = tuple(columns_of(LayerRow))


def headings(columns: tuple[Column, ...]) -> dict[str, str]:
    """Name → heading of the columns that tables for people show.

    Examples
    --------
    >>> headings(LAYER_COLUMNS)["active_columns"]
    'active'
    """
    return {column.name: column.heading for column in columns if column.heading}
