"""Files with mistakes, from the case file: a row becomes a whole set, and each of its problems has a line."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.documents.reading import load_trusted

ROOT = Path(__file__).parents[2]
PROBLEMS: Sequence[Mapping[str, Any]] = load_trusted((ROOT / "tests/cases/policy/problems.yaml").read_text())

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
