import asyncio
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.commands.explain import told_from
from engine.core.conversation import Loss
from engine.core.decision import AttemptRecord, Decision, Result
from engine.core.errors import Fault
from engine.core.reply import Usage
from engine.server.journal import Journal

Weave = Callable[..., Any]

ANTHROPIC = {
    "model": "large",
    "max_tokens": 10,
    "system": "S",
    "messages": [{"role": "user", "content": "Hi [b]"}],
}
OPENAI = {
    "model": "large",
    "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Hi"}],
}


@pytest.fixture(autouse=True)
def use(policies: Path) -> None:
    """These tests run in a folder with `./policies`."""


def write(folder: Path, body: object) -> Path:
    path = folder / "request.json"
    path.write_text(body if isinstance(body, str) else json.dumps(body))
    return path


# -- a request


@pytest.mark.parametrize("body", [ANTHROPIC, OPENAI], ids=["anthropic", "openai"])
def test_a_request_is_explained_as_a_tree(weave: Weave, tmp_path: Path, body: dict[str, Any]) -> None:
    ran = weave("explain", write(tmp_path, body))
    assert ran.code == 0
    assert ran.out.startswith("large  by default\n")
    assert "guard private" in ran.out
    assert "has(hints.private) = false" in ran.out
    assert "features.tool_count > 0 = false" in ran.out


@pytest.mark.parametrize(("body", "protocol"), [(ANTHROPIC, "anthropic-messages"), (OPENAI, "openai-chat")])
def test_the_protocol_is_told_from_the_body(
    weave: Weave, tmp_path: Path, body: dict[str, Any], protocol: str
) -> None:
    assert json.loads(weave("explain", write(tmp_path, body), "--json").out)["protocol"] == protocol


@pytest.mark.parametrize(
    ("body", "protocol"),
    [
        ({"messages": [{"role": "user"}], "max_tokens": 1}, "anthropic-messages"),
        ({"messages": [{"role": "user"}]}, "openai-chat"),
        ({"messages": [{"role": "developer"}], "max_tokens": 1}, "openai-chat"),
        ({"messages": [{"role": "tool"}], "max_tokens": 1}, "openai-chat"),
        ({"messages": [], "max_completion_tokens": 1, "max_tokens": 1}, "openai-chat"),
        ({"messages": "no list", "stream_options": {}}, "openai-chat"),
        ({"system": "x", "messages": None}, "anthropic-messages"),
        ({"model": "large", "input": "Hi"}, "openai-responses"),
        ({"contents": []}, "gemini"),
    ],
)
def test_what_gives_a_protocol_away(body: dict[str, Any], protocol: str) -> None:
    assert told_from(body) == protocol


def test_the_protocol_can_be_said(weave: Weave, tmp_path: Path) -> None:
    body = {"model": "large", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}
    told = json.loads(weave("explain", write(tmp_path, body), "--protocol", "openai-chat", "--json").out)
    assert told["protocol"] == "openai-chat"


def test_a_protocol_nobody_speaks_is_a_sentence(weave: Weave, tmp_path: Path) -> None:
    ran = weave("explain", write(tmp_path, ANTHROPIC), "--protocol", "anthropic-mesages")
    assert ran.code == 2
    assert "there is no protocol 'anthropic-mesages'; did you mean 'anthropic-messages'?" in ran.err


def test_every_protocol_can_be_explained(weave: Weave, tmp_path: Path) -> None:
    gemini = write(tmp_path, {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]})
    told = json.loads(weave("explain", gemini, "--model", "large", "--json").out)
    assert (told["protocol"], told["model"]) == ("gemini", "large")
    assert weave("explain", gemini).code == 2, "its bodies do not name the model"
    responses = write(tmp_path, {"model": "large", "input": "Hi"})
    assert json.loads(weave("explain", responses, "--json").out)["protocol"] == "openai-responses"


def test_a_request_may_come_from_standard_input(weave: Weave, monkeypatch: pytest.MonkeyPatch) -> None:
    class Standard:
        buffer = io.BytesIO(json.dumps(ANTHROPIC).encode())

    monkeypatch.setattr(sys, "stdin", Standard())
    assert weave("explain", "-").out.startswith("large  by default")


def test_headers_count_as_the_client_would_send_them(weave: Weave, tmp_path: Path) -> None:
    file = write(tmp_path, ANTHROPIC)
    ran = weave("explain", file, "--header", "X-Weave-Private=yes", "--header", "x-weave-task=plan", "--json")
    told = json.loads(ran.out)
    assert (told["model"], told["rule"], told["source"]) == ("little", "private", "guard")
    assert told["hints"] == {"private": True, "task": "plan"}


def test_every_rule_is_explained_not_only_the_one_that_matched(weave: Weave, tmp_path: Path) -> None:
    told = json.loads(
        weave("explain", write(tmp_path, ANTHROPIC), "--header=x-weave-private=1", "--json").out
    )
    assert [(step["name"], step["result"]) for step in told["trace"]] == [
        ("private", "matched"),
        ("chores", "passed"),
        ("working", "passed"),
    ]
    assert told["trace"][1]["values"]["features.phase"] == "chat"


def test_what_is_cheaper_than_asked_for_needs_the_learners_word(weave: Weave, tmp_path: Path) -> None:
    body = {**ANTHROPIC, "tools": [{"name": "t", "input_schema": {"type": "object"}}]}
    ran = weave("explain", write(tmp_path, body))
    assert "large  by default working" in ran.out
    assert "from 0 samples" in ran.out
    assert "0 of 3 samples" in ran.out


# -- a decision made before


def recorded(path: Path, **changes: Any) -> None:
    fields: dict[str, Any] = {
        "id": "d00c0ffee", "at": 1000.0, "policy": "house", "snapshot": "gone", "targets": ("little", "middle"),
        "rule": "chores", "source": "rule", "reason": "chores", "requested_model": "large",
        "protocol": "openai-chat", "features": {"phase": "title"},
    }  # fmt: skip

    async def write() -> None:
        journal = await Journal.open(path)
        journal.record(Decision(**{**fields, **changes}))
        fault = Fault("overloaded", "busy", origin="engine")
        journal.record(AttemptRecord("d00c0ffee", 1, "little", "home", "little-1", 1000.1, 0.1, fault))
        journal.record(AttemptRecord("d00c0ffee", 2, "middle", "home", "middle-1", 1001.0, 0.9))
        journal.record(
            Result(
                "d00c0ffee",
                1001.0,
                200,
                "middle",
                "home",
                2,
                "end_turn",
                Usage(70, 30),
                0.01,
                1.0,
                0.5,
                dropped=(
                    Loss("tools[2].strict", "no way to say it"),
                    Loss("max_tokens", "lowered", "converted"),
                ),
            )
        )
        await journal.close()

    asyncio.run(write())


def test_a_decision_is_looked_up_in_the_journal(weave: Weave, tmp_path: Path) -> None:
    recorded(tmp_path / "weave.db")
    ran = weave("explain", "d00c0ffee")
    assert ran.code == 0
    assert ran.out.startswith("little  by rule chores")
    assert "attempt 1: little at home failed: overloaded, busy" in ran.out
    assert "attempt 2: middle at home served" in ran.out
    assert "70 tokens in, 30 out" in ran.out
    assert "dropped tools[2].strict  no way to say it" in ran.out
    assert "converted max_tokens  lowered" in ran.out


def test_a_decision_is_told_as_json(weave: Weave, tmp_path: Path) -> None:
    recorded(tmp_path / "other.db")
    told = json.loads(weave("explain", "d00c0ffee", "--journal", tmp_path / "other.db", "--json").out)
    assert told["result"]["model"] == "middle"
    assert [attempt["number"] for attempt in told["tried"]] == [1, 2]


def test_an_old_decision_is_told_whatever_became_of_the_policies(
    weave: Weave, tmp_path: Path, policies: Path
) -> None:
    recorded(tmp_path / "weave.db")
    (policies / "house.yaml").write_text("kind: nonsense")
    assert weave("explain", "d00c0ffee", "--why-not", "middle").code == 0


def test_why_not_of_an_old_decision_asks_its_rules_while_they_are_still_those(
    weave: Weave, tmp_path: Path, policies: Path
) -> None:
    told = json.loads(weave("explain", write(tmp_path, ANTHROPIC), "--json").out)
    recorded(
        tmp_path / "weave.db", snapshot=told["snapshot"], features=told["features"], targets=("large",),
        rule="default", source="default", reason="no rule matched",
    )  # fmt: skip
    asked = ("explain", "d00c0ffee", "--why-not", "middle", "--json")
    assert [way["rule"] for way in json.loads(weave(*asked).out)["why_not"]["ways"]] == ["working"]
    (policies / "house.yaml").write_text((policies / "house.yaml").read_text() + "# touched\n")
    assert json.loads(weave(*asked).out)["why_not"]["ways"] == []


# -- mistakes are told in a sentence


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("{", "the body is not valid JSON"),
        ("[]", "an object is expected"),
        ("", "the request has no body"),
        (
            '{"model": "gpt-99", "messages": [{"role": "user", "content": "x"}]}',
            "model 'gpt-99' is not known",
        ),
        ('{"model": "large", "messages": "x"}', "messages: expected a list"),
        ('{"model": "large"}', "messages"),
        ('{"messages": []}', "model"),
    ],
)
def test_a_request_that_makes_no_sense(weave: Weave, tmp_path: Path, body: str, said: str) -> None:
    ran = weave("explain", write(tmp_path, body))
    assert ran.code == 2
    assert ran.err.startswith("weave-engine: ")
    assert said in ran.err
    assert ran.out == ""


def test_bytes_that_are_no_text(weave: Weave, tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(bytes(range(256)))
    ran = weave("explain", tmp_path / "noise")
    assert (ran.code, ran.err[:42]) == (2, "weave-engine: the body is not valid JSON: ")


def test_a_folder_is_no_request(weave: Weave, policies: Path) -> None:
    ran = weave("explain", policies)
    assert ran.code == 2
    assert "is a folder; name a file with a request's body in it" in ran.err


@pytest.mark.parametrize("name", ["nothing", "n" * 5_000, "no\0thing"])
def test_what_is_neither_a_file_nor_a_decision(weave: Weave, tmp_path: Path, name: str) -> None:
    ran = weave("explain", name)
    assert ran.code == 2
    assert "is no file, and there is no journal weave.db to look it up in; name one with --journal" in ran.err
    assert len(ran.err) < 300
    recorded(tmp_path / "weave.db")
    assert "is neither a file nor a decision in weave.db" in weave("explain", name).err


def test_a_journal_that_is_none(weave: Weave, tmp_path: Path) -> None:
    (tmp_path / "weave.db").write_text(
        "not a database, but quite long enough to look like a file of one " * 9
    )
    ran = weave("explain", "d00c0ffee")
    assert ran.code == 2
    assert "the journal weave.db cannot be used" in ran.err


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("nonsense", "--header takes NAME=VALUE, not 'nonsense'"),
        ("x-weave-model=huge", "x-weave-model asks for 'huge'"),
        ("x-weave-max-cost=much", "x-weave-max-cost"),
    ],
)
def test_a_header_that_makes_no_sense(weave: Weave, tmp_path: Path, header: str, said: str) -> None:
    ran = weave("explain", write(tmp_path, ANTHROPIC), "--header", header)
    assert ran.code == 2
    assert said in ran.err


def test_policies_that_do_not_hold_are_told_with_their_places(
    weave: Weave, tmp_path: Path, policies: Path
) -> None:
    text = (policies / "house.yaml").read_text()
    (policies / "house.yaml").write_text(text.replace("features.phase ==", "features.phse =="))
    ran = weave("explain", write(tmp_path, ANTHROPIC))
    assert ran.code == 3
    assert "policies/house.yaml:11:11  WV201 error" in ran.err


def test_policies_that_are_not_there(weave: Weave, tmp_path: Path) -> None:
    ran = weave("explain", write(tmp_path, ANTHROPIC), "--policies", tmp_path / "none")
    assert ran.code == 3
    assert "no policy files here, put *.yaml files here" in ran.err.replace(";", ",")


# -- why not


def test_why_a_model_did_not_serve_is_told_with_the_rules_that_lead_to_it(
    weave: Weave, tmp_path: Path
) -> None:
    ran = weave("explain", write(tmp_path, ANTHROPIC), "--why-not", "little")
    assert ran.code == 0
    assert ran.out.startswith("no rule matched, and the default means large")
    assert "· chores says small" in ran.out
    assert "features.phase == 'title': does not hold" in ran.out


def test_why_not_as_json_comes_with_the_decision(weave: Weave, tmp_path: Path) -> None:
    told = json.loads(weave("explain", write(tmp_path, ANTHROPIC), "--why-not", "little", "--json").out)
    assert told["model"] == "large"
    assert told["why_not"]["because"] == "default"
    assert [way["rule"] for way in told["why_not"]["ways"]] == ["private", "chores", "working"]


def test_why_not_a_model_that_nobody_has(weave: Weave, tmp_path: Path) -> None:
    ran = weave("explain", write(tmp_path, ANTHROPIC), "--why-not", "litle")
    assert ran.code == 2
    assert "there is no model 'litle' in the catalog; did you mean 'little'?" in ran.err
