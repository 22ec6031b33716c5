"""High-Rate Quantized Matrix Multiplication II: randomly rotated GPTQ."""

from __future__ import annotations

from rdtools.claims.evidence.moment import Moment
from rdtools.claims.papers.terms import REGULAR
from rdtools.claims.record import Assumption, Source, Statement
from rdtools.theory.rotated_cholesky import rotated_gptq_gap_bits

CLAIMS = (
    Statement(
        "matmul-ii.rotated-gptq",
        "randomly rotated GPTQ is within 0.1 bit of WaterSIC at high rate on Llama-3-8B",
        Source("High-Rate Quantized MatMul II 2605.13768", "", "abstract"),
    ).at_most(
        lambda e: rotated_gptq_gap_bits(e[Moment].spectrum),
        0.1,
        "bit",
        Assumption("the layer is of Llama-3-8B", lambda e: "llama-3-8b" in e.model.lower()),
        *REGULAR,
        Assumption(
            "H comes from at least ten tokens a column", lambda e: e[Moment].n_tokens == 0 or e[Moment].n_tokens >= 10 * e[Moment].columns
        ),
    ),
)
