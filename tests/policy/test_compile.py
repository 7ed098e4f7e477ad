from engine.core.policy import Action, Failover, Learner, Pinning
from engine.documents import check_shape, read
from engine.policy.catalog import Page
from engine.policy.compile import compile_policy, readable
from engine.policy.evaluate import CompiledPolicy
from engine.policy.phrases import read_phrases


def compiled(body: str) -> CompiledPolicy:
    document, problems = read("apiVersion: weave/v1\nkind: Policy\nmetadata: {name: p}\n" + body, "p.yaml")
    assert document is not None, problems
    data, shape = check_shape(document, "schemas/policy.v1.schema.json")
    page = Page(document, data)
    phrases = read_phrases(page)
    assert not shape
    assert not phrases.problems
    return compile_policy(page, phrases)


def test_a_name_reads_as_words() -> None:
    assert readable("confidential-stays-local") == "confidential stays local"


def test_what_a_policy_leaves_out_has_its_usual_value() -> None:
    policy = compiled("default: {use: frontier}\n")
    assert policy.pinning == Pinning()
    assert policy.failover == Failover()
    assert policy.default.action == Action(use="frontier")
    assert policy.rules == ()


def test_what_a_policy_says_is_taken_over() -> None:
    policy = compiled(
        """\
rules:
  - {name: r, when: true, then: {use: mid, effort: high, learn: never, escalate: true}}
  - {name: g, guard: true, when: true, then: {use: requested, failover: none}}
  - {name: c, when: true, then: {choose: [small, mid], by: l}}
learners:
  l:
    algorithm: beta
    signature: [features.phase, identity.team]
    confidence: {threshold: 0.9, against: mid, margin: 0, min_samples: 7}
    explore: {rate: 0.5}
default: {use: small}
pinning: {key: [hints.agent], ttl: 1h}
failover: {retry_on: [429, 5xx], chains: {small: [mid]}, attempts: 1, deadline: 2s}
"""
    )
    assert [(rule.name, rule.kind, rule.verdict.action) for rule in policy.rules] == [
        ("g", "guard", Action(use="requested", failover=False)),
        ("r", "rule", Action(use="mid", effort="high", learn=False, escalate=True)),
        ("c", "rule", Action(choose=("small", "mid"), by="l")),
    ]
    assert policy.learners == {
        "l": Learner("l", "beta", ("features.phase", "identity.team"), 0.9, "mid", 0.0, 7, 0.5)
    }
    assert policy.pinning == Pinning(("hints.agent",), 3600.0)
    assert policy.failover == Failover(frozenset({"429", "5xx"}), {"small": ("mid",)}, 1, 2.0)


def test_what_moves_a_session_is_taken_over() -> None:
    policy = compiled(
        """\
default: {use: small}
pinning: {lock_while: features.tool_loop_open, switch_when_saving_usd: 1, move_when: [endpoint_down, guard]}
"""
    )
    assert policy.pinning == Pinning(
        switch_when_saving_usd=1.0, move_when=frozenset({"endpoint_down", "guard"})
    )
    assert policy.locking is not None
