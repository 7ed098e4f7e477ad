"""Dialect files hold to their schema, and rules are laid over one another as they say."""

import re
from typing import Any

import pytest

from engine.documents import check_shape, read, shipped_names, shipped_text
from engine.protocols import PROTOCOLS
from engine.protocols.dialects import (
    Ask,
    asking_fields,
    default_dialect,
    known_fields,
    plain,
    read_dialect,
    shipped_dialects,
)

FILES = shipped_names("schemas/dialects")


def dialect(**sections: Any) -> Any:
    return read_dialect({"dialect": "acme", "protocol": "openai-chat", **sections})


@pytest.mark.parametrize("name", FILES)
def test_a_dialects_file_holds_to_its_schema(name: str) -> None:
    document, problems = read(shipped_text(name), name)
    assert document is not None
    assert problems == ()
    assert check_shape(document, "schemas/dialect.v1.schema.json")[1] == ()
    assert document.data["dialect"] == name.rsplit("/", 1)[-1].removesuffix(".yaml")
    assert shipped_text(name).startswith("# yaml-language-server: $schema=../dialect.v1.schema.json\n")


def test_the_vendors_people_ask_for_are_there() -> None:
    wanted = "openai deepseek glm kimi qwen openrouter mistral groq xai vllm ollama lmstudio azure-openai"
    assert set(wanted.split()) <= shipped_dialects().keys()
    assert {one.protocol for one in shipped_dialects().values()} <= PROTOCOLS.keys()


def test_every_pattern_of_a_dialect_is_one() -> None:
    for one in shipped_dialects().values():
        for name in ("call_id", "tool_name"):
            assert isinstance(one.limits.get(name, re.compile("")), re.Pattern)
        for section in one.file.get("models", ()):
            one.rules(section["ids"][0].replace("*", "x"))


def test_a_protocol_has_one_default() -> None:
    defaults = [one.protocol for one in shipped_dialects().values() if one.file.get("default")]
    assert len(defaults) == len(set(defaults))
    assert (default_dialect("openai-chat"), default_dialect("gemini")) == ("openai", "")


def test_rules_for_some_models_are_laid_over_those_for_all() -> None:
    one = dialect(
        request={"takes": ["stop"], "refuses": {"a": "x", "b": "y"}, "stops": 4},
        models=[
            {"ids": ["small-*"], "request": {"refuses": {"b": None, "c": "z"}, "takes": ["seed"]}},
            {"ids": ["*-nano"], "request": {"stops": 1}},
        ],
    )
    assert one.rules("large").refuses == {"a": "x", "b": "y"}
    assert one.rules("small-1").refuses == {"a": "x", "c": "z"}
    assert one.rules("small-1").takes == {"seed"}
    assert (one.rules("small-1").stops, one.rules("small-nano").stops) == (4, 1)


def test_some_rules_hold_while_a_model_thinks() -> None:
    one = dialect(request={"refuses": {"a": "x"}}, while_thinking={"refuses": {"temperature": "fixed"}})
    assert one.rules("m").refuses == {"a": "x"}
    assert one.rules("m", thinks=True).refuses == {"a": "x", "temperature": "fixed"}


def test_how_to_ask_is_replaced_as_a_whole() -> None:
    ask = {"on": {"thinking": True}, "off": {"thinking": False}}
    one = dialect(reasoning={"ask": ask}, models=[{"ids": ["r*"], "reasoning": {"ask": {"effort": "depth"}}}])
    assert one.rules("m").ask == Ask(on={"thinking": True}, off={"thinking": False})
    assert one.rules("r1").ask == Ask(effort="depth")


def test_a_dialect_like_another_is_that_one_but_for_what_it_says() -> None:
    base = {
        "dialect": "a",
        "protocol": "openai-chat",
        "default": True,
        "path": "/a",
        "request": {"stops": 4, "takes": ["x"]},
    }
    like = read_dialect({"dialect": "b", "protocol": "openai-chat", "request": {"stops": 1}}, base)
    assert (like.name, like.path, like.file.get("default")) == ("b", "", None)
    assert like.rules("m").stops == 1
    assert like.rules("m").takes == {"x"}
    azure = shipped_dialects()["azure-openai-deployments"]
    assert azure.rules("gpt-5.2").renames == {"max_tokens": "max_completion_tokens"}
    assert azure.auth_header == "api-key"


@pytest.mark.parametrize(
    ("efforts", "wanted", "nearest"),
    [
        (("low", "medium", "high"), "xhigh", "high"),
        (("low", "medium", "high"), "minimal", "low"),
        (("high", "max"), "medium", "high"),
        (("high", "max"), "xhigh", "max"),
        (("low", "high"), "medium", "high"),
        (("low", "high"), "odd", "high"),
        (("default",), "high", "default"),
        ((), "high", ""),
    ],
)
def test_the_nearest_effort_is_rather_more_than_less(
    efforts: tuple[str, ...], wanted: str, nearest: str
) -> None:
    assert Ask(efforts=efforts).nearest(wanted) == nearest


def test_what_vendors_take_is_known_across_dialects() -> None:
    assert {"top_k", "safe_prompt", "seed"} <= known_fields("openai-chat")
    assert "a_field_of_tomorrow" not in known_fields("openai-chat")
    assert {"thinking", "reasoning", "enable_thinking", "chat_template_kwargs"} <= asking_fields(
        "openai-chat"
    )


def test_plain_changes_nothing() -> None:
    rules = plain("gemini").rules("m")
    assert (rules.takes, rules.refuses, rules.ask, rules.cache_control) == (frozenset(), {}, None, None)
