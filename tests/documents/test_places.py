import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.documents import read
from engine.documents.places import Document, paths


def document(text: str) -> Document:
    found, problems = read(text, "f.yaml")
    assert found is not None, problems
    return found


RULES = textwrap.dedent(
    """\
    # a comment
    rules:
      - name: first
        then: {use: small, "effort": 'high'}
      - name: second
        then:
          choose: [small, mid]
    """
)


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        (("rules",), (2, 1), (3, 3)),
        (("rules", 0), (3, 5), (3, 5)),
        (("rules", 0, "name"), (3, 5), (3, 11)),
        (("rules", 0, "then"), (4, 5), (4, 11)),
        (("rules", 0, "then", "effort"), (4, 24), (4, 34)),
        (("rules", 1, "then", "choose", 1), (7, 23), (7, 23)),
        (("rules", 1, "then", "absent"), (7, 7), (7, 7)),
        (("rules", 9), (3, 3), (3, 3)),
    ],
)
def test_keys_and_values_know_their_places(
    path: tuple[str | int, ...], key: tuple[int, int], value: tuple[int, int]
) -> None:
    assert document(RULES).key_place(path) == key
    assert document(RULES).place(path) == value


def test_every_path_leads_to_a_place() -> None:
    written = document(RULES)
    assert all(written.place(path).line >= 2 for path in paths(written.data) if path)


SCALARS = {
    "plain": "e: first WANTED last",
    "plain over lines": "e: first\n     and WANTED\n  last",
    "single": "e: 'it''s WANTED ''here'''",
    "single over lines": "e: 'it''s\n\n   a WANTED one'",
    "double": r'e: "tab\t \"quoted\" \u00e9\x41 WANTED\n"',
    "double over lines": 'e: "one \\\n   two\n\n  WANTED"',
    "literal": "e: |\n  first\n    second && WANTED\n  last",
    "literal with header": "e: |2-  # a comment WANTED not\n    first\n  WANTED",
    "folded": "e: >\n  first\n  second\n\n    third WANTED\n  last",
    "folded, stripped": "e: >-\n\n  first\n  WANTED",
    "in a flow": "e: {x: [a, 'b ''WANTED']}",
    "beyond ASCII": "e: 'é€𝄞 WANTED'",
    "windows": "e: |\r\n  first\r\n  WANTED\r\n",
}


@pytest.mark.parametrize("name", SCALARS)
def test_a_place_inside_a_scalar_is_where_it_was_written(name: str) -> None:
    text = SCALARS[name] + "\n"
    written = document(text)
    path = ("e", "x", 1) if name == "in a flow" else ("e",)
    inside = written.source(path)
    before = inside[: inside.index("WANTED")]
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    found = written.place_inside(path, line, column)
    start = text.rindex("WANTED")
    assert found == (text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start))


def test_a_place_past_the_end_is_the_end() -> None:
    assert document("a: 'b c'").place_inside(("a",), 1, 4) == (1, 8)
    assert document("a: 'b c'").place_inside(("a",), 99, 99) == (1, 8)
    assert document("a: ''").place_inside(("a",), 1, 1) == (1, 4)


def test_white_space_inside_a_scalar_has_a_place() -> None:
    assert document("a: b  c").place_inside(("a",), 1, 2) == (1, 5)


@given(
    st.text(st.sampled_from("ab'\"\\ \n:#-é\t"), min_size=1, max_size=30),
    st.sampled_from(["'", '"', "|"]),
)
def test_visible_characters_are_found_whatever_the_style(text: str, style: str) -> None:
    match style:
        case "'":
            shown = "'" + text.replace("'", "''").replace("\n", "\n\n  ") + "'"
        case '"':
            escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
            shown = f'"{escaped}"'
        case _:
            shown = "|2\n" + "\n".join("  " + line for line in text.split("\n"))
    found, problems = read(f"e: {shown}\n", "f.yaml")
    if found is None or problems:  # tabs and indentation that YAML does not allow there
        return
    inside = found.source(("e",))
    lines = found.text.split("\n")
    for offset, char in enumerate(inside):
        if char.isspace() or char in "'\"\\":
            continue
        before = inside[:offset]
        line, column = found.place_inside(("e",), before.count("\n") + 1, offset - before.rfind("\n"))
        assert lines[line - 1][column - 1] == char
