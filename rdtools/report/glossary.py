"""Terms and bounds that the page explains."""

from __future__ import annotations

import pandas as pd

from rdtools.compare.bounds import BOUNDS
from rdtools.compare.curves import FINITE_RATE, PREDICTIONS, SHANNON, UNIVERSAL
from rdtools.methods import entry_of
from rdtools.records.rows import COLUMNS
from rdtools.report.paired import CODERS
from rdtools.units import SCALAR_LOSS_BITS

_ABOUT = {column.name: column.meaning for column in COLUMNS}


def _sentence(column: str) -> str:
    meaning = _ABOUT[column]
    return meaning[0].upper() + meaning[1:]


#: Curve → label, of those that are no entry of `BOUNDS`.
REFERENCE_LABELS = {UNIVERSAL: "R(D) + 0.11 bit, H unknown to the decoder", SHANNON: "Shannon lower bound, distribution of all weights"}

#: Term → meaning.
TERMS: dict[str, str] = {
    "matrix, layer": "One linear map of the model, y = W x, with W of m rows (outputs) and n columns (inputs).",
    "Hessian H": "E[x xᵀ], the uncentred second moment of a layer's input over calibration tokens; no factor 2, no damping.",
    "distortion D": "tr((W−Ŵ) H (W−Ŵ)ᵀ)/(mn): mean square error of the layer's outputs per weight, Ŵ the decoded weights. D₀ = "
    "tr(W H Wᵀ)/(mn) is that of weights all zero, D/D₀ the relative distortion.",
    "SQNR": "Signal to quantization noise ratio, −10 log₁₀(D/D₀), in dB; at high rate one bit is worth 6.02 dB.",
    "bpw": "Bits per weight of the whole matrix.",
    "target rate": "Of the symbols, frequency tables included, per weight of an active input feature, in the method's own rate kind; "
    "scales and headers are overhead, which the total rate adds. All other rates are per weight of the whole matrix.",
    "symbols": "The quantized integers of a matrix.",
    "overhead": "Total rate less the rate of the symbols: scales, headers, checksums, and what the coder loses.",
    "total rate": "8 × the bytes of a file that decodes to Ŵ, all side information included, over the number of weights.",
    "gap": "Total rate minus R(D) at the measured distortion: the bits per weight that a file has above the bound. 0 would be ideal; an "
    f"ideal scalar quantizer with entropy coding has {SCALAR_LOSS_BITS:.4f} at high rate.",
    "G": "½ log₂ of the arithmetic over the geometric mean of ℓ²: what GPTQ loses to WaterSIC at high rate, both with an ideal coder per "
    "column.",
    "ℓ²": "Squared diagonal of the Cholesky factor of H: the energy of a column that those coded after it do not explain.",
    "water level": "Reverse waterfilling at R(D): directions whose eigenvalue is above it get bits, those below none.",
    "R_c": f"{_sentence('critical_rate_bpw')}; below it only reverse waterfilling is.",
    "μ": "Incoherence: the largest entry over the root mean square, of the weights (μ_W) and of the eigenvectors of H (μ_H); 1 is the "
    "least.",
    "N_eff": "Number of independent tokens whose sample moment would err as much as H does against held-out text.",
    "status": f"{_sentence('status')}. Only rows that are ok enter means and figures.",
}

#: Rate kind → meaning.
RATE_KINDS: dict[str, str] = dict(part.strip().split(": ", 1) for part in _ABOUT["rate_kind"].split(";"))


def curve_labels() -> dict[str, str]:
    """Curve → name for readers."""
    return {
        **{name: bound.label for name, bound in BOUNDS.items()},
        **REFERENCE_LABELS,
        **{name: f"{name}, high-rate theory" for name in PREDICTIONS},
        **{name: name for name in FINITE_RATE},
    }


def bounds() -> list[tuple[str, str]]:
    """Label of each bound, and what its decoder knows."""
    return [(bound.label, bound.decoder) for bound in BOUNDS.values()]


def _coder(method: str, kind: str) -> str:
    entry, _ = entry_of(method)
    fixed = entry.fixed_coder if entry and kind == "fixed" else ""
    return f"fixed rate, {fixed}" if fixed else CODERS.get(kind, kind)


def method_table(table: pd.DataFrame) -> pd.DataFrame:
    """The methods of a run: how each codes its symbols, what it does, and where it is published."""
    rows = []
    for method, part in table.groupby("method", sort=False):
        entry, suffixes = entry_of(str(method))
        coders = [_coder(str(method), str(kind)) for kind in dict.fromkeys(part["rate_kind"].dropna())]
        settings = f" ({', '.join(suffixes)})" if suffixes else ""
        described = (f"{entry.description}{settings}", entry.paper) if entry else (settings.strip(), "")
        rows.append((str(method), ", ".join(coders) or "–", *described))
    return pd.DataFrame(rows, columns=["method", "coder", "what it does", "published in"])
