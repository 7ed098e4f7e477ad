"""A checked policy document -> a policy that serves. Call it only for a document without errors."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from engine.core.decision import Step
from engine.core.policy import Action, Breaker, Failover, Learner, Pinning, Verdict
from engine.policy.catalog import Page, seconds
from engine.policy.declared import (
    read_budgets,
    read_lossy,
    read_rate_limits,
    read_recording,
    read_reuse,
    read_rollout,
)
from engine.policy.evaluate import CompiledPolicy, Rule, Worth
from engine.policy.expression import Ladder, Rung, compile_ladder
from engine.policy.limits import deadline
from engine.policy.phrases import Phrases
from engine.policy.plans import read_plans

_DEFAULT_REASON = "no rule matched"


def compile_policy(page: Page, phrases: Phrases) -> CompiledPolicy:
    rules = _rules(page, phrases)
    rungs = [_rung(rule) for rule in rules]
    limits = page.section("limits")
    return CompiledPolicy(
        name=page.data["metadata"]["name"],
        pinning=_pinning(page.section("pinning")),
        failover=_failover(page.section("failover")),
        plans=read_plans(page),
        escalating={
            name: phrases.at["plans", name, "escalate", "when"]
            for name, value in page.section("plans").items()
            if "when" in value.get("escalate", {})
        },
        learners={name: _learner(name, value) for name, value in page.section("learners").items()},
        rules=rules,
        default=_default(page.section("default")),
        variables=phrases.variables,
        ladder=compile_ladder(phrases.variables, rungs),
        exploring={
            name: phrases.at["learners", name, "explore", "when"]
            for name, value in page.section("learners").items()
            if "when" in value.get("explore", {})
        },
        outcomes=tuple(_worth(item, index, phrases) for index, item in page.items("outcomes")),
        outcome_ladder=compile_ladder(
            (),
            [
                Rung(item["name"], phrases.at["outcomes", index, "when"])
                for index, item in page.items("outcomes")
            ],
        ),
        fingerprint=hashlib.sha256(page.document.text.encode("utf-8", "surrogatepass")).hexdigest()[:12],
        deadline=deadline(seconds(limits.get("deadline", "0s")), phrases.variables, rungs),
        budgets=read_budgets(page),
        rate_limits=read_rate_limits(page),
        reuse=read_reuse(page),
        rollout=read_rollout(page),
        recording=read_recording(page),
        lossy=read_lossy(page),
        aborting=phrases.at.get(("rollout", "canary", "abort_when")),
        locking=phrases.at.get(("pinning", "lock_while")),
        insisting=_insisting(page, phrases, rules),
    )


def readable(name: str) -> str:
    """A rule's name as words: `long-context` reads `long context`."""
    return name.replace("-", " ")


def _rules(page: Page, phrases: Phrases) -> tuple[Rule, ...]:
    rules = [_rule(item, index, phrases) for index, item in page.items("rules")]
    return tuple(
        sorted(rules, key=lambda rule: rule.kind != "guard")
    )  # stable: guards first, each in its order


def _rule(item: Mapping[str, Any], index: int, phrases: Phrases) -> Rule:
    name = item["name"]
    kind: Literal["guard", "rule"] = "guard" if item.get("guard", False) else "rule"
    trace = (Step(kind, name, "matched"),)
    verdict = Verdict(name, kind, _action(item["then"]), readable(name), trace)
    return Rule(
        name, kind, phrases.at["rules", index, "when"], phrases.at.get(("rules", index, "reason")), verdict
    )


def _rung(rule: Rule) -> Rung:
    return Rung(rule.name, rule.when, "match" if rule.kind == "guard" else "skip")


def _insisting(page: Page, phrases: Phrases, rules: Sequence[Rule]) -> Ladder | None:
    """The rules that are asked before a decision is used again; none where none ever is."""
    if not page.section("reuse"):
        return None
    asked = [rule for rule in rules if rule.kind == "guard" or rule.verdict.action.escalate]
    return compile_ladder(phrases.variables, [_rung(rule) for rule in asked])


def _action(then: Mapping[str, Any]) -> Action:
    return Action(
        use=then.get("use", ""),
        choose=tuple(then.get("choose", ())),
        by=then.get("by", ""),
        effort=then.get("effort", ""),
        failover="failover" not in then,  # its only value is none
        learn="learn" not in then,  # its only value is never
        escalate=then.get("escalate", False),
    )


def _default(default: Mapping[str, Any]) -> Verdict:
    trace = (Step("default", "default", "matched"),)
    return Verdict("default", "default", _action(default), _DEFAULT_REASON, trace)


def _pinning(value: Mapping[str, Any]) -> Pinning:
    usual = Pinning()
    saving = value.get("switch_when_saving_usd")
    return Pinning(
        tuple(value.get("key", usual.key)),
        seconds(value["ttl"]) if "ttl" in value else usual.ttl_seconds,
        None if saving is None else float(saving),
        frozenset(value.get("move_when", usual.move_when)),
    )


def _failover(value: Mapping[str, Any]) -> Failover:
    usual = Failover()
    return Failover(
        frozenset(str(cause) for cause in value.get("retry_on", usual.retry_on)),
        {name: tuple(chain) for name, chain in value.get("chains", {}).items()},
        value.get("attempts", usual.attempts),
        seconds(value["deadline"]) if "deadline" in value else usual.deadline_seconds,
        _breaker(value.get("breaker", {})),
    )


def _breaker(value: Mapping[str, Any]) -> Breaker:
    usual = Breaker()
    return Breaker(
        value.get("failures", usual.failures),
        float(value.get("slow_calls", usual.slow_share)),
        seconds(value["slower_than"]) if "slower_than" in value else usual.slower_than_seconds,
        seconds(value["window"]) if "window" in value else usual.window_seconds,
        seconds(value["cooldown"]) if "cooldown" in value else usual.cooldown_seconds,
    )


def _learner(name: str, value: Mapping[str, Any]) -> Learner:
    confidence, explore = value.get("confidence", {}), value.get("explore", {})
    usual = Learner(name, value["algorithm"], ())
    return Learner(
        name,
        value["algorithm"],
        tuple(value["signature"]),
        threshold=float(confidence.get("threshold", usual.threshold)),
        against=confidence.get("against", usual.against),
        margin=float(confidence.get("margin", usual.margin)),
        min_samples=confidence.get("min_samples", usual.min_samples),
        explore_rate=float(explore.get("rate", usual.explore_rate)),
        explore_loss=float(explore.get("loss", usual.explore_loss)),
        inputs=tuple(value.get("inputs", usual.inputs)),
        text=value.get("text", usual.text),
        usd_per_quality=float(value.get("usd_per_quality", usual.usd_per_quality)),
        influence=float(value.get("influence", usual.influence)),
    )


def _worth(item: Mapping[str, Any], index: int, phrases: Phrases) -> Worth:
    expression = phrases.at.get(("outcomes", index, "reward"))
    return Worth(item["name"], float(item["reward"]) if expression is None else expression)
