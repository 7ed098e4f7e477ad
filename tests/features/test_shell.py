"""Shell lines are read as a shell reads them."""

from time import perf_counter

import pytest

from engine.features.shell import LONGEST, simple_commands, unescaped, without_heredocs


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("cd /r && pytest -q 2>&1 | tail -5", ["cd /r", "pytest -q", "tail -5"]),
        ("git commit -m 'a; b && c'", ["git commit -m a; b && c"]),
        ('echo "a \\" | b" ; ls', ['echo a " | b', "ls"]),
        ("make > out.log 2>&1 &", ["make"]),
        ("(cd a; npm test)", ["cd a", "npm test"]),
        ("ls # pytest\npwd", ["ls", "pwd"]),
        ("cat <<EOF > a\npytest\nEOF\nls", ["cat", "ls"]),
        ("cat <<'END'\npytest", ["cat"]),
        ("a \\\n  b", ["a b"]),
        ("it's broken", ["it s broken"]),
        ("", []),
    ],
)
def test_a_line_is_its_simple_commands(line: str, words: list[str]) -> None:
    assert [" ".join(each.words) for each in simple_commands(line)] == words


def test_what_stands_after_a_command_is_kept() -> None:
    assert [each.ends for each in simple_commands("a && b | c || d; e & f")] == [
        "&&",
        "|",
        "||",
        ";",
        "&",
        "",
    ]


def test_escapes_of_json_are_undone_and_broken_ones_endured() -> None:
    assert unescaped(r"a\nb \"c\"") == 'a\nb "c"'
    assert unescaped(r"a\nb \q") == "a\nb \\q"
    assert unescaped("plain") == "plain"


def test_text_after_a_here_document_is_kept() -> None:
    assert without_heredocs("cat <<A\nx\nA\ncat <<-B\ny\n\tB\nls") == "cat \n\ncat \n\nls"


@pytest.mark.parametrize(
    "line", ["'" * 100_000, "\\" * 100_000, "<<a\n" * 50_000, "a;" * 50_000, '"\\' * 50_000]
)
def test_a_hostile_line_takes_little_time(line: str) -> None:
    started = perf_counter()
    simple_commands(line[: 2 * LONGEST])
    unescaped(line)
    assert perf_counter() - started < 0.2
