"""The table of diagnostic codes, and for each of them files that earn it."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from engine.policy.codes import CODES
from engine.snapshot import check
from tests.policy.problems import PROBLEMS, ROOT, files_of

# What only the server can meet: a folder it cannot read, a failure of its own.
OUTSIDE_FILES = {"WV100"}


@pytest.mark.parametrize("case", PROBLEMS, ids=[case["name"] for case in PROBLEMS])
def test_a_mistake_is_said_where_it_stands(case: Mapping[str, Any]) -> None:
    snapshot, problems = check(files_of(case), case.get("serve", ""))
    assert [str(problem) for problem in problems] == case["problems"]
    assert (snapshot is None) == any(problem.severity == "error" for problem in problems)


def test_every_code_has_files_that_earn_it() -> None:
    earned = {
        word for case in PROBLEMS for problem in case["problems"] for word in re.findall(r"WV\d{3}", problem)
    }
    assert earned == set(CODES) - OUTSIDE_FILES


def test_every_code_the_engine_uses_is_in_the_table_and_the_other_way_round() -> None:
    table = ROOT / "engine/policy/codes.py"
    texts = [path.read_text() for path in (ROOT / "engine").rglob("*.py") if path != table]
    used = {code for text in texts for code in re.findall(r'"(WV\d{3})"', text)}
    assert used == set(CODES)


@pytest.mark.parametrize("code", CODES)
def test_a_code_is_explained_in_one_sentence(code: str) -> None:
    assert re.fullmatch(r"([A-Z]|duration)[^.]*(\.[^ .][^.]*)*\.", CODES[code]), CODES[code]
