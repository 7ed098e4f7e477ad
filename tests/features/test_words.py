import pytest

from engine.features.words import own_words, word_count


@pytest.mark.parametrize(
    ("text", "own"),
    [
        ("mend it", "mend it"),
        ("<system-reminder>x</system-reminder>", ""),
        ("a <system-reminder>x</system-reminder>b<system-reminder>y</system-reminder>", "a b"),
        ("mend <b>this</b>", "mend <b>this</b>"),
        ("mend it <system-reminder>never closed", "mend it"),
        ("<environment_context>\ncwd\n</environment_context>\n\nmend it", "mend it"),
        ("This is the Qwen Code. We are setting up the context for our chat.", ""),
    ],
)
def test_what_clients_write_into_user_texts_is_taken_out(text: str, own: str) -> None:
    assert own_words(text) == own


def test_words_of_a_very_long_text_are_extrapolated() -> None:
    assert word_count("one two three") == 3
    assert word_count("word " * 100_000) == pytest.approx(100_000, rel=0.01)
