"""Every published claim, and ours, as a record whose two sides can be computed and held against a layer."""

from rdtools.theory.claims import babai, compensation, derived, high_rate, quip, quip_sharp, rotations
from rdtools.theory.claims.evidence import Evidence as Evidence
from rdtools.theory.claims.parts import Estimate as Estimate
from rdtools.theory.claims.record import FALSE_ALARM as FALSE_ALARM
from rdtools.theory.claims.record import Assumption as Assumption
from rdtools.theory.claims.record import Claim as Claim
from rdtools.theory.claims.record import Source as Source
from rdtools.theory.claims.record import Verdict as Verdict
from rdtools.theory.claims.record import check as check

#: All claims, in the order in which they are reported.
CLAIMS: tuple[Claim, ...] = (
    *quip.CLAIMS,
    *quip_sharp.CLAIMS,
    *babai.CLAIMS,
    *high_rate.CLAIMS,
    *compensation.CLAIMS,
    *rotations.CLAIMS,
    *derived.CLAIMS,
)
