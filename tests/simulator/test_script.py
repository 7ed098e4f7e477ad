import pytest

from engine.simulator.faults import Trouble
from engine.simulator.script import Script, Wanted, parse


def read(text: str) -> Script:
    return parse(text, "anthropic", "claude-opus-4-5")


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("nothing here [[not: this]]", Script()),
        ("a [[sim: text=Hello, you: = [x]]] b", Script(text="Hello, you: = [x")),
        ("[[sim: text=one ]][[sim: text= two]]", Script(text="one two")),
        ('[[sim: tool=get {"a": [[1]], "b": "]]"}]]', Script(calls=(Wanted("get", '{"a": [[1]], "b": "]]"}'),))),
        ("[[sim: tool=get]]", Script(calls=(Wanted("get", "{}"),))),
        ('[[sim: tool=get {"a": ]]', Script(calls=(Wanted("get", '{"a":'),))),
        ("[[sim: tools=2]] [[sim: thinking]]", Script(parallel=2, thinking="Let me think about this step by step.")),
        ("[[sim: thinking=because = so]]", Script(thinking="because = so")),
        ("[[sim: stop_sequence]][[sim: refusal]][[sim: image]][[sim: gzip]]",
         Script(stop_sequence=True, refusal=True, image=True, gzip=True)),
        ("[[sim: words=7]]", Script(words=7)),
        ("[[sim: words=many]]", Script()),
        ("[[sim: what=ever]]", Script()),
        ("[[sim: text=never closed", Script()),
        ("[[sim: provider=openai text=not for me]]", Script()),
        ("[[sim: provider=anthropic text=for me]]", Script(text="for me")),
        ("[[sim: status=529 model=gpt-5.4]]", Script()),
    ],
)  # fmt: skip
def test_directives_say_what_the_model_does(text: str, script: Script) -> None:
    assert read(text) == script


@pytest.mark.parametrize(
    ("text", "trouble"),
    [
        ("status=429 retry_after=7", Trouble("status", status=429, retry_after=7)),
        ('status=400 message="no such thing"', Trouble("status", status=400, message="no such thing")),
        ("html_502", Trouble("html", status=502)),
        ("drop", Trouble("drop")),
        ("slow_headers=0.5", Trouble("slow_headers", seconds=0.5)),
        ("slow_first_token=2", Trouble("slow_first_token", seconds=2)),
        ("stall", Trouble("stall")),
        ("stall=3 seconds=1", Trouble("stall", after=3, seconds=1)),
        ("cut=4", Trouble("cut", after=4)),
        ("error_in_stream", Trouble("error")),
        ("error_in_stream=before", Trouble("error", after=0)),
        ("error_in_stream=5 status=429", Trouble("error", after=5, status=429)),
        ("first_event_error status=500", Trouble("first_event_error", status=500)),
        ("malformed", Trouble("malformed")),
        ("unended", Trouble("unended")),
        ("empty", Trouble("empty")),
    ],
)
def test_directives_say_what_goes_wrong(text: str, trouble: Trouble) -> None:
    assert read(f"please [[sim: {text}]]").troubles == (trouble,)


def test_a_script_that_only_goes_wrong_leaves_the_answer_to_the_model() -> None:
    assert not read("[[sim: cut]][[sim: thinking]]").speaks
    assert read("[[sim: text=x]]").speaks
