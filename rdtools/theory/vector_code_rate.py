"""Rate of a layer coded in groups by additive codebooks, part by part: AQLM and CRVQ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import gammaln

from rdtools.errors import TheoryError
from rdtools.theory.critical_channels import critical_groups


@dataclass(frozen=True)
class VectorCodeRate:
    """Bits per weight of a layer coded in groups, part by part.

    Attributes
    ----------
    codes : indices into the codebooks
    codebooks : their entries
    scales : one of each row
    channel_set : which channels are critical
    permutation : the order of all channels
    """

    codes: float
    codebooks: float
    scales: float
    channel_set: float = 0.0
    permutation: float = 0.0

    @property
    def total(self) -> float:
        """All that a decoder needs."""
        return self.codes + self.codebooks + self.scales + self.channel_set + self.permutation


def vector_code_rate(
    rows: int,
    columns: int,
    fraction: float,
    *,
    codebook_bits: Sequence[int] = (8, 8, 8, 8),
    group: int = 8,
    float_bits: float = 16.0,
    full_order: bool = True,
) -> VectorCodeRate:
    """Bits per weight with everything counted, for λ = g B/n after rounding down to B groups.

    codes ``e_0/g + λ Σ_{c≥1} e_c/g``, codebooks ``b g Σ_c 2^{e_c}/(mn)``, row scales ``b/n``, and either the critical set
    ``log2 C(n, λn)/(mn)`` or the order of all channels ``⌈log2 n⌉/m``. Where B = 0 there are no codebooks but the first, and no set. The
    set is enough where the other channels keep an order that is known; the released code sorts all, and leaves the order out of its total.

    Parameters
    ----------
    rows, columns : m and n ≥ 1
    fraction : λ asked for, 0 to 1
    codebook_bits : e_0 for all groups, then e_c for the critical ones; at least one
    group : g channels of one row share a code; n is a multiple of it
    float_bits : b, bits of a codebook's entry and of a scale
    full_order : whether all channels are sorted, critical groups or not, and the order is stored; else the set is

    Raises
    ------
    TheoryError
        For an empty layer, columns that are no multiple of the group, no codebooks, negative bits, or a fraction outside 0 to 1.

    References
    ----------
    AQLM, arXiv 2401.06118, and CRVQ, arXiv 2412.09282, the released estimators; set and order derived for this project.

    Examples
    --------
    Of 16 channels half are critical: 1/8 and half of another; two codebooks of 2 words of 8 numbers over 64 weights; one scale per row.

    >>> rate = vector_code_rate(4, 16, 0.5, codebook_bits=(1, 1), full_order=False)
    >>> rate.codes, rate.codebooks, rate.scales, round(rate.channel_set, 4) == round(math.log2(12870) / 64, 4)
    (0.1875, 8.0, 1.0, True)
    """
    if rows < 1 or not codebook_bits or min(codebook_bits) < 0 or not float_bits >= 0:
        raise TheoryError(
            f"vector code: {rows} rows, codebooks of {tuple(codebook_bits)} bits, {float_bits} bits per number; "
            "expected at least one row and one codebook, and no negative bits"
        )
    groups = critical_groups(columns, fraction, group=group)
    if columns % group:
        raise TheoryError(f"vector code: {columns} columns in groups of {group}; expected a multiple: pad the columns")
    weights, critical = rows * columns, group * groups
    used = codebook_bits if groups else codebook_bits[:1]
    nats = gammaln(columns + 1) - gammaln(critical + 1) - gammaln(columns - critical + 1)
    return VectorCodeRate(
        codes=codebook_bits[0] / group + critical / columns * sum(used[1:]) / group,
        codebooks=float_bits * group * sum(2**e for e in used) / weights,
        scales=float_bits / columns,
        channel_set=0.0 if full_order else max(0.0, float(nats)) / math.log(2) / weights,
        permutation=(columns - 1).bit_length() / rows if full_order else 0.0,
    )
