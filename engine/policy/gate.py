"""The gate: a cheaper model or plan is used where it has earned its trust, and the frontier everywhere else.

Confidence is relative. A candidate passes when it is not worse than the model it is compared with (`against`, the
frontier) by more than the learner's margin, with at least the threshold's probability, on at least `min_samples`
outcomes of this kind of task. Of those that pass, the cheapest serves, or where the policy says what a task done is
worth, the one that is worth most. `against` itself needs no proof.

A plan costs what its steps cost, each as often as it is reached. Where what was paid for whole tasks is known of
every candidate, that is what they are compared by; else it is list prices.

A gate that never tries anything learns nothing, so with the learner's `explore_rate` one of the models that would
not have served does. Only those are tried that could ever win and cannot cost much quality: `against`, which must
stay measured, and what is cheaper and not expected to be worse by more than `explore_loss`. A plan that ends in the
frontier is such a one long before anything is proven. The chance a choice had is recorded as its propensity.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from engine.core.decision import Candidate
from engine.core.policy import Learner
from engine.core.ports import Belief, Option, Task, Trust
from engine.core.values import quick

# How much of what is explored goes to measuring `against` again, once something else serves.
AGAINST = 0.1

Because = Literal["proven", "explored", "below_threshold", "few_samples", "nothing_cheaper"]


@quick
@dataclass(frozen=True, slots=True)
class GateCandidate:
    """An option the learner may choose, what each of its steps is expected to cost, and whether it can carry this
    request."""

    option: Option
    step_usd: tuple[float, ...]
    eligible: bool = True


@quick
@dataclass(frozen=True, slots=True)
class GateResult:
    """`confidence` is None where `against` serves: nothing was to be proven. `source` is "default" there, unless
    the learner sent it there to learn."""

    option: Option
    confidence: float | None
    source: Literal["learner", "default"]
    reason: str
    because: Because
    candidates: tuple[Candidate, ...]
    propensity: float

    @property
    def model(self) -> str:
        """Who begins."""
        return self.option.steps[0]


@quick
@dataclass(frozen=True, slots=True)
class _Judged:
    option: Option
    belief: Belief
    cost_usd: float
    lost: str  # why it may not serve; empty where it may
    measure: bool  # whether it is what the others are compared with
    because: Because = "proven"
    eligible: bool = True


def pass_gate(
    learner: Learner,
    candidates: Sequence[GateCandidate],
    against: Option,
    trust: Trust,
    task: Task,
    draw: float,
) -> GateResult:
    """Which of the candidates serves.

    `against` is what serves where nothing is proven; the caller names one that can carry the request. `draw` in
    [0, 1) decides whether to explore; 1.0 forbids it. Candidates of equal worth keep their order, after `against`.
    """
    against = next((one.option for one in candidates if one.option == against), against)
    beliefs = trust.beliefs(learner, task, [candidate.option for candidate in candidates], against)
    costs = _costs(candidates, beliefs)
    judged = [
        _judge(learner, candidate, belief, cost, against)
        for candidate, belief, cost in zip(candidates, beliefs, costs, strict=True)
    ]
    passed = [one for one in judged if not one.lost]
    best = _best(learner, passed)
    serves = best.option if best else against
    chances = _worth_trying(learner, judged, serves) if draw < 1.0 else []
    rate = sum(chance for _, chance in chances)
    for tried, chance in chances:
        if draw < chance:
            return _result(tried, "explored", "tried, to learn how it does", judged, chance)
        draw -= chance
    if best is None or best.measure:
        because = _why_not(judged)
        return _result_against(against, because, judged, 1.0 - rate)
    reason = f"not worse than {against.name} with confidence {_short(best.belief.confidence)}"
    return _result(best, "proven", reason, judged, 1.0 - rate)


def _best(learner: Learner, passed: Sequence[_Judged]) -> _Judged | None:
    """What is worth most for its cost; of equals what the others are compared with, else the first."""
    worth, best, least = learner.usd_per_quality, None, math.inf
    for one in passed:
        net = one.cost_usd - worth * one.belief.quality
        if best is None or net < least or (net == least and one.measure and not best.measure):
            best, least = one, net
    return best


def _costs(candidates: Sequence[GateCandidate], beliefs: Sequence[Belief]) -> list[float]:
    """What each is expected to cost, all measured by the same thing: what tasks cost, or what tokens do."""
    paid = [belief.cost_usd for belief in beliefs]
    known = [usd for usd in paid if usd is not None]
    if len(known) == len(paid):
        return known
    return [
        sum(usd * chance for usd, chance in zip(candidate.step_usd, belief.reach, strict=True))
        if belief.reach
        else sum(candidate.step_usd)
        for candidate, belief in zip(candidates, beliefs, strict=True)
    ]


def _judge(
    learner: Learner, candidate: GateCandidate, belief: Belief, cost: float, against: Option
) -> _Judged:
    option = candidate.option
    if not candidate.eligible:
        return _Judged(option, belief, cost, "cannot carry this request", option is against, eligible=False)
    if option is against:
        return _Judged(option, belief, cost, "", True)
    if belief.samples < learner.min_samples:
        lost = f"{math.floor(belief.samples)} of {learner.min_samples} samples"
        return _Judged(option, belief, cost, lost, False, "few_samples")
    if not belief.confidence >= learner.threshold:  # so that NaN fails too
        lost = f"confidence {_short(belief.confidence)} is below {learner.threshold:g}"
        return _Judged(option, belief, cost, lost, False, "below_threshold")
    return _Judged(option, belief, cost, "", False)


def _worth_trying(learner: Learner, judged: Sequence[_Judged], serves: Option) -> list[tuple[_Judged, float]]:
    """What is tried instead of what serves, with its chance: what would be cheaper and is hardly worse, and now and
    then `against`."""
    known, ceiling = None, math.inf
    for one in judged:
        if one.measure and known is None:
            known = one
        if one.option is serves:
            ceiling = min(ceiling, one.cost_usd)
    floor = known.belief.quality - learner.explore_loss if known else 0.0
    cheaper = [
        one
        for one in judged
        if one.eligible
        and (one.lost or learner.usd_per_quality)
        and one.cost_usd < ceiling
        and one.belief.quality >= floor
        and not _known_worse(learner, one.belief)
    ]
    rate = learner.explore_rate
    if known is None or not known.eligible or serves is known.option:
        return [(one, rate / len(cheaper)) for one in cheaper]
    share = 1.0 / (1.0 + len(cheaper)) if learner.usd_per_quality else AGAINST
    rest = [(one, rate * (1.0 - share) / len(cheaper)) for one in cheaper]
    return [(known, rate * share), *rest]


def _known_worse(learner: Learner, belief: Belief) -> bool:
    """Nothing more is to be learned of what is as surely worse as a proven candidate is surely not."""
    return belief.samples >= learner.min_samples and belief.confidence < 1.0 - learner.threshold


def _why_not(judged: Sequence[_Judged]) -> Because:
    """Why `against` serves: the nearest miss of the others, or that none of them is cheaper."""
    misses = {one.because for one in judged if one.lost and one.eligible}
    if any(not one.lost and not one.measure for one in judged) or not misses:
        return "nothing_cheaper"
    return "below_threshold" if "below_threshold" in misses else "few_samples"


_REASONS: dict[Because, str] = {
    "below_threshold": "nothing cheaper is sure enough to be as good as {against}",
    "few_samples": "nothing cheaper is known well enough to replace {against}",
    "nothing_cheaper": "nothing that may replace {against} is cheaper",
}


def _result_against(
    against: Option, because: Because, judged: Sequence[_Judged], propensity: float
) -> GateResult:
    reason = _REASONS[because].format(against=against.name)
    listed = _candidates(judged, against, "the default", "costs more than {chosen}")
    return GateResult(against, None, "default", reason, because, listed, propensity)


def _result(
    chosen: _Judged,
    because: Because,
    reason: str,
    judged: Sequence[_Judged],
    propensity: float,
) -> GateResult:
    confidence = None if chosen.measure else chosen.belief.confidence
    passed_over = "costs more than {chosen}" if because == "proven" else "set aside this once for {chosen}"
    listed = _candidates(judged, chosen.option, reason, passed_over)
    return GateResult(chosen.option, confidence, "learner", reason, because, listed, propensity)


def _candidates(
    judged: Sequence[_Judged], chosen: Option, won: str, passed_over: str
) -> tuple[Candidate, ...]:
    """The record of each: why the chosen one won, why each other lost. `passed_over` is for those that might have
    served."""
    passed_over = passed_over.format(chosen=chosen.name)
    found = []
    for one in judged:
        steps, name = one.option.steps, one.option.name
        ours = one.option is chosen
        found.append(
            Candidate(
                steps[0],
                ours,
                won if ours else one.lost or passed_over,
                None if one.measure else one.belief.confidence,
                one.belief.samples,
                one.cost_usd,
                "" if len(steps) == 1 and steps[0] == name else name,
            )
        )
    return tuple(found)


def _short(confidence: float) -> str:
    """Cut, not rounded: 0.9497 must not read as the 0.95 it failed to reach."""
    return f"{math.floor(confidence * 1000) / 1000:g}" if math.isfinite(confidence) else str(confidence)
