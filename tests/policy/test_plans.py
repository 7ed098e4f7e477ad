"""Plans: read from a policy, and when their next step takes over. What can be wrong with them is among the cases
of `tests/cases/policy/problems.yaml`."""

import pytest

from engine.core.policy import Inputs, Plan
from engine.snapshot import Snapshot, build

CATALOG = """\
apiVersion: weave/v1
kind: Catalog
metadata: {name: default}
endpoints: {here: {protocol: openai-chat, base_url: "http://127.0.0.1:8000/v1"}}
models:
  big: {tier: frontier, context: 200000, output: 64000, can: [tools], usd: {in: 5, out: 25}, served_by: [{endpoint: here, id: big}]}
  tiny: {tier: small, context: 32000, output: 8000, can: [tools], usd: {in: 0, out: 0}, served_by: [{endpoint: here, id: tiny}]}
"""  # noqa: E501 - one model, one line
POLICY = """\
apiVersion: weave/v1
kind: Policy
metadata: {name: p}
variables: [{name: many, expr: features.session_test_failures >= 2}]
plans:
  patient: {steps: [small, big], escalate: {when: "variables.many && 10 / features.turn > 0"}}
  plain: {steps: [tiny, frontier]}
rules:
  - {name: hard, when: features.turn > 3, then: {use: patient}}
default: {use: plain}
"""


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    return build({"catalog.yaml": CATALOG, "policy.yaml": POLICY})


def inputs(failures: int, turn: int = 1) -> Inputs:
    return {"features": {"session_test_failures": failures, "turn": turn}, "hints": {}, "identity": {}}


def test_plans_keep_their_steps_in_order(snapshot: Snapshot) -> None:
    assert snapshot.policy.plans == {
        "patient": Plan("patient", ("small", "big")),
        "plain": Plan("plain", ("tiny", "frontier")),
    }


def test_a_plan_escalates_where_its_condition_holds(snapshot: Snapshot) -> None:
    assert not snapshot.policy.escalates("patient", inputs(1))
    assert snapshot.policy.escalates("patient", inputs(2))


def test_a_plan_without_a_condition_escalates_after_a_failed_test_run(snapshot: Snapshot) -> None:
    assert not snapshot.policy.escalates("plain", inputs(0))
    assert snapshot.policy.escalates("plain", inputs(1))


def test_a_condition_without_a_value_escalates(snapshot: Snapshot) -> None:
    """In doubt the more capable model works."""
    assert snapshot.policy.escalates("patient", inputs(2, turn=0))
