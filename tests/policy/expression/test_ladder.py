"""Rule lists as one function: order, errors, variables computed once and only when needed."""

import pickle
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from engine.policy.expression import (
    Expression,
    Ladder,
    Match,
    Rung,
    Vocabulary,
    compile_expression,
    compile_ladder,
    with_variables,
)

Roots = dict[str, Any]


class Counting(Mapping[str, Any]):
    """A record that knows how often each of its fields was read."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.fields = fields
        self.reads: list[str] = []

    def __getitem__(self, name: str) -> Any:
        self.reads.append(name)
        return self.fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)


def ladder(
    vocabulary: Vocabulary,
    rules: list[str],
    variables: dict[str, str] | None = None,
    guards: tuple[int, ...] = (),
) -> Ladder:
    known: list[tuple[str, Expression]] = []
    for name, text in (variables or {}).items():
        known.append((name, expression(vocabulary, text, "any")))
        vocabulary = vocabulary.with_variable(name, known[-1][1].type)
    rungs = [
        Rung(f"rule-{index}", expression(vocabulary, text, "bool"), "match" if index in guards else "skip")
        for index, text in enumerate(rules)
    ]
    return compile_ladder(known, rungs)


def expression(vocabulary: Vocabulary, text: str, expect: str) -> Expression:
    made, complaints = compile_expression(text, vocabulary, expect)
    assert made is not None, complaints
    return made


FAILS = "1 / features.turn > 0"


def test_the_first_rung_that_holds_is_found(vocabulary: Vocabulary, inputs: Roots) -> None:
    climb = ladder(vocabulary, ["features.turn > 5", "features.tool_count == 3", "true"])
    assert climb(inputs) == Match(1)
    inputs["features"]["tool_count"] = 0
    assert climb(inputs) == Match(2)


def test_no_rung_may_hold(vocabulary: Vocabulary, inputs: Roots) -> None:
    assert ladder(vocabulary, ["features.turn > 5"])(inputs) == Match(None)
    assert ladder(vocabulary, [])(inputs) == Match(None)


def test_a_rule_that_fails_is_skipped_and_reported(vocabulary: Vocabulary, inputs: Roots) -> None:
    found = ladder(vocabulary, ["features.subagent", FAILS, "features.sizes[7] == 1", "true"])(inputs)
    assert found == Match(
        3, ((1, "division by zero"), (2, "index 7 is out of range: the list has 3 item(s)"))
    )


def test_a_guard_that_fails_matches_and_is_reported(vocabulary: Vocabulary, inputs: Roots) -> None:
    found = ladder(vocabulary, [FAILS, FAILS, "true"], guards=(1,))(inputs)
    assert found == Match(1, ((0, "division by zero"), (1, "division by zero")))


def test_a_variable_is_computed_once_and_only_when_a_rung_needs_it(
    vocabulary: Vocabulary, inputs: Roots
) -> None:
    rules = [
        "features.subagent",
        "variables.busy && features.turn > 3",
        "variables.busy",
        "variables.late > 1",
    ]
    climb = ladder(vocabulary, rules, {"busy": "features.tool_count > 0", "late": "features.context_tokens"})
    counting = Counting(inputs["features"])
    assert climb({**inputs, "features": counting}).index == 2
    assert counting.reads == ["subagent", "tool_count", "turn"]


def test_variables_build_on_variables(vocabulary: Vocabulary, inputs: Roots) -> None:
    variables = {
        "task": "has(hints.task) ? hints.task : features.phase",
        "planning": "variables.task == 'plan'",
        "deep": "variables.planning && features.context_tokens > 100",
    }
    assert ladder(vocabulary, ["variables.deep && variables.task != ''"], variables)(inputs) == Match(0)


def test_an_error_of_a_variable_is_kept_for_the_rungs_that_read_it(
    vocabulary: Vocabulary, inputs: Roots
) -> None:
    rules = ["variables.ratio > 1", "variables.ratio > 1 || features.tool_count == 3"]
    found = ladder(vocabulary, rules, {"ratio": "features.tool_count / features.turn"})(inputs)
    assert found == Match(1, ((0, "division by zero"),))


def test_a_failing_variable_is_absorbed_by_what_decides_alone(vocabulary: Vocabulary, inputs: Roots) -> None:
    variables = {"a": FAILS, "b": "2 / features.turn > 0"}
    rules = [
        "variables.a && variables.b && features.subagent",
        "variables.a || variables.b || !features.subagent",
    ]
    assert ladder(vocabulary, rules, variables)(inputs) == Match(1)


def test_interpreted_rungs_and_variables_take_part(vocabulary: Vocabulary, inputs: Roots) -> None:
    variables = {
        "first": "features.anything[0]",
        "count": "features.tool_count",
        "none": "features.anything[9]",
    }
    rules = [
        "variables.first == 2",
        "variables.none == 1",
        "variables.none == 1 || variables.first == 7",
        "features.anything[0] == 1 && variables.count == 3",
    ]
    found = ladder(vocabulary, rules, variables)(inputs)
    assert found.index == 3
    assert [index for index, _ in found.errors] == [1, 2]


def test_inputs_that_break_the_schema_cost_only_the_rungs_that_read_them(
    vocabulary: Vocabulary, inputs: Roots
) -> None:
    del inputs["features"]["tool_count"]
    rules = ["variables.busy", "features.tool_count > 0", "features.phase == 'plan'"]
    found = ladder(vocabulary, rules, {"busy": "features.tool_count > 0"})(inputs)
    assert found == Match(2, ((0, "no such key: 'tool_count'"), (1, "no such key: 'tool_count'")))
    guarded = ladder(vocabulary, rules, {"busy": "features.tool_count > 0"}, guards=(1,))(inputs)
    assert guarded.index == 1


def test_a_missing_root_is_an_error_of_the_rungs_that_read_it(vocabulary: Vocabulary, inputs: Roots) -> None:
    del inputs["identity"]
    climb = ladder(
        vocabulary, ["features.turn > 9", "identity.data_class == 'confidential'", "true"], guards=(1,)
    )
    assert climb(inputs) == Match(1, ((1, "no such key: 'identity'"),))


def test_a_ladder_serves_many_threads(vocabulary: Vocabulary, inputs: Roots) -> None:
    rules = [f"variables.turn == {number}" for number in range(20)]
    climb = ladder(vocabulary, rules, {"turn": "features.turn / 1"})

    def one(number: int) -> int | None:
        return climb({**inputs, "features": {**inputs["features"], "turn": number % 20}}).index

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(2000))) == [number % 20 for number in range(2000)]


def test_a_rung_must_be_a_bool(vocabulary: Vocabulary) -> None:
    with pytest.raises(ValueError, match="a rung is a bool"):
        compile_ladder([], [Rung("r", expression(vocabulary, "features.turn", "any"))])


def test_a_thousand_rungs_are_one_function(vocabulary: Vocabulary, inputs: Roots) -> None:
    rules = [f"features.tool_count == {number} && variables.task == 'x{number}'" for number in range(1000)]
    climb = ladder(vocabulary, [*rules, "variables.task == 'plan'"], {"task": "features.phase"})
    assert climb(inputs) == Match(1000)


def test_a_ladder_can_be_compiled_elsewhere_and_loaded_quickly(vocabulary: Vocabulary, inputs: Roots) -> None:
    rules = [
        "features.anything[0] == 2",
        "features.language.matches('^x')",
        FAILS,
        *(f"variables.task == 'x{number}' && features.turn > {number}" for number in range(300)),
        "variables.task == 'plan'",
    ]
    climb = ladder(vocabulary, rules, {"task": "features.phase", "slow": "features.anything[1]"}, guards=(0,))
    packed = pickle.dumps(climb)
    started = time.process_time()
    loaded = pickle.loads(packed)
    assert time.process_time() - started < 0.1
    assert loaded(inputs) == climb(inputs) == Match(303, ((2, "division by zero"),))
    assert loaded({**inputs, "features": {}}) == climb({**inputs, "features": {}})
    assert loaded.rungs[3].expression.explain(with_variables(loaded.variables, inputs))["features.turn"] == 0


def test_variables_are_readable_beside_a_ladder(vocabulary: Vocabulary, inputs: Roots) -> None:
    variables = [("task", expression(vocabulary, "features.phase", "any"))]
    reason = expression(
        vocabulary.with_variable("task", variables[0][1].type), "'because of ' + variables.task", "string"
    )
    assert reason.evaluate(with_variables(variables, inputs)) == "because of plan"
