import pytest

from engine.commands.visible import visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ünïcode 漢字 😀, tab\tand\nnewline", "plain, ünïcode 漢字 😀, tab\tand\nnewline"),
        ("\x1b[31mred\x1b]0;title\x07", "\\x1b[31mred\\x1b]0;title\\x07"),
        ("over\rwritten\x08", "over\\x0dwritten\\x08"),
        ("\x9b31m\x7f", "\\x9b31m\\x7f"),
        ("user\u202egnp.exe\u2066", "user\\u202egnp.exe\\u2066"),
        ("half \ud800", "half \\ud800"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown
