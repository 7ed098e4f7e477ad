"""The reference page says what the engine does."""

import re

import pytest

from engine.policy.codes import CODES
from tests.policy.problems import ROOT
from tests.policy.reference import PAGE, renewed, tables

TEXT = PAGE.read_text(encoding="utf-8")
TABLES = tables()


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_the_page_is_what_the_engine_says(name: str) -> None:
    assert TABLES[name] in TEXT, "run `make reference`, and look at what changed"


def test_nothing_is_left_over_of_what_the_engine_no_longer_says() -> None:
    assert renewed(TEXT) == TEXT, "run `make reference`, and look at what changed"


@pytest.mark.parametrize("code", CODES)
def test_a_code_has_one_line_with_its_severity_and_an_example(code: str) -> None:
    (line,) = re.findall(rf"^\| {code} \|.*$", TEXT, re.MULTILINE)
    cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    assert len(cells) == 5
    assert cells[1] in ("error", "warning")
    assert cells[2] == CODES[code]
    assert cells[4]
    assert cells[3] or code == "WV100"  # no file's fault


def test_readers_find_the_page() -> None:
    assert "](policies/README.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("link", re.findall(r"\]\((?!https?:)([^)#]*)(?:#[^)]*)?\)", TEXT))
def test_links_of_the_page_lead_somewhere(link: str) -> None:
    assert (PAGE.parent / link).exists()
