"""What deciding by rules costs: our ladder beside cel-python's interpreter and two native wrappers, in one run.

    python tests/benchmarks/policy.py [--seconds 0.3] [--json]

Each contestant gets the same texts and the same plain dictionaries, and does everything one request needs: take
the inputs in, compute ten variables, try the rules in order. No rule holds, so all are tried: the worst case.
Compiling is not counted, but printed. `cel-expr-python` (C++) and `common-expression-language` (Rust) take part
where they can be imported; they are no dependencies of ours.
"""

import argparse
import importlib
import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from engine.policy.expression import Rung, Vocabulary, compile_expression, compile_ladder
from tests.benchmarks.reload import reload_block_ms

SIZES = (1, 10, 50, 200, 1000)
Roots = dict[str, Any]
Decide = Callable[[Roots], int | None]

TEXT, WHOLE = {"type": "string"}, {"type": "integer"}
SCHEMA: dict[str, Any] = {
    "properties": {
        "features": {
            "properties": {
                "phase": TEXT,
                "tool_count": WHOLE,
                "tool_results": WHOLE,
                "context_tokens": WHOLE,
                "subagent": {"type": "boolean"},
                "price": {"type": "number"},
                "tools": {"type": "array", "items": TEXT},
            },
            "required": [
                "phase", "tool_count", "tool_results", "context_tokens", "subagent", "price", "tools",
            ],
        },
        "hints": {"properties": {"task": TEXT, "private": {"type": "boolean"}}},
        "identity": {"properties": {"team": TEXT, "data_class": TEXT}, "required": ["team", "data_class"]},
    }
}  # fmt: skip
ROOTS: Roots = {
    "features": {
        "phase": "plan", "tool_count": 3, "tool_results": 0, "context_tokens": 900, "subagent": False, "price": 0.5,
        "tools": ["Read", "Edit", "Grep"],
    },
    "hints": {},
    "identity": {"team": "core", "data_class": "internal"},
}  # fmt: skip
VARIABLES = {
    "agentic": "features.tool_count > 0 || features.tool_results > 0",
    "task": "has(hints.task) ? hints.task : features.phase",
    "long": "features.context_tokens > 50000",
    "busy": "variables.agentic && features.tool_count > 10",
    "shell": "features.tools.exists(t, t == 'Bash')",
    "cost": "features.price * 2.0",
    "offered": "size(features.tools)",
    "trusted": "identity.team in ['core', 'infra']",
    "weight": "features.context_tokens + features.tool_count * 100",
    "heavy": "variables.long || variables.shell",
}
FORMS = (
    "identity.data_class == 'secret{i}' || has(hints.private)",
    "features.context_tokens > {k} && variables.task == 'x{i}'",
    "variables.task in ['a{i}', 'b{i}', 'c{i}']",
    "features.subagent && variables.task == 'context'",
    "variables.agentic && features.tool_count == {k}",
    "variables.cost > {k}.0 && features.phase == 'chat'",
    "features.phase.startsWith('zz{i}')",
    "variables.offered > {k} || !variables.trusted",
    "variables.weight > {k}00 && !variables.heavy && variables.busy",
    "has(hints.task) && hints.task == 'q{i}'",
)


def rules(count: int) -> list[str]:
    return [FORMS[i % len(FORMS)].format(i=i, k=100_000 + i) for i in range(count)]


def ours(texts: list[str]) -> Decide:
    vocabulary = Vocabulary.from_schema(SCHEMA)
    variables = []
    for name, text in VARIABLES.items():
        expression, complaints = compile_expression(text, vocabulary)
        assert expression is not None, complaints
        variables.append((name, expression))
        vocabulary = vocabulary.with_variable(name, expression.type)
    rungs = []
    for text in texts:
        expression, complaints = compile_expression(text, vocabulary, "bool")
        assert expression is not None, complaints
        rungs.append(Rung(text, expression))
    ladder = compile_ladder(variables, rungs)
    return lambda roots: ladder(roots).index


def cel_python(texts: list[str]) -> Decide:
    import celpy

    environment = celpy.Environment(runner_class=celpy.InterpretedRunner)

    def program(text: str) -> Any:
        return celpy.InterpretedRunner(environment, environment.compile(text))

    variables = {name: program(text) for name, text in VARIABLES.items()}
    programs = [program(text) for text in texts]
    to_cel = importlib.import_module("celpy.adapter").json_to_cel

    def decide(roots: Roots) -> int | None:
        context = {name: to_cel(value) for name, value in roots.items()}
        computed = context["variables"] = to_cel({})
        for name, each in variables.items():
            computed[name] = each.evaluate(context)
        return next((index for index, each in enumerate(programs) if each.evaluate(context)), None)

    return decide


def inlined(text: str) -> str:
    """With every variable's own text in its place. For the wrappers a variable costs more than computing it again:
    it would need a new activation, and that converts the inputs anew."""
    while (found := re.search(r"variables\.(\w+)", text)) is not None:
        text = f"{text[: found.start()]}({VARIABLES[found[1]]}){text[found.end() :]}"
    return text


def cel_expr_python(texts: list[str]) -> Decide:
    cel = importlib.import_module("cel_expr_python.cel")
    record = cel.Type.Map(cel.Type.STRING, cel.Type.DYN)
    environment = cel.NewEnv(variables=dict.fromkeys(("features", "hints", "identity"), record))
    programs = [environment.compile(inlined(text)) for text in texts]

    def decide(roots: Roots) -> int | None:
        activation = environment.Activation(roots)
        return next((index for index, each in enumerate(programs) if each.eval(activation).value()), None)

    return decide


def common_expression_language(texts: list[str]) -> Decide:
    cel = importlib.import_module("cel")
    programs = [cel.compile(inlined(text)) for text in texts]

    def decide(roots: Roots) -> int | None:
        context = cel.Context(variables=roots)
        return next((index for index, each in enumerate(programs) if each.execute(context)), None)

    return decide


@dataclass(frozen=True, slots=True)
class Contestant:
    name: str
    make: Callable[[list[str]], Decide]
    module: str  # what must be importable


CONTESTANTS = (
    Contestant("weave-engine", ours, "engine.policy.expression"),
    Contestant("cel-python", cel_python, "celpy"),
    Contestant("cel-expr-python", cel_expr_python, "cel_expr_python.cel"),
    Contestant("common-expression-language", common_expression_language, "cel"),
)


def microseconds(decide: Decide, seconds: float) -> float:
    """The best of several rounds: noise only ever adds."""
    assert decide(ROOTS) is None, "no rule should hold"
    once = timed(decide, 1)
    rounds = max(1, int(seconds / 5 / max(once, 1e-7)))
    return min(timed(decide, rounds) / rounds for _ in range(5)) * 1e6


def timed(decide: Decide, rounds: int) -> float:
    started = time.perf_counter()
    for _ in range(rounds):
        decide(ROOTS)
    return time.perf_counter() - started


def measure(contestant: Contestant, seconds: float) -> dict[int, tuple[float, float]] | None:
    """For each number of rules: milliseconds to compile, microseconds to decide. None where it is not there."""
    try:
        importlib.import_module(contestant.module)
    except ImportError as error:
        print(f"{contestant.name:28} not measured: {error}")
        return None
    found = {}
    for count in SIZES:
        texts = rules(count)
        started = time.perf_counter()
        decide = contestant.make(texts)
        compiled = (time.perf_counter() - started) * 1e3
        found[count] = (compiled, microseconds(decide, seconds))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=0.3, help="how long each figure is measured")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    options = parser.parse_args()

    print(f"{'contestant':28} {'rules':>6} {'compile ms':>11} {'µs a policy':>12} {'µs a rule':>10}")
    decided: dict[str, dict[int, float]] = {}
    for contestant in CONTESTANTS:
        found = measure(contestant, options.seconds)
        for count, (compiled, spent) in (found or {}).items():
            decided.setdefault(contestant.name, {})[count] = spent
            print(f"{contestant.name:28} {count:6} {compiled:11.1f} {spent:12.2f} {spent / count:10.3f}")

    us = decided["weave-engine"][50]
    speedups = {name: round(times[50] / us, 1) for name, times in decided.items() if name != "weave-engine"}
    for name, speedup in speedups.items():
        print(f"fifty rules with ten variables: {speedup} times as fast as {name}")
    blocked = reload_block_ms()
    print(f"a reload of 1,000 rules kept the event loop for at most {blocked:.1f} ms")
    if options.json:
        line: dict[str, float | None] = {"us_per_rule": round(us / 50, 4), "us_50_rules": round(us, 2)}
        for contestant in CONTESTANTS[1:]:
            line[f"speedup_vs_{contestant.name.replace('-', '_')}"] = speedups.get(contestant.name)
        line["reload_1000_block_ms"] = round(blocked, 1)
        print(json.dumps(line))


if __name__ == "__main__":
    main()
