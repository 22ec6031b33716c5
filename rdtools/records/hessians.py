"""Second moments of inputs, and their spectra."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rdtools.arrays import Float64Array, Matrix, check_count
from rdtools.errors import NotFiniteInput
from rdtools.reprs import html_table, short_repr
from rdtools.widths import check_spectrum_width


@dataclass(frozen=True, eq=False, repr=False)
class Hessian:
    """An input's uncentred second moment.

    Attributes
    ----------
    matrix : (n, n) float64, E[x xᵀ] over tokens, undamped; an array, or a tensor where the layer is on a device
    n_tokens : tokens in the mean; 0 for an exact one
    dropped_tokens : tokens left out because an activation was NaN or infinite
    name : which input, for messages and seeds
    mean : (n,) float64, E[x] over the same tokens; None where it was not recorded
    distinct_tokens : tokens that tell something new, see `rdtools.model.repetition`; None where they were not counted
    output_variances : (m,) float64, for the input of an output head: E[p(1 − p)] of each output's probability p; else None
    output_means : (m,) float64, for the input of an output head: E[p] of each output's probability p; else None
    origin : where the matrix comes from, such as "QuIP#"; "" for a capture of rdtools
    diagonal : only the diagonal is known, and the rest is zero

    Raises
    ------
    NotFiniteInput
        For an output variance that is not from 0 to ¼.
    """

    matrix: Matrix
    n_tokens: int
    dropped_tokens: int = 0
    name: str = "Hessian"
    mean: Float64Array | None = None
    distinct_tokens: int | None = None
    output_variances: Float64Array | None = None
    output_means: Float64Array | None = None
    origin: str = ""
    diagonal: bool = False
    __repr__ = short_repr

    def __post_init__(self) -> None:
        for count in ("n_tokens", "dropped_tokens", "distinct_tokens"):
            if (value := getattr(self, count)) is not None or count != "distinct_tokens":
                object.__setattr__(self, count, check_count(value, name=f"{self.name}: `{count}`"))
        p = self.output_variances
        if p is not None and not ((p >= 0) & (p <= 0.25 + 1e-12)).all():
            number = int(np.argmin((p >= 0) & (p <= 0.25 + 1e-12)))
            raise NotFiniteInput(
                f"{self.name}: variance {p[number]} of output {number}, expected E[p(1 − p)] from 0 to 1/4; likely a logit is not finite"
            )


@dataclass(frozen=True, eq=False, repr=False)
class Spectrum:
    """Facts of a Hessian that theory needs, on its active columns (those with a positive diagonal).

    Attributes
    ----------
    eigenvalues : (r,) float64, descending, ≥ 0; empty above `rdtools.widths.WIDEST_SPECTRUM` columns, where they are not computed
    cholesky_diagonal : (r,) float64, ℓ_ii of ``H + damping·mean(diag H)·I = L Lᵀ``
    diagonal : (r,) float64, H_ii
    columns : n, dead input channels included; r ≤ n
    rank : r where H factors without damping, else the number of eigenvalues above r·eps of the largest; r − 1 at most without them
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
    __repr__ = short_repr

    @property
    def active(self) -> int:
        """Number of active columns r."""
        return len(self.diagonal)

    @property
    def has_eigenvalues(self) -> bool:
        """False where H is too wide for them."""
        return len(self.eigenvalues) == self.active

    def needed_eigenvalues(self) -> Float64Array:
        """The eigenvalues, or the reason why there are none.

        Raises
        ------
        TheoryError
            Where H is too wide for them.
        """
        check_spectrum_width(self.active)
        return self.eigenvalues

    @property
    def condition_number(self) -> float:
        """λ_max/λ_min over the active columns; infinite for a singular H, nan without an active column or eigenvalues."""
        if self.active == 0 or not self.has_eigenvalues:
            return float("nan")
        return float(self.eigenvalues[0] / self.eigenvalues[-1]) if self.rank == self.active else float("inf")

    @property
    def effective_rank(self) -> float:
        """(Σλ)²/Σλ², the number of equal eigenvalues of the same sum and sum of squares; 0 without an active column, nan without any."""
        if not self.has_eigenvalues:
            return float("nan")
        if self.active == 0 or self.eigenvalues[0] == 0:
            return 0.0
        scaled = self.eigenvalues / self.eigenvalues[0]
        return float(scaled.sum() ** 2 / (scaled**2).sum())

    def _repr_html_(self) -> str:
        facts = [
            ("columns", self.columns),
            ("active", self.active),
            ("rank", self.rank),
            ("condition number", self.condition_number),
            ("effective rank", self.effective_rank),
            ("largest eigenvalue", float(self.eigenvalues.max(initial=0.0)) if self.has_eigenvalues else float("nan")),
        ]
        return html_table("Spectrum", facts)
