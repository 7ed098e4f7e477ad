import pytest

from engine.simulator.agent_voices import BASH, READ, VOICES, Wish


@pytest.mark.parametrize("protocol", list(VOICES))
def test_a_sub_agent_carries_its_parents_session_and_a_mark_of_its_own(protocol: str) -> None:
    voice = VOICES[protocol]
    main, sub = voice.headers("s1", ""), voice.headers("s1", "a1")
    assert any("s1" in value for value in main.values())
    assert any("s1" in value for value in sub.values())
    assert sub.keys() - main.keys() != set()


@pytest.mark.parametrize("protocol", list(VOICES))
def test_tools_and_streaming_are_said_where_they_are_wanted(protocol: str) -> None:
    voice = VOICES[protocol]
    plain = voice.body("title", "s", [voice.user("x")], (), stream=False)
    full = voice.body("work", "s", [voice.user("x")], (READ, BASH), stream=True)
    assert "tools" not in plain
    assert not plain.get("stream")
    assert (len(full["tools"]), full["stream"]) == (2, True)


def test_claude_marks_the_end_of_what_it_wants_kept_and_leaves_the_history_unmarked() -> None:
    voice = VOICES["anthropic-messages"]
    history = [voice.user("one"), voice.user("two")]
    body = voice.body("work", "s", history, (READ,), stream=True)
    assert "cache_control" in body["messages"][-1]["content"][-1]
    assert "cache_control" not in history[-1]["content"][-1]


def test_opencode_keeps_reasoning_with_the_calls_it_led_to() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "read", "arguments": '{"file_path": "a"}'}}
    message = {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [call]}
    heard = VOICES["openai-chat"].hear({"choices": [{"message": message}]})
    assert heard.calls == (Wish("c", "read", {"file_path": "a"}),)
    assert heard.message == message
