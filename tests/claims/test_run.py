from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from rdtools.claims import CLAIMS, FAMILIES, check, synthetic_layers, verify, verify_counterexample
from rdtools.claims.evidence.case import budget, moment_case
from rdtools.claims.evidence.gather import EXPERIMENTS, Experiment, layer_evidence, shared_evidence
from rdtools.claims.evidence.unit_rounding import UnitRounding, gather_unit_rounding
from rdtools.cli.main import main
from rdtools.errors import NotPositiveSemidefinite, RateUnreachable
from rdtools.moments.layer import Layer
from rdtools.moments.synthetic import ar1_moment, haar_moment
from rdtools.runs.store import open_run

#: What is true in the limit of many columns only, of spectra that few eigenvalues do not dominate.
_LEADERS = {"rotation.deterministic-equivalent", "rotation.below-incoherent-bound"}
#: What cannot be said of a family, and why; every other claim holds on it.
NOT_APPLICABLE = {
    "white": set(),
    "power law": set(),
    "AR(1)": set(),
    "spiked": _LEADERS,
    "two-level": set(),
    "heterogeneous channels": _LEADERS,
    "axes": set(),
    # rounding decides some codes otherwise on another route, sample moments have no accurate inverse, and there is much feedback
    "near-singular": {"babai.textbook", "babai.nearest-plane", "trellis.predicted-gap", "trellis.better-than-scalar", *_LEADERS},
    "rank-deficient": None,
    "one column": None,
}
#: These speak of one matrix or one model.
SPECIAL = {"quip.clamping-breaks-feedback", "quip.without-clamping", "matmul-ii.rotated-gptq"}


@pytest.mark.parametrize("name", FAMILIES)
def test_every_claim_holds_on_every_family_or_does_not_apply_for_a_known_reason(name):
    (layer,) = (layer for layer in synthetic_layers() if layer.key.name == name)
    verdicts = {verdict.claim.name: verdict for verdict in verify([layer])}
    assert len(verdicts) == len(CLAIMS)
    assert [v for v in verdicts.values() if v.status == "violated"] == []
    absent = {n for n, v in verdicts.items() if v.status == "not applicable"} - SPECIAL
    if name == "near-singular":
        absent -= {n for n in absent if n.startswith("lrc.") or n == "qllm.correction"}
    if NOT_APPLICABLE[name] is not None:
        assert absent == NOT_APPLICABLE[name]
    elif name == "rank-deficient":
        reasons = {verdicts[n].assumption for n in absent}
        assert reasons <= {"H is singular", "not met: H is positive definite"}, reasons
    else:
        assert all("column" in verdicts[n].assumption or "group" in verdicts[n].assumption for n in absent)


def test_the_counterexample_breaks_clamped_feedback():
    verdicts = list(verify_counterexample())
    assert {v.claim.name for v in verdicts} == {"quip.clamping-breaks-feedback", "quip.without-clamping"}
    assert all(v.status == "holds" for v in verdicts)


def _layer(H, W=None, name="layer"):
    rng = np.random.default_rng(0)
    return Layer.of(rng.standard_normal((8, len(H))) if W is None else W, H, name=name)


def _dense(n: int, spread: float):
    return haar_moment(np.geomspace(1, spread, n), np.random.default_rng(n))


def _pruned(shape: tuple[int, int], zeros: float):
    rng = np.random.default_rng(5)
    return rng.standard_normal(shape) * (rng.random(shape) >= zeros)


DEGENERATE = {
    "two columns": _layer(ar1_moment(2, 0.5)),
    "two columns, one row": _layer(ar1_moment(2, 0.5), np.array([[1.0, -2.0]])),
    "three columns": _layer(ar1_moment(3, 0.9)),
    "seven columns": _layer(_dense(7, 1e-3)),
    "dense, spread of 1e15": _layer(_dense(16, 1e-15)),
    "dense, spread of 1e16": _layer(_dense(64, 1e-16)),
    "pruned": _layer(ar1_moment(32, 0.5), _pruned((64, 32), 0.98)),
    "one active row": _layer(ar1_moment(32, 0.5), np.outer(np.arange(64) == 3, np.arange(1.0, 33.0)).astype(float)),
    "ternary": _layer(ar1_moment(16, 0.5), np.random.default_rng(6).integers(-1, 2, (64, 16)).astype(float)),
    "no input is ever used": _layer(np.zeros((4, 4))),
    "one non-zero eigenvalue": _layer(np.diag([0.0, 3.0, 0.0])),
    "rank one": _layer(np.ones((5, 5))),
    "all equal": _layer(2.0 * np.eye(6)),
    "spread of 1e16": _layer(np.diag(np.geomspace(1e-8, 1e8, 9))),
    "one column": _layer(np.ones((1, 1))),
    "one weight": _layer(np.ones((1, 1)), np.ones((1, 1))),
    "one row": _layer(ar1_moment(6, 0.5), np.arange(1.0, 7.0)[None]),
    "no weights": _layer(np.eye(4), np.zeros((3, 4))),
    "equal weights": _layer(ar1_moment(6, 0.5), np.ones((4, 6))),
    "a dead column": _layer(np.diag([1.0, 0.0, 2.0, 3.0])),
    "tiny": _layer(1e-30 * ar1_moment(8, 0.5), 1e-20 * np.random.default_rng(1).standard_normal((8, 8))),
    "huge": _layer(1e30 * ar1_moment(8, 0.5), 1e20 * np.random.default_rng(1).standard_normal((8, 8))),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_layers_violate_nothing(name, monkeypatch):
    """With as few draws as allowances for skewed ones permit: what a layer lacks does not depend on their number."""
    monkeypatch.setitem(budget.__kwdefaults__, "most", 4096)
    verdicts = list(verify([DEGENERATE[name]]))
    assert len(verdicts) == len(CLAIMS)
    assert [v for v in verdicts if v.status in ("violated", "failed")] == []
    for verdict in verdicts:
        if verdict.status == "holds":
            assert not math.isnan(verdict.lhs + verdict.rhs)
        else:
            assert verdict.assumption


def test_the_same_seed_gives_the_same_verdicts_and_another_one_others():
    layer = _layer(ar1_moment(8, 0.8))
    rows = [
        [v.to_row() for v in verify([layer], seed=seed, claims=[c for c in CLAIMS if c.name.startswith("quip.")])] for seed in (1, 1, 2)
    ]
    assert str(rows[0]) == str(rows[1])
    assert str(rows[0]) != str(rows[2])


@pytest.mark.parametrize("error", [FloatingPointError("planted"), ValueError("planted"), KeyError("planted")])
def test_a_part_that_fails_takes_no_other_with_it(monkeypatch, error):
    def fail(case):
        raise error

    monkeypatch.setitem(EXPERIMENTS, UnitRounding, Experiment(fail, "moment"))
    claims = [c for c in CLAIMS if c.name.startswith("quip.")]
    verdicts = {v.claim.name: v for v in verify([_layer(ar1_moment(8, 0.8))], claims=claims)}
    assert verdicts["quip.lemma-2"].status == "holds"
    failed = verdicts["quip.lemma-3-average-nearest"]
    assert (failed.status, failed.assumption) == ("failed", f"could not be gathered: {type(error).__name__}: {error}")


@pytest.mark.parametrize("error", [NotPositiveSemidefinite("planted"), RateUnreachable("planted")])
def test_a_limit_of_the_layer_is_no_failure(monkeypatch, error):
    def refuse(case):
        raise error

    monkeypatch.setitem(EXPERIMENTS, UnitRounding, Experiment(refuse, "moment"))
    (verdict,) = verify([_layer(ar1_moment(8, 0.8))], claims=[c for c in CLAIMS if c.name == "quip.lemma-3-average-nearest"])
    assert (verdict.status, verdict.assumption) == ("not applicable", f"could not be gathered: {type(error).__name__}: planted")


def test_a_moment_that_cannot_be_decomposed_fails_its_claims_and_no_others(monkeypatch):
    from rdtools.claims.evidence import gather

    def fail(hessian, *, seed):
        if hessian.matrix[0, 0] == 3:
            raise np.linalg.LinAlgError("planted")
        return moment_case(hessian, seed=seed)

    monkeypatch.setattr(gather, "moment_case", fail)
    claims = [c for c in CLAIMS if c.name in ("quip.lemma-2", "quip.feedback-helps")]
    verdicts = list(verify([_layer(3 * np.eye(4), name="odd"), _layer(ar1_moment(8, 0.8), name="good")], claims=claims))
    assert [(v.subject, v.status) for v in verdicts] == [("odd", "failed")] * 2 + [("good", "holds")] * 2
    assert "LinAlgError: planted" in verdicts[0].assumption


def test_an_interrupt_while_gathering_ends_the_run(monkeypatch):
    def interrupted(case):
        raise KeyboardInterrupt

    monkeypatch.setitem(EXPERIMENTS, UnitRounding, Experiment(interrupted, "moment"))
    with pytest.raises(KeyboardInterrupt):
        list(verify([_layer(ar1_moment(8, 0.8))]))


def test_a_layer_that_cannot_be_read_fails_its_claims_and_no_others(tiny_llama, tiny_tokens, tmp_path):
    out = tmp_path / "run"
    assert main(["hessians", "collect", str(out), "--model", str(tiny_llama), "--tokens", str(tiny_tokens)]) == 0
    run = open_run(out)
    broken = run.path / run.hessians[0].file
    broken.write_bytes(broken.read_bytes()[:-8])
    claims = [c for c in CLAIMS if c.name == "quip.lemma-2"]
    verdicts = list(verify(open_run(out), claims=claims))
    assert len(verdicts) == len(run)
    read = {entry.name: entry.hessian != 0 for entry in run.layers}
    assert {v.subject: v.status == "holds" for v in verdicts} == read
    failed = [v for v in verdicts if v.status == "failed"]
    assert all(v.assumption.startswith("could not be read: CorruptFile: ") for v in failed)
    assert failed


def test_layers_with_the_same_input_share_what_is_gathered_about_it(monkeypatch):
    calls = []
    original = EXPERIMENTS[UnitRounding].gather
    monkeypatch.setitem(EXPERIMENTS, UnitRounding, Experiment(lambda case: calls.append(1) or original(case), "moment"))
    first = _layer(ar1_moment(8, 0.8), name="first")
    second = Layer(first.key, 2 * first.weight, first.hessian)
    claims = [c for c in CLAIMS if c.name in ("quip.error-identity", "quip.theorem-1-worst", "weights.entropy")]
    assert len(list(verify([first, second], claims=claims))) == 6
    assert len(calls) == 1


def test_nothing_is_gathered_that_no_claim_reads(monkeypatch):
    def never(*about):
        raise AssertionError("gathered")

    for kind, experiment in list(EXPERIMENTS.items()):
        if kind.__name__ != "Moment":
            monkeypatch.setitem(EXPERIMENTS, kind, Experiment(never, experiment.about))
    (verdict,) = verify([_layer(ar1_moment(8, 0.8))], claims=[c for c in CLAIMS if c.name == "quip.lemma-2"])
    assert verdict.status == "holds"


def test_statistical_claims_are_false_alarms_as_often_as_they_say():
    """With quantiles at ¼, a tenth of what is asked for, over 160 seeds: within the binomial's 1e-4 quantiles, not blind nor jumpy."""
    (claim,) = (c for c in CLAIMS if c.name == "quip.lemma-3-average-nearest")
    layer = _layer(ar1_moment(3, 0.6))
    evidence = layer_evidence(layer, shared_evidence(layer.hessian, seed=0))
    alarms = 0
    for seed in range(160):
        drawn = gather_unit_rounding(moment_case(layer.hessian, seed=seed))
        alarms += check(claim, evidence.having(drawn), false_alarm=2.5).status == "violated"
    low, high = scipy.stats.binom.ppf([1e-4, 1 - 1e-4], 160, 0.25)
    assert low <= alarms <= high
