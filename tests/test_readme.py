"""What the README shows is held to be so."""

import re
from pathlib import Path

import pytest

from engine.core.errors import InvalidDocumentsError
from engine.snapshot import build

HOUSE = Path(__file__).parent.parent
README = (HOUSE / "README.md").read_text(encoding="utf-8")
FILES = {"my-policies/catalog.yaml": (HOUSE / "policies" / "catalog.yaml").read_text(encoding="utf-8")}


def example() -> str:
    found = re.search(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_first_policy_of_the_readme_holds() -> None:
    snapshot = build({**FILES, "my-policies/first.yaml": example()})
    assert snapshot.policy.name == "first"
    assert not snapshot.problems


def test_the_mistake_the_readme_makes_is_told_as_it_says() -> None:
    broken = example().replace("features.context_tokens > ", "features.contxt_tokens > ")
    with pytest.raises(InvalidDocumentsError) as caught:
        build({**FILES, "my-policies/first.yaml": broken})
    assert all(str(problem) in README for problem in caught.value.problems)
