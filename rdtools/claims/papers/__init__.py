"""Every published claim, and ours, one paper per file."""

from rdtools.claims.papers import (
    babai,
    crvq,
    derived,
    derived_bias,
    derived_rotations,
    derived_trellis,
    lrc,
    matmul_ii,
    pca_split,
    qllm,
    quip,
    quip_sharp,
    softwater,
    watersic,
)
from rdtools.claims.record import Claim

#: All claims, in the order in which they are reported.
CLAIMS: tuple[Claim, ...] = (
    *quip.CLAIMS,
    *quip_sharp.CLAIMS,
    *babai.CLAIMS,
    *watersic.CLAIMS,
    *matmul_ii.CLAIMS,
    *crvq.CLAIMS,
    *qllm.CLAIMS,
    *lrc.CLAIMS,
    *pca_split.CLAIMS,
    *softwater.CLAIMS,
    *derived_rotations.CLAIMS,
    *derived.CLAIMS,
    *derived_trellis.CLAIMS,
    *derived_bias.CLAIMS,
)
