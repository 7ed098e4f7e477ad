from engine.documents import read
from engine.policy.catalog import Page
from engine.policy.phrases import Phrases, read_phrases


def phrases(text: str) -> Phrases:
    document, problems = read(text, "p.yaml")
    assert document is not None, problems
    return read_phrases(Page(document, document.data))


def said(text: str) -> list[str]:
    return [f"{problem.line}:{problem.column} {problem.code}" for problem in phrases(text).problems]


def test_expressions_lie_under_the_path_where_they_are_written() -> None:
    found = phrases(
        "variables: [{name: a, expr: features.turn}]\n"
        "rules: [{name: r, when: variables.a > 1, reason: string(variables.a)}]\n"
        "learners: {l: {explore: {rate: 1, when: features.stream}}}\n"
        "outcomes: [{name: o, when: true, reward: outcome.tests_failed * 1.0}, {name: n, when: true, reward: 1}]\n"
    )
    assert [name for name, _ in found.variables] == ["a"]
    assert set(found.at) == {
        ("rules", 0, "when"),
        ("rules", 0, "reason"),
        ("learners", "l", "explore", "when"),
        ("outcomes", 0, "when"),
        ("outcomes", 1, "when"),
    }
    assert [problem.code for problem in found.problems] == ["WV204"]  # int times double has no meaning in CEL


def test_a_reason_may_read_what_its_condition_proves() -> None:
    assert said("rules: [{name: r, when: has(hints.task), reason: hints.task}]\n") == []
    assert said("rules: [{name: r, when: '!has(hints.task)', reason: hints.task}]\n") == ["1:53 WV205"]
    assert said("rules: [{name: r, when: has(hints.task) || features.stream, reason: hints.task}]\n") == [
        "1:69 WV205"
    ]
    assert said("outcomes: [{name: o, when: has(outcome.rating), reward: outcome.rating}]\n") == []
    assert said("outcomes: [{name: o, when: true, reward: outcome.rating}]\n") == ["1:42 WV205"]


def test_outcomes_speak_of_outcomes_only() -> None:
    assert said("outcomes: [{name: o, when: features.stream, reward: 1}]\n") == ["1:28 WV202"]
    assert said("rules: [{name: r, when: outcome.tests_failed > 0}]\n") == ["1:25 WV202"]


def test_a_broken_variable_is_one_problem_not_one_for_each_use() -> None:
    text = (
        "variables: [{name: a, expr: features.trun}, {name: b, expr: variables.a + 1}]\n"
        "rules: [{name: r, when: variables.a > 1 && variables.b > 2}]\n"
    )
    assert said(text) == ["1:29 WV201"]


def test_mistakes_in_folded_expressions_are_found_in_their_line() -> None:
    text = "rules:\n  - name: r\n    when: >-\n      features.stream\n      && features.trun > 1\n"
    assert said(text) == ["5:10 WV201"]
    assert said("rules: [{name: r, when: 'features.agent == ''x'' && features.trun > 1'}]\n") == [
        "1:53 WV201"
    ]
