"""A policy at work: what its rules say about one request.

`judge` runs on every request. Guards and rules are one generated function; a rule that simply does not match
costs a comparison and leaves nothing behind, and what a rule without a `reason` answers is made once, when the
policy is compiled. `explain` asks every rule and keeps everything; it is for people, and slow.

An error in a guard's condition counts as a match: what was meant to hold something back does so when in doubt.
An error in any other rule counts as no match and is kept in the trace. Where a policy declares a deadline and it
passes, the next guard that was not asked yet counts as a match for the same reason; without one the default decides.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from engine.core.conversation import AS_USUAL, Lossy
from engine.core.decision import Step
from engine.core.policy import (
    Budget,
    Clock,
    Failover,
    Inputs,
    Learner,
    Pinning,
    Plan,
    RateLimit,
    Recording,
    Reuse,
    Rollout,
    Verdict,
)
from engine.policy.expression import EvaluationError, Expression, Ladder, Match, with_variables
from engine.policy.limits import Deadline

Variables = tuple[tuple[str, Expression], ...]

NO_ROLLOUT = Rollout()
AS_SHIPPED = Recording()


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule ready to run. `verdict` is what it answers where nothing has to be worked out."""

    name: str
    kind: Literal["guard", "rule"]
    when: Expression
    reason: Expression | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Worth:
    """What one kind of outcome is worth: a number, or an expression that gives one."""

    name: str
    reward: float | Expression


@dataclass(frozen=True, slots=True, eq=False)
class CompiledPolicy:
    """Satisfies `engine.core.policy.Policy`. `rules` are guards first; `ladder` tests them in that order."""

    name: str
    pinning: Pinning
    failover: Failover
    plans: Mapping[str, Plan]
    escalating: Mapping[str, Expression]  # plan -> the condition for its next step
    learners: Mapping[str, Learner]
    rules: tuple[Rule, ...]
    default: Verdict
    variables: Variables
    ladder: Ladder = field(repr=False)
    exploring: Mapping[str, Expression]  # learner -> its condition for trying something
    outcomes: tuple[Worth, ...]
    outcome_ladder: Ladder = field(repr=False)
    fingerprint: str = ""
    deadline: Deadline | None = None
    budgets: tuple[Budget, ...] = ()
    rate_limits: tuple[RateLimit, ...] = ()
    reuse: Reuse | None = None
    recording: Recording = AS_SHIPPED
    rollout: Rollout = NO_ROLLOUT
    lossy: Lossy = AS_USUAL
    aborting: Expression | None = None  # the condition that ends the canary
    locking: Expression | None = None  # the condition that holds sessions where they are
    insisting: Ladder | None = field(default=None, repr=False)  # guards and rules that escalate

    def judge(self, inputs: Inputs, clock: Clock | None = None) -> Verdict:
        if self.deadline is not None and clock is not None:
            return self._judge_in_time(inputs, self.deadline, clock)
        match = self.ladder(inputs)
        rule = None if match.index is None else self.rules[match.index]
        if not match.errors and (rule is None or rule.reason is None):
            return self.default if rule is None else rule.verdict
        return self._worked_out(match, rule, inputs)

    def _judge_in_time(self, inputs: Inputs, deadline: Deadline, clock: Clock) -> Verdict:
        end = clock() + deadline.seconds
        errors: tuple[tuple[int, str], ...] = ()
        for block in deadline.blocks:
            if clock() > end:
                return self._too_late(block.first, errors, deadline.seconds)
            match = block.ladder(inputs)
            errors += tuple((block.first + index, why) for index, why in match.errors)
            if match.index is not None:
                number = block.first + match.index
                return self._worked_out(Match(number, errors), self.rules[number], inputs)
        return self._worked_out(Match(None, errors), None, inputs)

    def _too_late(self, index: int, errors: tuple[tuple[int, str], ...], seconds: float) -> Verdict:
        """What is answered where the deadline passed before the rule of this number was asked."""
        rule = self.rules[index]
        late = f"the deadline of {seconds * 1000:g} ms passed"
        steps = [_errored(self.rules[failed], why) for failed, why in errors]
        if rule.kind == "guard":
            steps.append(_errored(rule, late))
            verdict, reason = rule.verdict, rule.verdict.reason
        else:
            rest = len(self.rules) - index - 1
            and_others = f", as were the {rest} after it" if rest else ""
            steps.append(Step(rule.kind, rule.name, "skipped", f"{late} before it was asked{and_others}"))
            verdict, reason = self.default, late
        return Verdict(verdict.rule, verdict.source, verdict.action, reason, (*steps, *verdict.trace))

    def _worked_out(self, match: Match, rule: Rule | None, inputs: Inputs) -> Verdict:
        """The verdict of a match that has more to tell than was known when the policy was compiled."""
        verdict = self.default if rule is None else rule.verdict
        steps = [_errored(self.rules[index], why) for index, why in match.errors]
        reason, problem = self._reason(rule, inputs)
        trace = (*steps, *verdict.trace, *problem)
        return Verdict(verdict.rule, verdict.source, verdict.action, reason, trace)

    def explain(self, inputs: Inputs) -> Verdict:
        roots = with_variables(self.variables, inputs)
        decisive: Rule | None = None
        steps: list[Step] = []
        for rule in self.rules:
            step = _asked(rule, roots, decisive)
            holds = step.result == "matched" or (step.result == "error" and rule.kind == "guard")
            if holds and decisive is None:
                decisive = rule
            steps.append(step)
        reason, problem = self._reason(decisive, inputs)
        verdict = self.default if decisive is None else decisive.verdict
        last = self.default.trace if decisive is None else ()
        return Verdict(verdict.rule, verdict.source, verdict.action, reason, (*steps, *last, *problem))

    def asked(self, inputs: Inputs) -> Mapping[str, bool | None]:
        """What each rule's condition comes to by itself, whichever rule decides; None where it has no value."""
        roots = with_variables(self.variables, inputs)
        return {rule.name: _holds(rule.when, roots) for rule in self.rules}

    def escalates(self, plan: str, inputs: Inputs) -> bool:
        """Where a plan says nothing, a failed test run does."""
        condition = self.escalating.get(plan)
        if condition is None:
            known = self.plans.get(plan)
            if known is not None and known.right_below is not None:
                return False
            return bool(inputs["features"]["session_test_failures"])
        try:
            return condition.evaluate(with_variables(self.variables, inputs)) is True
        except EvaluationError:
            return True

    def said(self, rule: str) -> Verdict | None:
        if rule == self.default.rule:
            return self.default
        return next((each.verdict for each in self.rules if each.name == rule), None)

    def insists(self, inputs: Inputs) -> bool:
        """An error counts as holding."""
        if self.insisting is None:
            return False
        match = self.insisting(inputs)
        return match.index is not None or bool(match.errors)

    def locked(self, inputs: Inputs) -> bool:
        if self.locking is None:
            return False
        try:
            return self.locking.evaluate(with_variables(self.variables, inputs)) is True
        except EvaluationError:
            return True

    def may_explore(self, learner: str, inputs: Inputs) -> bool:
        condition = self.exploring.get(learner)
        if condition is None:
            return learner in self.learners
        try:
            return condition.evaluate(with_variables(self.variables, inputs)) is True
        except EvaluationError:
            return False

    def reward(self, outcome: Mapping[str, Any]) -> tuple[str, float] | None:
        roots = {"outcome": outcome}
        match = self.outcome_ladder(roots)
        if match.index is None:
            return None
        worth = self.outcomes[match.index]
        value = _number(worth.reward, roots)
        return None if value is None else (worth.name, max(-1.0, min(1.0, value)))

    def abort_reason(self, stats: Mapping[str, Any]) -> str:
        """An error counts as a reason: a canary nobody can judge must not go on."""
        canary = self.rollout.canary
        if self.aborting is None or canary is None:
            return ""
        try:
            return canary.abort_when if self.aborting.evaluate({"stats": stats}) is True else ""
        except EvaluationError as error:
            return f"{canary.abort_when} has no value: {error.fault.message}"

    def _reason(self, rule: Rule | None, inputs: Inputs) -> tuple[str, tuple[Step, ...]]:
        """The rule's reason; where it has no value, the rule's name in words, and a step that says why."""
        if rule is None:
            return self.default.reason, ()
        if rule.reason is None:
            return rule.verdict.reason, ()
        try:
            return str(rule.reason.evaluate(with_variables(self.variables, inputs))), ()
        except EvaluationError as error:
            why = f"its reason has no value: {error.fault.message}"
            return rule.verdict.reason, (Step(rule.kind, rule.name, "error", why),)


def _errored(rule: Rule, why: str) -> Step:
    held = ", which counts as a match" if rule.kind == "guard" else ""
    return Step(rule.kind, rule.name, "error", f"{why}{held}")


def _asked(rule: Rule, roots: Mapping[str, Any], decisive: Rule | None) -> Step:
    values = rule.when.explain(roots)
    try:
        holds = rule.when.evaluate(roots) is True
    except EvaluationError as error:
        step = _errored(rule, error.fault.message)
        return Step(step.kind, step.name, step.result, step.detail, values)
    if not holds:
        return Step(rule.kind, rule.name, "passed", "", values)
    if decisive is not None:
        return Step(rule.kind, rule.name, "skipped", f"{decisive.name} matched before it", values)
    return Step(rule.kind, rule.name, "matched", "", values)


def _holds(condition: Expression, roots: Mapping[str, Any]) -> bool | None:
    try:
        return condition.evaluate(roots) is True
    except EvaluationError:
        return None


def _number(reward: float | Expression, roots: Mapping[str, Any]) -> float | None:
    if not isinstance(reward, Expression):
        return reward
    try:
        value = float(reward.evaluate(roots))
    except EvaluationError:
        return None
    return value if math.isfinite(value) else None
