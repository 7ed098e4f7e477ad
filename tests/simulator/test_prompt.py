from engine.simulator.prompt import count, digest, segment


def test_tokens_are_a_quarter_of_the_characters_rounded_up() -> None:
    assert [count(text) for text in ("", "a", "abcd", "abcde")] == [0, 1, 1, 2]


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_a_digest_does_not_depend_on_streaming() -> None:
    assert digest({"a": 1, "stream": True, "stream_options": {"include_usage": True}}) == digest({"a": 1})


def test_a_lone_surrogate_in_a_prompt_is_no_trouble() -> None:
    assert segment({"text": "\ud800"}, 1).tokens == 1
