"""The recognisers are data; each of them is shown to work by a labelled output."""

from pathlib import Path

import yaml

from engine.features.actions import command_action
from engine.features.recognisers import recognisers
from engine.features.runs import runs_in

CASES = Path(__file__).parent.parent / "cases" / "evidence"


def test_each_tool_has_a_labelled_output() -> None:
    seen: set[str] = set()
    for file in CASES.glob("*.yaml"):
        for row in yaml.safe_load(file.read_text(encoding="utf-8")):
            action = command_action(row["command"])
            seen |= {run.tool for run in runs_in(action.starts, row["output"], row.get("error", False))}
    assert {tool.name for tool in recognisers().tools} - seen == set()


def test_tools_have_names_of_their_own() -> None:
    known = recognisers()
    assert len(known.places) == len(known.tools)
    assert all(known.tools[at].name == name for name, at in known.places.items())
