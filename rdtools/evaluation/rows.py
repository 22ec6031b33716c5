"""From the scores of tokens to the columns of a row."""

from __future__ import annotations

import math

from rdtools.evaluation.intervals import Resamples
from rdtools.evaluation.scores import TokenScores
from rdtools.evaluation.windows import Windows
from rdtools.records.evaluation_row import ModelScores

#: Share of the tokens in the tail of the divergence.
TAIL = 0.01


def model_scores(scores: TokenScores, windows: Windows, *, seed: int) -> ModelScores:
    """Means and tails over tokens, with intervals over the sequences or documents of the windows.

    Parameters
    ----------
    scores : of all tokens, in the order of the windows
    windows : that were scored
    seed : of the resamples
    """
    resamples = Resamples(windows.token_clusters, seed)
    nll, increase = resamples.mean(scores.nll), resamples.mean(scores.nll - scores.reference_nll)
    kl, accepted, agreed = resamples.mean(scores.kl), resamples.mean(scores.acceptance), resamples.mean(scores.agreement)
    quantile, tail = resamples.tail(scores.kl, TAIL)
    perplexity = math.exp(nll.value)
    return ModelScores(
        perplexity_original=math.exp(float(scores.reference_nll.mean())),
        perplexity=perplexity,
        perplexity_stderr=perplexity * nll.stderr,
        perplexity_low=math.exp(nll.low),
        perplexity_high=math.exp(nll.high),
        nll_increase_nats=increase.value,
        nll_increase_stderr=increase.stderr,
        nll_increase_low=increase.low,
        nll_increase_high=increase.high,
        kl_nats=kl.value,
        kl_stderr=kl.stderr,
        kl_low=kl.low,
        kl_high=kl.high,
        kl_p99_nats=quantile.value,
        kl_p99_low=quantile.low,
        kl_p99_high=quantile.high,
        kl_cvar1_nats=tail.value,
        kl_cvar1_low=tail.low,
        kl_cvar1_high=tail.high,
        acceptance=accepted.value,
        acceptance_low=accepted.low,
        acceptance_high=accepted.high,
        top1_agreement=agreed.value,
        top1_agreement_low=agreed.low,
        top1_agreement_high=agreed.high,
    )
