"""Budgets, reuse and rollout as documents say them."""

import pytest

from engine.core.conversation import Lossy
from engine.core.policy import Budget, Canary, Policy, Recording, Reuse, Rollout, Shadow
from engine.documents import shipped_text
from engine.policy.catalog import seconds
from engine.snapshot import check

CATALOG = shipped_text("policies/catalog.yaml")
HEAD = "apiVersion: weave/v1\nkind: Policy\ndefault: {use: frontier}\n"


def policy(body: str) -> Policy:
    files = {
        "catalog.yaml": CATALOG,
        "p.yaml": f"{HEAD}metadata: {{name: p}}\n{body}",
        "q.yaml": f"{HEAD}metadata: {{name: q}}\n",
    }
    snapshot, problems = check(files, "p")
    assert snapshot is not None, problems
    return snapshot.policy


@pytest.mark.parametrize(
    ("text", "length"), [("500ms", 0.5), ("90s", 90), ("1.5m", 90), ("2h", 7200), ("7d", 604800), ("0s", 0)]
)
def test_lengths_of_time_are_seconds(text: str, length: float) -> None:
    assert seconds(text) == length


def test_a_policy_that_declares_nothing_has_nothing() -> None:
    plain = policy("")
    assert (plain.budgets, plain.reuse, plain.rollout) == ((), None, Rollout())
    assert plain.abort_reason({}) == ""


def test_budgets_and_reuse_are_carried() -> None:
    declared = policy(
        """\
budgets:
  - {name: team-day, per: identity.team, usd: 50, window: 24h, over: {use: small}}
  - {name: hard-stop, per: identity.team, usd: 80, window: 24h, over: {reject: 429}}
reuse: {for: 60s, key: [features.phase, features.language]}
"""
    )
    assert declared.budgets == (
        Budget("team-day", "identity.team", 50.0, 86400.0, use="small"),
        Budget("hard-stop", "identity.team", 80.0, 86400.0, reject=429),
    )
    assert declared.reuse == Reuse(60.0, ("features.phase", "features.language"))


def test_what_is_recorded_and_for_how_long_is_carried() -> None:
    assert policy("").recording == Recording("off", 90 * 86_400.0, 7 * 86_400.0)
    declared = policy("record: full\nretention: {contents: 2h}\n").recording
    assert declared == Recording("full", 90 * 86_400.0, 7_200.0)


def test_a_rollout_is_carried_with_its_usual_values() -> None:
    assert policy("rollout: {shadow: {policy: q}}\n").rollout == Rollout(shadow=Shadow("q", 1.0))
    canary = policy("rollout: {canary: {policy: q, percent: 5}}\n").rollout.canary
    assert canary == Canary("q", 5.0, "session", "", 20)


@pytest.mark.parametrize(
    ("body", "lossy"),
    [
        ("", Lossy("refuse", "report", "report")),
        ("lossy: report", Lossy("report", "report", "report")),
        ("lossy: refuse", Lossy("refuse", "refuse", "refuse")),
        ("lossy: {tuning: refuse}", Lossy("refuse", "report", "refuse")),
        ("lossy: {content: report, offer: refuse}", Lossy("report", "refuse", "report")),
    ],
)
def test_a_policy_says_what_may_be_lost(body: str, lossy: Lossy) -> None:
    assert policy(body).lossy == lossy


@pytest.mark.parametrize("body", ["lossy: maybe", "lossy: {contents: report}", "lossy: {}", "lossy: 3"])
def test_what_may_be_lost_is_said_in_words_there_are(body: str) -> None:
    files = {"catalog.yaml": CATALOG, "p.yaml": f"{HEAD}metadata: {{name: p}}\n{body}"}
    snapshot, problems = check(files, "p")
    assert snapshot is None
    assert "the kinds are content, offer and tuning" in str(problems[0])


STATS = {
    "requests": 20,
    "errors": 2,
    "error_rate": 0.1,
    "mean_cost_usd": 0.02,
    "mean_seconds": 1.0,
    "baseline_requests": 300,
    "baseline_errors": 3,
    "baseline_error_rate": 0.01,
    "baseline_mean_cost_usd": 0.01,
    "baseline_mean_seconds": 1.0,
}


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("stats.error_rate > 0.05", "stats.error_rate > 0.05"),
        ("stats.error_rate > 0.5", ""),
        (
            "stats.mean_cost_usd > 1.5 * stats.baseline_mean_cost_usd",
            "stats.mean_cost_usd > 1.5 * stats.baseline_mean_cost_usd",
        ),
        (
            "10 / (stats.errors - 2) > 1",
            "10 / (stats.errors - 2) > 1 has no value: division by zero",
        ),
    ],
)
def test_a_canary_ends_where_its_condition_holds_or_has_no_value(condition: str, reason: str) -> None:
    said = policy(f"rollout: {{canary: {{policy: q, percent: 5, abort_when: {condition!r}}}}}\n")
    assert said.abort_reason(STATS) == reason


def test_a_fingerprint_tells_texts_of_a_policy_apart() -> None:
    assert policy("").fingerprint == policy("").fingerprint
    assert policy("").fingerprint != policy("# another\n").fingerprint
