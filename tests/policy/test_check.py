from engine.core.errors import Problem
from engine.documents import read
from engine.policy.catalog import Page
from engine.policy.check import Known, check_policy, serving


def page(name: str, body: str = "") -> Page:
    document, problems = read(f"metadata: {{name: {name}}}\n{body}", f"{name}.yaml")
    assert document is not None, problems
    return Page(document, document.data)


A, B, DEFAULT = page("a"), page("b"), page("default")


def test_the_policy_that_settings_name_serves() -> None:
    assert serving([A, B, DEFAULT], "b") is B


def test_the_only_policy_serves_whatever_it_is_called() -> None:
    assert serving([B], "") is B


def test_of_several_policies_the_one_called_default_serves() -> None:
    assert serving([A, DEFAULT, B], "") is DEFAULT


def test_nobody_guesses_which_policy_serves() -> None:
    for pages, serve in ([A, B], ""), ([A, DEFAULT], "c"):
        found = serving(pages, serve)
        assert isinstance(found, Problem)
        assert found.code == "WV310"


def test_names_are_not_called_unknown_where_a_file_could_not_be_read() -> None:
    policy = page("p", "default: {use: opus}\n")
    assert [problem.code for problem in check_policy(policy, Known((), None))] == ["WV301"]
    assert list(check_policy(policy, Known((), None, complete=False))) == []
