"""Every claim of the papers and ours, checked on layers. With `rdtools.compare`, where theory and measurement meet.

To add a claim, complete a `Statement` in the file of its paper and plant its contradiction in the tests. Evidence that is not yet
gathered is one file of `evidence/`, a record beside the experiment that fills it, and one line of `evidence.gather.EXPERIMENTS`.
"""

from rdtools.claims.evidence.base import Estimate as Estimate
from rdtools.claims.evidence.base import Evidence as Evidence
from rdtools.claims.evidence.moment import Moment as Moment
from rdtools.claims.evidence.weights import Weights as Weights
from rdtools.claims.families import FAMILIES as FAMILIES
from rdtools.claims.families import synthetic_layers as synthetic_layers
from rdtools.claims.papers import CLAIMS as CLAIMS
from rdtools.claims.record import FALSE_ALARM as FALSE_ALARM
from rdtools.claims.record import Assumption as Assumption
from rdtools.claims.record import Claim as Claim
from rdtools.claims.record import ClaimResult as ClaimResult
from rdtools.claims.record import Source as Source
from rdtools.claims.record import Statement as Statement
from rdtools.claims.record import check as check
from rdtools.claims.record import no_verdict as no_verdict
from rdtools.claims.run import verify as verify
from rdtools.claims.run import verify_counterexample as verify_counterexample
from rdtools.claims.tightness import tightness as tightness
