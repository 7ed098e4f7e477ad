from engine import wire
from engine.core.decision import AttemptRecord, Candidate, Decision, Result, Step
from engine.core.errors import Fault
from engine.core.reply import Usage
from engine.server.telling import as_json

DECISION = Decision(
    "d1", 1.0, "p", "s", ("opus", "gpt"), "rule", "rule", "because", "opus", "openai-chat",
    candidates=(Candidate("opus", True, "chosen"),), trace=(Step("rule", "rule", "matched", values={"a > 1": True}),),
)  # fmt: skip


def test_a_decision_is_told_with_its_result_and_attempts_in_plain_json() -> None:
    fault = Fault("overloaded", "busy")
    attempt = AttemptRecord("d1", 1, "opus", "one", "id", 1.0, 0.1, fault)
    result = Result("d1", 2.0, 200, "gpt", "two", 2, "end_turn", Usage(10, 5), 0.1, 1.0, 0.5)
    told = wire.loads(wire.dumps(as_json(DECISION, result, [attempt])))
    assert told["model"] == "opus"
    assert told["targets"] == ["opus", "gpt"]
    assert told["candidates"][0]["why"] == "chosen"
    assert told["trace"][0]["values"] == {"a > 1": True}
    assert told["result"]["usage"]["input_tokens"] == 10
    assert told["tried"][0]["fault"]["kind"] == "overloaded"


def test_what_has_not_happened_yet_is_told_as_nothing() -> None:
    told = as_json(DECISION, None, ())
    assert told["result"] is None
    assert told["tried"] == []
