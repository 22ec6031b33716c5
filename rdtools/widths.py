"""Widths up to which a matrix is decomposed."""

from __future__ import annotations

from rdtools.errors import TheoryError

#: Most active columns of which eigenvalues are computed. From 32767 on LAPACK's workspace of ``syevd`` overflows 32-bit integers; that of
#: ``syevr`` does not, but it takes hours, and a Cholesky factor (no workspace, a tenth of the time) gives all but the spectrum.
WIDEST_SPECTRUM = 32766


def missing_spectrum_reason(columns: int) -> str:
    """A sentence on why a matrix of so many active columns has no eigenvalues; empty up to WIDEST_SPECTRUM."""
    if columns <= WIDEST_SPECTRUM:
        return ""
    return (
        f"eigenvalues are not computed at this width ({columns} active columns, more than {WIDEST_SPECTRUM}): no R(D), no gap to it, and "
        "nothing else that needs the spectrum; determinant and feedback come from the Cholesky factor"
    )


def check_spectrum_width(columns: int) -> None:
    """Refuse to decompose a matrix of more active columns than WIDEST_SPECTRUM.

    Raises
    ------
    TheoryError
    """
    if reason := missing_spectrum_reason(columns):
        raise TheoryError(reason)
