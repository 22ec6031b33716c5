"""Successive cancellation at a finite rate: a recursion of covariances, with nothing quantized.

High-rate formulas fail below about 3 bits, because a column that is left undecided hands its error on. Here the covariance of what the
decided columns feed back is carried along, each scalar quantizer is replaced by its linear regression (Bussgang), and what it is given is
taken to be normal. Derived for this project; no paper known to us has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rdtools.arrays import Float64Array
from rdtools.errors import TheoryError
from rdtools.ops import cancellation_moments
from rdtools.rounded import FINE, column_error
from rdtools.triangular import triangular_gram, triangular_inverse

#: Columns up to which tables, claims and plans ask for predictions as a matter of course: some 2 seconds each at this number on one core,
#: and n³ beyond, where a layer is quantized sooner. There is no limit to the functions themselves.
FINITE_RATE_COLUMNS = 4096


@dataclass(frozen=True)
class FiniteRatePoint:
    """A predicted point.

    Attributes
    ----------
    rate_bits : mean column entropy, bits per weight
    distortion : per weight, with the undamped H and the weights themselves
    column_bits : (n,) entropy of each column
    input_variances : (n,) variance of what each scalar quantizer is given, in y-space
    feedback_bits : mean ½ log2(v_i/(σ² ℓ_ii²)), what fed-back noise adds to the rate; a ridge takes from it
    gains : (n,) what each column is reconstructed with
    """

    rate_bits: float
    distortion: float
    column_bits: Float64Array
    input_variances: Float64Array
    feedback_bits: float
    gains: Float64Array


@dataclass(frozen=True, eq=False)
class Cancellation:
    """Successive cancellation under ``A = H + (δ + μ) I = L Lᵀ``, before any steps are chosen: many predictions share it.

    What a ridge makes of the first covariance is computed once, (2/3) n³ multiplications.

    Attributes
    ----------
    factor : (n, n) L, lower triangular, positive diagonal
    variance : σ²
    damping : δ, absolute
    ridge : μ, absolute

    Raises
    ------
    TheoryError
        For a factor that is not square, a variance that is not positive, or a negative damping or ridge.
    """

    factor: Float64Array
    variance: float = 1.0
    damping: float = 0.0
    ridge: float = 0.0

    def __post_init__(self) -> None:
        n = len(self.factor)
        if not (self.factor.shape == (n, n) and n > 0 and self.variance > 0 and min(self.damping, self.ridge) >= 0):
            raise TheoryError(
                f"finite rate: factor {self.factor.shape}, variance {self.variance}, damping {self.damping}, ridge {self.ridge}; expected "
                "(n, n), positive, and none below 0"
            )

    @cached_property
    def _start(self) -> tuple[Float64Array, float]:
        """Lower triangle of ``σ² (μ² (LᵀL)⁻¹ − 2μ I)``, what the covariance of the target times L has beside σ² LᵀL, (n, n); and
        ``σ² tr(I − μ A⁻¹)``.
        """
        n = len(self.factor)
        if self.ridge == 0:
            return np.zeros((n, n)), self.variance * n
        inverse = np.asarray(triangular_inverse(self.factor))
        lost = self.ridge * float(np.einsum("ij,ij->", inverse, inverse))
        inverse *= self.ridge  # before the product, so that no scale of H overflows
        start = triangular_gram(inverse)
        start *= self.variance
        start[np.diag_indices(n)] -= 2 * self.variance * self.ridge
        return start, self.variance * (n - lost)

    def at(
        self,
        steps: Float64Array,  # (n,)
        gains: Float64Array | None = None,  # (n,)
        *,
        channel: Float64Array | None = None,  # (K, 4)
    ) -> FiniteRatePoint:
        """`sic_at_finite_rate` at these steps; without gains, with the gain of each column's own input."""
        n, ell, variance, ridge = len(self.factor), np.diagonal(self.factor), self.variance, self.ridge
        if not (steps.shape == (n,) and steps.min() > 0 and (gains is None or gains.shape == (n,))):
            raise TheoryError(
                f"finite rate: steps {steps.shape}, gains {'none' if gains is None else gains.shape}; expected {(n,)}, steps positive"
            )
        gain = np.full(n, np.nan) if gains is None else gains
        start, target_power = self._start
        v, bits, used, g, p = cancellation_moments(self.factor, steps, gain, start, variance, channel)
        power = p * v / ell**2
        # steps below FINE err by r²/12, which 1 − 2g + p has lost; correlation and power are then 1 and 1 + r²/12
        squares = np.minimum((steps * ell) ** 2 / v, FINE**2)
        errors = squares / 12.0
        if channel is not None:
            errors = errors + squares * np.interp(0.5 * np.log2(squares), channel[:, 0], channel[:, 3])
        fine = column_error(errors, 1.0, 1.0 + errors, used)
        total = float((v * np.where(squares < FINE**2, fine, 1 - 2 * g + p)).sum())
        if ridge > 0:
            total += ridge * (target_power - float(power.sum()))
        if self.damping > 0:
            agreement = variance * float(g.sum()) - self._agreement_lost(g / ell)
            total -= self.damping * (n * variance - 2 * agreement + float(power.sum()))
        feedback_bits = 0.5 * float(np.mean(np.log2(v / (variance * ell**2))))
        return FiniteRatePoint(float(bits.mean()), max(total, 0.0) / n, bits, v, feedback_bits, used)

    def _agreement_lost(self, relative_gains: Float64Array) -> float:
        """The part of ``Σ E[W_i V_i]`` that a ridge takes.

        ``V = (T L G + noise) (I + N G)⁻¹`` with G = diag(g/ℓ) and N the part of L below its diagonal, and ``T L = W (L − μ L⁻ᵀ)``: of the
        product ``(I + N G)⁻¹ L⁻ᵀ`` the diagonal is wanted, which is that of two lower triangles, row by row.
        """
        if self.ridge == 0:
            return 0.0
        feedback = self.factor * relative_gains
        feedback[np.diag_indices(len(feedback))] = 1.0
        response = np.einsum("ij,ij->i", triangular_inverse(feedback), triangular_inverse(self.factor))
        return self.variance * self.ridge * float((response * relative_gains).sum())


def sic_at_finite_rate(
    factor: Float64Array,  # (n, n), lower triangular
    steps: Float64Array,  # (n,)
    variance: float = 1.0,
    *,
    lmmse: bool = True,
    gains: Float64Array | None = None,  # (n,)
    damping: float = 0.0,
    ridge: float = 0.0,
    channel: Float64Array | None = None,  # (K, 4)
) -> FiniteRatePoint:
    """Rate and distortion of successive cancellation with column steps α, for weights iid N(0, σ²).

    Columns are decided under ``A = H + (δ + μ) I = L Lᵀ`` in place of H. With a ridge μ the target is ``T = W (I − μ A⁻¹)`` in place of W,
    see `rdtools.theory.mmse_sic`. ``Y = T L`` starts with the covariance ``σ² (LᵀL − 2μ I + μ² (LᵀL)⁻¹)``. For i = n … 1, with v_i the
    variance of what is left of Y_:i, the scalar quantizer of step α_i ℓ_ii gives::

        ŷ = g y + u,   g = E[ŷ y]/v_i,   p = E[ŷ²]/v_i,   u uncorrelated with y

    and ``L_i,: ŷ/ℓ_ii`` is taken from Y. In the end R = mean H(z_i) and, with ``K_i = p_i v_i/ℓ_ii²`` the power of the reconstruction V and
    ``c_i = E[W_i V_i]``::

        n D = Σ v_i (1 − 2 g_i + p_i) + μ (σ² tr(I − μ A⁻¹) − Σ K_i) − δ Σ (σ² − 2 c_i + K_i)

    where ``c_i = σ² g_i`` without a ridge. As steps go to 0 it becomes the high-rate theory of `rdtools.theory.sic`.
    Good to 1 % in distortion and 0.01 bit in rate from 1.5 bits on while `feedback_bits` is below 1, and to twice that at 1 bit. Beyond,
    most of what a quantizer is given are the errors of few columns, which are not normal: the rate was seen to be 0.05 bit too high at 1.6
    bits of feedback, with H of condition 1e9, and 0.72 bit at 4.1 bits, with half the measured D. (2/3) n³ multiplications
    in blocks of columns, and as many more once with a ridge; who asks at many steps keeps a `Cancellation`.

    Parameters
    ----------
    factor : L, positive diagonal
    steps : α, positive
    variance : σ²
    lmmse : reconstruct with the gain of each column's own input; else without gain
    gains : reconstruct with these instead
    damping : δ, absolute
    ridge : μ, absolute
    channel : of a quantizer of columns that is not scalar, such as `rdtools.theory.trellis_channel.trellis_channel`

    Raises
    ------
    TheoryError
        For shapes that do not belong together, steps that are not positive, or a negative damping or ridge.

    Examples
    --------
    A single column is the scalar quantizer itself.

    >>> point = sic_at_finite_rate(np.array([[2.0]]), np.array([1.0]))
    >>> round(point.rate_bits, 3)
    2.105
    """
    if gains is None and not lmmse:
        gains = np.ones(len(factor))
    return Cancellation(factor, variance, damping, ridge).at(steps, gains, channel=channel)
