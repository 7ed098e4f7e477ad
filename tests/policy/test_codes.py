"""The table of diagnostic codes, and for each of them files that earn it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from engine.documents.reading import load_trusted
from engine.policy.codes import CODES
from engine.snapshot import check

ROOT = Path(__file__).parents[2]
PROBLEMS: list[dict[str, Any]] = load_trusted((ROOT / "tests/cases/policy/problems.yaml").read_text())

# What only the server can meet: a folder it cannot read, a failure of its own.
OUTSIDE_FILES = {"WV100"}

CATALOG = """\
apiVersion: weave/v1
kind: Catalog
metadata: {name: default}
endpoints:
  anthropic: {protocol: anthropic-messages, base_url: "https://api.anthropic.com", api_key_env: ANTHROPIC_API_KEY}
  onprem: {protocol: openai-chat, base_url: "http://127.0.0.1:8000/v1"}
models:
  opus: {tier: frontier, context: 200000, output: 64000, can: [tools], usd: {in: 5, out: 25}, served_by: [{endpoint: anthropic, id: claude-opus-4-5}]}
  tiny: {tier: small, context: 32000, output: 8000, can: [tools], usd: {in: 0, out: 0}, served_by: [{endpoint: onprem, id: tiny}]}
"""  # noqa: E501 - one model, one line
MID = """\
  sonnet: {tier: mid, context: 200000, output: 64000, can: [tools], usd: {in: 3, out: 15}, served_by: [{endpoint: anthropic, id: claude-sonnet-4-5}]}
"""  # noqa: E501


def header(kind: str, name: str) -> str:
    return f"apiVersion: weave/v1\nkind: {kind}\nmetadata: {{name: {name}}}\n"


DEFAULT = "default: {use: frontier}\n"
WHOLE = {
    "CATALOG": CATALOG,
    "POLICY": header("Policy", "p") + DEFAULT,
    "POLICY2": header("Policy", "q") + DEFAULT,
}


def files_of(case: Mapping[str, Any]) -> dict[str, str]:
    if "files" in case:
        return {name: WHOLE.get(text, text) for name, text in case["files"].items()}
    policy = case.get("policy", "")
    has_default = "\ndefault:" in "\n" + policy
    files = {
        "base.yaml": CATALOG + MID,
        "policy.yaml": header("Policy", "p") + policy + ("" if has_default else DEFAULT),
    }
    if "catalog" in case:
        files["catalog.yaml"] = header("Catalog", "more") + case["catalog"]
    return files


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
