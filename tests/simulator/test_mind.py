import json
from dataclasses import replace
from typing import Any

import pytest

from engine.simulator.mind import MOST_EDITS, Thought, sample, spent, think
from engine.simulator.models import MODELS
from engine.simulator.prompt import Call, Offered, Prompt, Returned, Say, Think
from engine.simulator.script import Script, parse


def prompt(task: str = "hello", **fields: Any) -> Prompt:
    blank = Prompt(
        model=MODELS[0],
        system="",
        task=task,
        newest=task,
        called=(),
        returned=(),
        pictures=(),
        tools=(),
        segments=(),
        digest="d",
    )
    return replace(blank, **fields)


def answer(asked: Prompt) -> Thought:
    return think(asked, parse(asked.newest, "anthropic", "claude-opus-4-5"), seed=0)


def text(thought: Thought) -> str:
    return "".join(block.text for block in thought.blocks if isinstance(block, Say))


def calls(thought: Thought) -> list[tuple[str, Any]]:
    return [(block.name, json.loads(block.arguments)) for block in thought.blocks if isinstance(block, Call)]


CITY = Offered("get_weather", {"type": "object", "properties": {"city": {"type": "string"}}})
CODING = tuple(
    Offered(name, {"type": "object", "properties": {key: {"type": "string"} for key in keys}})
    for name, keys in (
        ("Grep", ["pattern"]),
        ("Read", ["file_path"]),
        ("Edit", ["file_path", "old_string", "new_string"]),
        ("Bash", ["command"]),
    )
)


def test_the_same_prompt_gets_the_same_answer() -> None:
    asked = prompt("[[sim: words=40]]", thinking=True)
    assert answer(asked) == answer(asked)
    assert answer(asked) != answer(replace(asked, digest="other"))


def test_without_a_script_or_tools_the_model_says_what_it_heard() -> None:
    assert text(answer(prompt("good morning"))) == "You said: good morning"
    assert answer(prompt("good morning")).stop == "end"


def test_a_script_says_what_comes_and_in_which_order() -> None:
    asked = prompt('[[sim: thinking=hm]] [[sim: text=so]] [[sim: tool=a {"b": 1}]] [[sim: tool=c]]')
    thought = answer(asked)
    assert [type(block) for block in thought.blocks] == [Think, Say, Call, Call]
    assert calls(thought) == [("a", {"b": 1}), ("c", {})]
    assert thought.stop == "tools"


def test_parallel_calls_are_of_the_tools_offered() -> None:
    thought = answer(prompt("[[sim: tools=2]]", tools=(CITY, CODING[1])))
    assert [name for name, _ in calls(thought)] == ["get_weather", "Read"]
    assert len({block.key for block in thought.blocks if isinstance(block, Call)}) == 2


def test_one_call_at_a_time_where_the_client_wants_no_parallel_calls() -> None:
    assert len(calls(answer(prompt("[[sim: tools=3]]", tools=(CITY,), parallel=False)))) == 1


@pytest.mark.parametrize("choice", ["any", "tool:get_weather"])
def test_a_choice_that_forces_a_tool_is_obeyed(choice: str) -> None:
    assert calls(answer(prompt("Oslo", tools=(CITY,), choice=choice))) == [("get_weather", {"city": "Oslo"})]


def test_results_are_told_again() -> None:
    asked = prompt(
        "weather?", tools=(CITY,), called=("get_weather",), returned=(Returned("get_weather", "sunny"),)
    )
    assert text(answer(asked)) == "get_weather returned: sunny"


@pytest.mark.parametrize("json_mode", [True, False])
def test_structured_answers_are_json(json_mode: bool) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    asked = prompt("x", json_mode=True) if json_mode else prompt("x", schema=schema)
    assert json.loads(text(answer(asked))) == ({"answer": "x"} if json_mode else {"n": 1})


def test_a_title_is_short() -> None:
    asked = prompt("please fix the parser of the config file now", system="You make a title.")
    assert text(answer(asked)) == "Please fix the parser of the"


def test_a_stop_sequence_ends_the_answer_before_it() -> None:
    thought = answer(prompt("[[sim: stop_sequence]] [[sim: tool=a]]", stop=("END", "two")))
    assert (text(thought), thought.stop, thought.sequence) == ("Counting: one, ", "stop_sequence", "two")


def test_the_limit_cuts_text_and_drops_calls() -> None:
    thought = answer(prompt("[[sim: words=100]] [[sim: tool=a]]", max_tokens=5))
    assert len(text(thought)) == 20
    assert calls(thought) == []
    assert thought.stop == "length"
    assert spent(thought, prompt(), 0, 0).output == 5


def test_thinking_comes_first_and_is_counted() -> None:
    thought = answer(prompt("hi", thinking=True))
    assert isinstance(thought.blocks[0], Think)
    assert 0 < spent(thought, prompt(), 0, 0).thinking < spent(thought, prompt(), 0, 0).output


def test_a_refusal_says_so() -> None:
    assert answer(prompt("[[sim: refusal]]")).stop == "refusal"


def test_a_coding_model_looks_changes_tests_and_reports() -> None:
    asked = prompt("Fix src/a.py", tools=CODING)
    steps = []
    for _ in range(6):
        thought = answer(asked)
        if not calls(thought):
            break
        name, arguments = calls(thought)[0]
        steps.append(name)
        result = "3 passed" if name == "Bash" else "ok"
        asked = replace(
            asked, called=(*asked.called, name), returned=(Returned(name, result),), newest=result
        )
        if name == "Read":
            assert arguments == {"file_path": "src/a.py"}
    assert steps == ["Grep", "Read", "Edit", "Bash"]
    assert "tests pass" in text(thought)


def test_a_coding_model_changes_again_while_tests_fail_and_gives_up_in_the_end() -> None:
    failed = (Returned("Bash", "2 failed, 1 passed"),)
    asked = prompt("Fix src/a.py", tools=CODING, called=("Grep", "Read", "Edit", "Bash"), returned=failed)
    assert calls(answer(asked))[0][0] == "Edit"
    tired = replace(asked, called=("Read", *("Edit", "Bash") * MOST_EDITS))
    assert calls(answer(tired)) == []
    assert "could not" in text(answer(tired))


def test_a_directive_in_the_system_prompt_counts_in_every_round() -> None:
    asked = prompt("hi", system="[[sim: text=always]]")
    assert text(think(asked, Script(text="always"), 0)) == "always"


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"enum": ["a", "b"]}, "a"),
        ({"const": 3}, 3),
        ({"type": ["null", "integer"]}, 1),
        ({"type": "array", "items": {"type": "boolean"}}, [True]),
        ({"type": "number", "minimum": 2}, 2.0),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, None),
        ({"properties": {"a": {}}, "required": []}, {}),
        ({}, "about"),
    ],
)
def test_a_sample_fits_its_schema(schema: dict[str, Any], value: Any) -> None:
    assert sample(schema, "about") == value
