"""What may appear in generated code, and what it can reach."""

import ast
import dis
from types import CodeType

import pytest

from engine.policy.expression import Vocabulary, compile_expression
from engine.policy.expression.generate import ALLOWED, Generator, code_of, function_of


def made(text: str, vocabulary: Vocabulary) -> str:
    expression, complaints = compile_expression(text, vocabulary)
    assert expression is not None, complaints
    return ast.unparse(Generator().expression(expression.proof.parsed.node, expression.proof.checker.table))


@pytest.mark.parametrize(
    ("text", "python"),
    [
        ("features.turn > 3 && features.subagent", "root_features['turn'] > 3 and root_features['subagent']"),
        ("features.phase in ['plan', 'chat']", "root_features['phase'] in {'plan', 'chat'}"),
        ("has(hints.task) && hints.task == 'a'", "'task' in root_hints and root_hints['task'] == 'a'"),
        (
            "1 / features.turn > 0 && features.subagent",
            "root_features['subagent'] and divide_int(1, root_features['turn']) > 0",
        ),
        (
            "1 / features.turn > 0 || features.sizes[0] > 0",
            "any_of(lambda: divide_int(1, root_features['turn']) > 0, lambda: at(root_features['sizes'], 0) > 0)",
        ),
        ("features.tools.exists(t, t == 'a')", "any((item_1 == 'a' for item_1 in root_features['tools']))"),
        (
            "features.sizes.exists(s, 1 / s > 0)",
            "some(root_features['sizes'], lambda item_1: divide_int(1, item_1) > 0)",
        ),
        ("features.language.contains('a')", "'a' in root_features['language']"),
        ("features.price * 2.0", "root_features['price'] * 2.0"),
        ("features.language.matches('^a')", "pattern_0.search(root_features['language']) is not None"),
    ],
)
def test_expressions_become_plain_python(text: str, python: str, vocabulary: Vocabulary) -> None:
    assert made(text, vocabulary) == python


def test_an_operand_that_relies_on_a_guard_that_may_fail_stays_behind_it(vocabulary: Vocabulary) -> None:
    text = "!(!has(hints.task) || 1 / features.turn == 0) && hints.task == 'plan'"
    assert made(text, vocabulary).startswith("all_of(lambda: not ")


@pytest.mark.parametrize(
    "text",
    [
        "features.__class__ == 1",
        "features.tools.__len__() == 1",
        "__import__('os') == 1",
        "''.format(1) == ''",
        "exec('1') == 1",
        "root_features == 1",
    ],
)
def test_python_cannot_be_reached_by_its_names(text: str, vocabulary: Vocabulary) -> None:
    expression, complaints = compile_expression(text, vocabulary)
    assert expression is None
    assert complaints[0].code in ("WV201", "WV202", "WV203")


def test_a_key_that_looks_like_python_is_only_a_key(vocabulary: Vocabulary) -> None:
    assert made("features.counts.__class__ == 1", vocabulary) == "root_features['counts']['__class__'] == 1"


def test_only_listed_nodes_are_compiled() -> None:
    outside: list[ast.stmt] = [
        ast.Import([ast.alias("os")]),
        ast.Return(ast.Attribute(ast.Name("roots", ast.Load()), "__class__", ast.Load())),
        ast.Return(ast.Await(ast.Name("roots", ast.Load()))),
    ]
    for statement in outside:
        with pytest.raises(AssertionError, match="may not be generated"):
            code_of([statement])


def test_no_allowed_node_imports_deletes_or_opens_a_scope_of_its_own() -> None:
    assert not ALLOWED & {
        ast.Import,
        ast.ImportFrom,
        ast.Delete,
        ast.ClassDef,
        ast.Global,
        ast.NamedExpr,
        ast.JoinedStr,
    }


def test_generated_code_sees_no_builtins() -> None:
    code = code_of([ast.Return(ast.Call(ast.Name("open", ast.Load()), [ast.Constant("/etc/hostname")], []))])
    with pytest.raises(NameError):
        function_of(code, {})({})


def test_generated_code_imports_nothing(vocabulary: Vocabulary) -> None:
    text = "features.tools.exists(t, t.matches('a') && features.sizes.all(s, s > 0))"
    expression, _ = compile_expression(text, vocabulary)
    assert expression is not None
    generator = Generator()
    body = ast.Return(generator.expression(expression.proof.parsed.node, expression.proof.checker.table))
    names: set[str] = set()

    def collect(code: CodeType) -> None:
        names.update(each.opname for each in dis.get_instructions(code))
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                collect(constant)

    collect(code_of([*generator.prelude(), body]))
    assert not {name for name in names if "IMPORT" in name or "STORE_GLOBAL" in name or "STORE_ATTR" in name}
