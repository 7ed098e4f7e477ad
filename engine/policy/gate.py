"""The gate: a cheaper model is used where it has earned its trust, and the frontier everywhere else.

Confidence is relative. A candidate passes when it is not worse than the model it is compared with (`against`, the
frontier) by more than the learner's margin, with at least the threshold's probability, on at least `min_samples`
outcomes of this kind of task for both sides. Of those that pass, the cheapest serves. `against` itself needs no
proof.

A gate that never tries anything learns nothing, so with the learner's `explore_rate` one of the models that would
not have served does. Only those are tried that could ever win: `against`, which must stay measured, and what is
cheaper. The chance a choice had is recorded as its propensity.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from engine.core.decision import Candidate
from engine.core.policy import Learner
from engine.core.ports import Belief, Trust

Because = Literal["proven", "explored", "below_threshold", "few_samples", "nothing_cheaper"]


@dataclass(frozen=True, slots=True)
class GateCandidate:
    """A model the learner may choose, and whether it can carry this request."""

    model: str
    expected_cost_usd: float
    eligible: bool = True


@dataclass(frozen=True, slots=True)
class GateResult:
    """`confidence` is None where `against` serves: nothing was to be proven. `source` is "default" there, unless
    the learner sent it there to learn."""

    model: str
    confidence: float | None
    source: Literal["learner", "default"]
    reason: str
    because: Because
    candidates: tuple[Candidate, ...]
    propensity: float


@dataclass(frozen=True, slots=True)
class _Judged:
    candidate: GateCandidate
    belief: Belief
    lost: str  # why it may not serve; empty where it may
    because: Because = "proven"


def pass_gate(
    learner: Learner,
    candidates: Sequence[GateCandidate],
    against: str,
    trust: Trust,
    signature: str,
    draw: float,
) -> GateResult:
    """Which of the candidates serves.

    `against` is the model that serves where nothing is proven; the caller names one that can carry the request.
    `draw` in [0, 1) decides whether to explore; 1.0 forbids it. Candidates of equal cost keep their order, after
    `against`.
    """
    judged = [_judge(learner, candidate, against, trust, signature) for candidate in candidates]
    passed = [one for one in judged if not one.lost]
    best = min(
        passed,
        key=lambda one: (one.candidate.expected_cost_usd, one.candidate.model != against),
        default=None,
    )
    model = best.candidate.model if best else against
    others = _worth_trying(judged, against, model)
    rate = learner.explore_rate if others and draw < 1.0 else 0.0
    if draw < rate:
        tried = others[int(draw / rate * len(others))]
        return _result(tried, against, "explored", "tried, to learn how it does", judged, rate / len(others))
    if best is None or model == against:
        because = _why_not(judged, against)
        return _result_against(against, because, judged, 1.0 - rate)
    reason = f"not worse than {against} with confidence {_short(best.belief.confidence)}"
    return _result(best, against, "proven", reason, judged, 1.0 - rate)


def _judge(learner: Learner, candidate: GateCandidate, against: str, trust: Trust, signature: str) -> _Judged:
    belief = trust.belief(learner, signature, candidate.model, against)
    if not candidate.eligible:
        return _Judged(candidate, belief, "cannot carry this request")
    if candidate.model == against:
        return _Judged(candidate, belief, "")
    if belief.samples < learner.min_samples:
        lost = f"{math.floor(belief.samples)} of {learner.min_samples} samples"
        return _Judged(candidate, belief, lost, "few_samples")
    if not belief.confidence >= learner.threshold:  # so that NaN fails too
        lost = f"confidence {_short(belief.confidence)} is below {learner.threshold:g}"
        return _Judged(candidate, belief, lost, "below_threshold")
    return _Judged(candidate, belief, "")


def _worth_trying(judged: Sequence[_Judged], against: str, model: str) -> list[_Judged]:
    """What could serve instead of `model` and teach something: `against`, and all that is cheaper than it."""
    ceiling = next(
        (one.candidate.expected_cost_usd for one in judged if one.candidate.model == against), math.inf
    )
    return [
        one
        for one in judged
        if one.candidate.eligible
        and one.candidate.model != model
        and (one.candidate.model == against or one.candidate.expected_cost_usd < ceiling)
    ]


def _why_not(judged: Sequence[_Judged], against: str) -> Because:
    """Why `against` serves: the nearest miss of the others, or that none of them is cheaper."""
    misses = {one.because for one in judged if one.lost and one.candidate.eligible}
    if any(not one.lost and one.candidate.model != against for one in judged) or not misses:
        return "nothing_cheaper"
    return "below_threshold" if "below_threshold" in misses else "few_samples"


_REASONS: dict[Because, str] = {
    "below_threshold": "no cheaper model is sure enough to be as good as {against}",
    "few_samples": "no cheaper model is known well enough to replace {against}",
    "nothing_cheaper": "nothing that may replace {against} is cheaper",
}


def _result_against(
    against: str, because: Because, judged: Sequence[_Judged], propensity: float
) -> GateResult:
    reason = _REASONS[because].format(against=against)
    listed = _candidates(judged, against, against, "the default", "costs more than {chosen}")
    return GateResult(against, None, "default", reason, because, listed, propensity)


def _result(
    chosen: _Judged, against: str, because: Because, reason: str, judged: Sequence[_Judged], propensity: float
) -> GateResult:
    model = chosen.candidate.model
    confidence = None if model == against else chosen.belief.confidence
    passed_over = "costs more than {chosen}" if because == "proven" else "set aside this once for {chosen}"
    listed = _candidates(judged, against, model, reason, passed_over)
    return GateResult(model, confidence, "learner", reason, because, listed, propensity)


def _candidates(
    judged: Sequence[_Judged], against: str, chosen: str, won: str, passed_over: str
) -> tuple[Candidate, ...]:
    """The record of each: why the chosen one won, why each other lost. `passed_over` is for those that might have
    served."""
    return tuple(
        Candidate(
            model=one.candidate.model,
            chosen=one.candidate.model == chosen,
            why=won if one.candidate.model == chosen else one.lost or passed_over.format(chosen=chosen),
            confidence=None if one.candidate.model == against else one.belief.confidence,
            samples=one.belief.samples,
            expected_cost_usd=one.candidate.expected_cost_usd,
        )
        for one in judged
    )


def _short(confidence: float) -> str:
    """Cut, not rounded: 0.9497 must not read as the 0.95 it failed to reach."""
    return f"{math.floor(confidence * 1000) / 1000:g}" if math.isfinite(confidence) else str(confidence)
