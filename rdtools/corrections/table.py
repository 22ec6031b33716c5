"""The corrections by name, in the order in which tables add them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rdtools.errors import UsageError


@dataclass(frozen=True)
class Correction:
    """A change of what a quantizer is given, or of what becomes of its answer.

    Attributes
    ----------
    name : by which it is switched on
    what : in one line
    formula : of x, r in the original model and x̂, r̂ in the quantized one
    module : where it is computed
    both_models : True if it compares inputs of both models
    """

    name: str
    what: str
    formula: str
    module: str
    both_models: bool = True


#: WaterSIC, arXiv 2603.04956 v1, section 4 and Algorithms 3 and 4.
CORRECTIONS = (
    Correction(
        "drift",
        "weights are retargeted, so that outputs on the inputs of the quantized model are those of the original",
        "T = W (E[x x̂ᵀ] + δI) (E[x̂ x̂ᵀ] + δI)⁻¹ in place of W",
        "rdtools.corrections.target",
    ),
    Correction(
        "residual",
        "layers that write to the residual stream also make up for what it lacks",
        "E[(r − r̂) x̂ᵀ] is added to W E[x x̂ᵀ]",
        "rdtools.corrections.target",
    ),
    Correction(
        "dead",
        "inputs below 1e-3 of the median energy are left out, their weights zero, their share given to the others",
        "columns i with E[x_i²] < 1e-3 · median_j E[x_j²] are not coded",
        "rdtools.corrections.target",
        both_models=False,
    ),
    Correction(
        "rescale",
        "scales of columns and rows are fitted to the decided integers, in 16 bits, where they pay for themselves",
        "Ŵ = diag(t) Ŵ₀ diag(γ) of least tr((T − Ŵ) (Σ_x̂ + δI) (T − Ŵ)ᵀ)",
        "rdtools.corrections.rescale",
        both_models=False,
    ),
    Correction(
        "attention",
        "Hessians of q, k and v weigh every token by the attention that it receives in the original model",
        "p_j = 1/(h (t − j)) Σ_heads Σ_{i ≥ j} A_ij; E[p x xᵀ]/E[p] in place of E[x xᵀ]",
        "rdtools.model.attention",
    ),
    Correction(
        "mixing",
        "for q, k and v, shares of original and unweighted Hessians are searched by the error before the output projection",
        "Σ ← (1 − a) Σ_weighted + a Σ, after Σ_x̂, Σ_xx̂ ← (1 − q) · + q Σ_x",
        "rdtools.corrections.mixing",
    ),
)
#: A name that stands for all.
ALL = "all"


def parse_corrections(asked: str | Sequence[str]) -> tuple[str, ...]:
    """Names of corrections in the order of the table.

    Parameters
    ----------
    asked : names, in a list or separated by commas; "all"; nothing for none

    Raises
    ------
    UsageError
        For another name, for commas alone, and for mixing without anything to mix.

    Examples
    --------
    >>> parse_corrections("rescale,drift"), parse_corrections("")
    (('drift', 'rescale'), ())
    """
    parts = asked.split(",") if isinstance(asked, str) else list(asked)
    names = {part.strip() for part in parts if part.strip()}
    if asked and not names:
        raise UsageError(f"`corrections` {asked!r}: no name in it; expected names of corrections, or nothing at all for none")
    known = [correction.name for correction in CORRECTIONS]
    if ALL in names:
        names = (names - {ALL}) | set(known)
    other = sorted(names - set(known))
    if other:
        raise UsageError(f"`corrections` {other[0]!r}: expected some of {', '.join(known)}, or {ALL}")
    if "mixing" in names and not names & {"drift", "attention"}:
        raise UsageError("`corrections` mixing: alone, where there is nothing to mix; add drift, attention or both")
    if "residual" in names and "drift" not in names:
        raise UsageError("`corrections` residual: without drift, of whose target it is a term; add drift")
    return tuple(name for name in known if name in names)


def compares_models(names: Collection[str]) -> bool:
    """True if one of the corrections compares inputs of the original model with those of the quantized one."""
    return any(correction.both_models for correction in CORRECTIONS if correction.name in names)


def check_corrections(asked: str | Sequence[str], hessians: str) -> tuple[str, ...]:
    """Names in order, refused where they do not go with the Hessians.

    Raises
    ------
    UsageError
    """
    names = parse_corrections(asked)
    if hessians != "sequential" and compares_models(names):
        other = next(one.name for one in CORRECTIONS if one.both_models and one.name in names)
        raise UsageError(f"`corrections` {other} with `hessians` {hessians}: it compares both models; choose sequential")
    return names
