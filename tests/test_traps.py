"""The table of traps in this folder's README: which known bug is held off by which tests.

A trap is named by the id it has in the acceptance list, in a comment of the test that holds it off or the label of its
row. The table is made of those; `--update` writes it anew. What no test covers yet is listed with the reason, so that
nothing is missing.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
README = TESTS / "README.md"
BEGIN, END = "<!-- traps: begin -->\n", "<!-- traps: end -->\n"

# Traps of the acceptance list: how traffic is carried and translated (G1-G65, G82-G95, W), and how an engine stays up.
NUMBERS = {
    "G": (
        *(
            1,
            3,
            4,
            5,
            6,
            7,
            8,
            10,
            11,
            13,
            14,
            15,
            16,
            17,
            18,
            20,
            21,
            23,
            24,
            25,
            27,
            29,
            30,
            31,
            32,
            34,
            35,
            37,
            38,
        ),
        *(
            39,
            40,
            41,
            42,
            44,
            45,
            46,
            47,
            49,
            50,
            51,
            52,
            53,
            55,
            56,
            58,
            59,
            60,
            61,
            63,
            64,
            65,
            67,
            68,
            69,
            70,
            71,
        ),
        *(72, 74, 75, 77, 78, 79, 80, 82, 83, 84, 86, 87, 88, 89, 90, 91, 93, 94, 95, 97, 99, 100, 102),
    ),
    "W": (
        *(
            1,
            2,
            3,
            4,
            6,
            7,
            8,
            9,
            10,
            11,
            13,
            14,
            15,
            16,
            18,
            19,
            20,
            21,
            22,
            24,
            25,
            26,
            27,
            29,
            30,
            31,
            33,
            34,
            35,
        ),
        *(36, 38, 39, 40, 42, 43, 45, 46, 47, 49, 50, 51, 53, 54, 56, 57),
    ),
}
TRAPS = [f"{letter}{number}" for letter, numbers in NUMBERS.items() for number in numbers]

# Why a trap has no test.
UNTESTED: Mapping[str, str] = {
    "G17": "the Bedrock protocol is not spoken yet",
    "W9": "the engine never asks for a grammar; a client that does is told what its provider says of it",
}

ID = re.compile(r"\b([GW]\d{1,3})\b")
ROW = re.compile(r'^\s*\(?"([GW]\d{1,3}): ')  # a row of a table, labelled with its trap
TEST = re.compile(r"^(\s*)(?:async )?def (test_\w+)")


def named() -> Mapping[str, list[tuple[str, str]]]:
    """Trap -> the tests that name it, as file and test."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        if path != Path(__file__):
            for trap, test in in_file(path.read_text().splitlines()):
                place = (path.relative_to(TESTS).as_posix(), test)
                if place not in found[trap]:
                    found[trap].append(place)
    return found


def in_file(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Comments inside a test belong to it; comments before one, as in a table of its cases, to the next."""
    tests = [(number, found[2]) for number, line in enumerate(lines) if (found := TEST.match(line))]
    for number, line in enumerate(lines):
        _, _, comment = line.partition("#")
        if traps := [*ID.findall(comment), *ROW.findall(line)]:
            test = _of(tests, number, outside=_outside(lines, number))
            if test:
                yield from ((trap, test) for trap in traps)


def _outside(lines: list[str], number: int) -> bool:
    """Whether a line belongs to no test by where it stands, but to the next one."""
    if TEST.match(lines[number]) or lines[number].startswith(
        ") ->"
    ):  # a test's head, on one line or on several
        return False
    return not lines[number].startswith((" ", "\t")) or _in_table(lines, number)


def _in_table(lines: list[str], number: int) -> bool:
    """Whether a line is part of a table at the top level of its file or of a decorator."""
    for line in reversed(lines[:number]):
        if line and not line[0].isspace():
            return not line.startswith(("def ", "async def ", "class ", ")"))
    return True


def _of(tests: list[tuple[int, str]], number: int, outside: bool) -> str:
    before = [name for at, name in tests if at <= number]
    after = [name for at, name in tests if at > number]
    if outside:
        return after[0] if after else (before[-1] if before else "")
    return before[-1] if before else (after[0] if after else "")


def table() -> str:
    found = named()
    rows = ["| trap | tests |", "|---|---|"]
    for trap in TRAPS:
        tests = "<br>".join(
            f"`{file}` {test.removeprefix('test_').replace('_', ' ')}" for file, test in found[trap]
        )
        rows.append(f"| {trap} | {tests or 'none: ' + UNTESTED.get(trap, '')} |")
    return "\n".join(rows) + "\n"


def test_the_readme_s_table_tells_which_test_holds_off_which_trap(request: pytest.FixtureRequest) -> None:
    text = README.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    if request.config.getoption("--update"):
        README.write_text(f"{before}{BEGIN}{table()}{END}{after}")
        return
    assert rest.partition(END)[0] == table(), "run pytest tests/test_traps.py --update"


@pytest.mark.parametrize("trap", TRAPS)
def test_every_trap_is_named_by_a_test_or_has_a_reason(trap: str) -> None:
    assert (trap in named()) != (trap in UNTESTED)
