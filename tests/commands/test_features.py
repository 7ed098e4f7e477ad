import json
from collections.abc import Callable
from typing import Any

from engine.commands.features import roots, vocabulary
from engine.documents import shipped_json
from engine.policy.phrases import input_vocabulary

Weave = Callable[..., Any]


def test_every_word_that_rules_may_read_is_listed() -> None:
    words = {word.name for word in vocabulary()}
    known = input_vocabulary()
    assert words >= {
        f"{root}.{name}" for root in ("features", "hints", "identity") for name in known.fields(root)
    }
    assert {"outcome.tests_failed", "stats.error_rate"} <= words
    assert {word.partition(".")[0] for word in words} == set(roots())


def test_types_are_those_of_expressions_and_what_may_be_missing_says_so() -> None:
    words = {word.name: word for word in vocabulary()}
    assert (words["features.context_tokens"].type, words["features.context_tokens"].always) == ("int", True)
    assert (words["hints.max_cost"].type, words["hints.max_cost"].always) == ("double", False)
    assert words["hints.private"].type == "bool"
    assert words["outcome.labels"].type == "map"
    assert words["hints.latency"].values == ("fast", "normal", "slow")


def test_the_list_is_readable(weave: Weave) -> None:
    ran = weave("features")
    assert ran.code == 0
    assert "features\n  Facts of the request, each always present.\n" in ran.out
    line = next(line for line in ran.out.splitlines() if "hints.latency" in line)
    assert " string " in line
    assert line.endswith("One of: fast, normal, slow. Ask has() first.")


def test_words_can_be_searched_in_names_and_descriptions(weave: Weave) -> None:
    told = json.loads(weave("features", "TOKENS", "--json").out)
    names = [word["name"] for word in told]
    assert "features.context_tokens" in names
    assert "features.max_tokens" in names
    assert "features.language" not in names
    description = shipped_json("schemas/input.v1.schema.json")["properties"]["features"]["properties"]
    assert told[0]["description"] == description["context_tokens"]["description"]


def test_nothing_found_is_a_sentence(weave: Weave) -> None:
    ran = weave("features", "features.contxt_tokens")
    assert ran.code == 2
    assert "did you mean 'features.context_tokens'?" in ran.err
