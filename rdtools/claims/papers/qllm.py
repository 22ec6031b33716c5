"""QLLM: channels of quantized activations, split and merged."""

from __future__ import annotations

import numpy as np

from rdtools.claims.evidence.base import Evidence
from rdtools.claims.evidence.channels import Channels
from rdtools.claims.evidence.low_rank import LowRank
from rdtools.claims.evidence.moment import Moment
from rdtools.claims.papers.lrc import WELL_CONDITIONED, sample_rounding
from rdtools.claims.papers.terms import ours, summing
from rdtools.claims.record import Assumption, Source, Statement
from rdtools.records import InputMoments
from rdtools.theory.activation import activation_distortion, reassembled_distortion
from rdtools.theory.channel_merging import merged_distortion
from rdtools.theory.correction_target import correction_target, unpredictable_distortion
from rdtools.theory.low_rank import low_rank_correction

#: Rounding errors of a normal channel on cells of half its deviation are uniform to e^(−2π²·4); what is granted is for how errors of
#: correlated channels on one grid go together.
_NOISE_MODEL = 0.03

_FINE = Assumption(
    "the step times the number of copies is at most half the deviation that any other channel leaves, in every channel, and some "
    "channel is no extreme of its token",
    lambda e: 0 < e[Channels].coarseness <= 0.5 and _noise(e, staggered=True) > 0,
)


def _source(equation: str) -> Source:
    return Source("QLLM 2310.08041", "", equation)


def _noise(e: Evidence, *, staggered: bool) -> float:
    return activation_distortion(e[Channels].inner_step_powers, e[Channels].counts, e[Channels].weight, staggered=staggered)


def _reassembled(e: Evidence) -> float:
    channels = e[Channels]
    return reassembled_distortion(channels.merged_step_powers, channels.merged_counts, channels.weight, e[Moment].matrix, channels.assembly)


_COSTS = Assumption("merging or rounding costs something", lambda e: _reassembled(e) > 0)


def _corrected(e: Evidence) -> float:
    evidence = e[LowRank]
    zero = np.zeros_like(evidence.weight)
    target = correction_target(evidence.weight, zero, evidence.moments)
    best = low_rank_correction(target, evidence.rounded, InputMoments.plain(evidence.moments.actual), evidence.rank)
    return best.distortion + unpredictable_distortion(evidence.weight, zero, evidence.moments)


CLAIMS = (
    Statement(
        "qllm.range", "⌈m_j/θ⌉ copies of every channel stay within ±θ (largest magnitude over θ)", _source("channel disassembly")
    ).at_most(lambda e: e[Channels].spread, 1.0, "relative", tolerance=4 * float(np.finfo(np.float64).eps)),
    Statement(
        "qllm.disassembly",
        "W' x' = W x for channels split into T_j copies x_j/T_j (largest relative difference)",
        _source("channel disassembly"),
    ).equal(
        lambda e: e[Channels].split_error, 0.0, "relative", tolerance=summing(lambda e: float(e[Channels].counts.sum()) / e[Moment].columns)
    ),
    Statement(
        "qllm.assembly", "merging channels i and j costs E(x_i − x_j)² ‖w_i − w_j‖²/(4mn) per weight", _source("channel assembly")
    ).equal(
        lambda e: e[Channels].merge_distortion,
        lambda e: merged_distortion(e[Moment].matrix, e[Channels].weight, [e[Channels].pair]),
        "distortion",
        tolerance=summing(lambda e: float(np.trace(e[Moment].matrix)) * float(np.mean(e[Channels].weight ** 2))),
    ),
    Statement(
        "qllm.noise",
        "rounding activations costs Σ (E[Δ²; j no extreme of its token]/12) T_j² ‖w_j‖²/(mn) with equal copies, within 3 % (ratio)",
        ours("uniform noise of QLLM 2310.08041's copies"),
    ).equal(lambda e: e[Channels].equal_distortion.scaled(1 / _noise(e, staggered=False)), 1.0, "relative", _FINE, tolerance=_NOISE_MODEL),
    Statement(
        "qllm.noise-bound",
        "it costs at most (E Δ²/12) Σ T_j² ‖w_j‖²/(mn), within 3 % (ratio)",
        ours("uniform noise of QLLM 2310.08041's copies"),
    ).at_most(
        lambda e: e[Channels].equal_distortion.scaled(
            1 / activation_distortion(e[Channels].step_power, e[Channels].counts, e[Channels].weight)
        ),
        1.0,
        "relative",
        _FINE,
        tolerance=_NOISE_MODEL,
    ),
    Statement(
        "qllm.staggered",
        "it costs Σ (E[Δ²; j no extreme of its token]/12) ‖w_j‖²/(mn) with copies shifted by fractions of a step, within 3 % (ratio)",
        ours("Hermite's identity"),
    ).equal(
        lambda e: e[Channels].staggered_distortion.scaled(1 / _noise(e, staggered=True)), 1.0, "relative", _FINE, tolerance=_NOISE_MODEL
    ),
    Statement(
        "qllm.reassembly",
        "a merged pair, split channels and rounding together cost tr(E H Eᵀ)/(mn) + Σ (E[Δ²; j no extreme]/12) T_j² ‖w′_j‖²/(mn), within "
        "3 % (ratio)",
        ours("uniform noise of QLLM 2310.08041's reassembled channels"),
    ).equal(
        lambda e: e[Channels].reassembled_distortion.scaled(1 / _reassembled(e)), 1.0, "relative", _FINE, _COSTS, tolerance=_NOISE_MODEL
    ),
    Statement(
        "qllm.correction",
        "the best B A of rank k beside Ŵ, acting on Q(x), leaves Σ_{i>k} s_i²/(mn) of the error that Q(x) explains, and all of the rest",
        _source("efficient error correction"),
    ).equal(lambda e: e[LowRank].beside_quantized_sampled, _corrected, "distortion", WELL_CONDITIONED, tolerance=sample_rounding),
)
