"""What people read in a terminal: the one door to rich.

Text from files and requests is never read as markup, and never reaches the terminal as commands to it.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text as RichText
from rich.tree import Tree

from engine.commands.visible import visible
from engine.core.errors import Problem

MARKS = {"matched": ("✔", "green"), "passed": ("·", "dim"), "skipped": ("–", "dim"), "error": ("✘", "red")}


MOST_ROUTES = 25

LONGEST_LINE = 160  # characters of a file's line that are shown

# A pipe has no width, and whoever reads it wants whole lines.
UNBOUNDED = 10_000


class Text(RichText):
    """Rich's, with what a terminal would obey written out."""

    def __init__(self, text: str = "", style: str = "") -> None:
        super().__init__(visible(text), style)

    def append(self, text: RichText | str, style: Any = None) -> "Text":
        super().append(visible(text) if isinstance(text, str) else text, style)
        return self


def console() -> Console:
    return Console(highlight=False, soft_wrap=True)


def _wide() -> Console:
    """For trees: wrapped to a terminal's width, and not at all where the output goes elsewhere."""
    out = Console(highlight=False)
    return out if out.is_terminal else Console(highlight=False, width=UNBOUNDED)


def problems(found: Sequence[Problem], files: Mapping[str, str]) -> None:
    """Each problem with the line it is about, then a sentence that sums up."""
    out = console()
    lines = {name: text.splitlines() for name, text in files.items()}
    for problem in found:
        colour = "red" if problem.severity == "error" else "yellow"
        line = Text()
        line.append(f"{problem.file}:{problem.line}:{problem.column}", "bold")
        line.append(f"  {problem.code} {problem.severity}  ", colour)
        line.append(problem.message)
        if problem.hint:
            line.append(f"; {problem.hint}", "cyan")
        out.print(line)
        source, mark = _around(lines.get(problem.file, ()), problem)
        if source.strip():
            out.print(Text(f"    {source}", "dim"))
            out.print(Text("    " + " " * mark + "^", colour))
    errors = sum(problem.severity == "error" for problem in found)
    warnings = len(found) - errors
    names = ", ".join(files) if len(files) <= 4 else f"{len(files)} files"
    if errors:
        out.print(Text(f"{_count(errors, 'error')}, {_count(warnings, 'warning')}", "bold red"))
    elif warnings:
        out.print(Text(f"{names}: valid, with {_count(warnings, 'warning')}", "yellow"))
    else:
        out.print(Text(f"{names}: valid", "green"))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _around(lines: Sequence[str], problem: Problem) -> tuple[str, int]:
    """The line a problem is about, of a long one the part around the place; and how far in the place stands."""
    line = lines[problem.line - 1] if 0 < problem.line <= len(lines) else ""
    start = max(0, problem.column - LONGEST_LINE * 3 // 4)
    cut = "…" if start else ""
    before = cut + line[start : problem.column - 1].replace("\t", " ")
    after = line[max(start, problem.column - 1) : start + LONGEST_LINE].replace("\t", " ")
    return before + after, cell_len(visible(before))


def decision(told: Mapping[str, Any]) -> None:
    """A decision as a tree: the choice, what the rules said, who was considered, what was tried."""
    tree = Tree(Text(f"{told['model']}  ", "bold green").append(f"by {_decider(told)}", "bold"))
    tree.add(Text(f"because {told['reason']}"))
    if told["id"]:
        tree.add(Text(f"decision {told['id']}, policy {told['policy']} at {told['snapshot']}", "dim"))
    if len(told["targets"]) > 1:
        tree.add(Text("if it fails: " + ", then ".join(told["targets"][1:])))
    rules = tree.add(Text("rules", "bold"))
    for step in told["trace"]:
        _step(rules, step)
    considered = tree.add(Text("models considered", "bold"))
    for candidate in told["candidates"]:
        _candidate(considered, candidate)
    features = tree.add(Text("features", "bold"))
    features.add(
        Text(", ".join(f"{name}={_short(value)}" for name, value in told["features"].items()), "dim")
    )
    if told["hints"]:
        tree.add(
            Text("hints: " + ", ".join(f"{name}={_short(value)}" for name, value in told["hints"].items()))
        )
    _outcome(tree, told)
    _wide().print(tree)


def why_not(told: Mapping[str, Any]) -> None:
    """What stood in a model's way, and which rules would have led to it."""
    asked = told["why_not"]
    tree = Tree(Text(f"{asked['sentence']}", "bold"))
    if asked["because"] != "none":
        tree.add(Text(f"{told['model']} was chosen by {_decider(told)}", "green"))
    if asked["ways"]:
        ways = tree.add(Text(f"rules that lead to {asked['model']}", "bold"))
        for way in asked["ways"]:
            mark, colour = MARKS[way["result"]]
            line = Text(f"{mark} ", colour).append(way["rule"], colour).append(f" says {way['says']}", "dim")
            branch = ways.add(line)
            branch.add(Text(f"{_short_text(way['condition'])}: {_outcome_of(way)}", "dim"))
    elif asked["because"] != "none" and told["id"]:
        tree.add(Text(f"the whole decision: weave-engine explain {told['id']}", "dim"))
    _wide().print(tree)


def _outcome_of(way: Mapping[str, Any]) -> str:
    match way["result"]:
        case "passed":
            return "does not hold"
        case "matched":
            return "holds"
        case _:
            return str(way["detail"])


def _short_text(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 120 else line[:119] + "…"


def _step(rules: Tree, step: Mapping[str, Any]) -> None:
    mark, colour = MARKS[step["result"]]
    line = Text(f"{mark} ", colour).append(f"{step['kind']} ", "dim").append(step["name"], colour)
    if step["detail"]:
        line.append(f"  {step['detail']}", "dim")
    branch = rules.add(line)
    for expression, value in step["values"].items():
        branch.add(Text(f"{expression} = {_short(value)}", "dim"))


def _candidate(considered: Tree, candidate: Mapping[str, Any]) -> None:
    line = Text("✔ " if candidate["chosen"] else "  ", "green").append(
        candidate["model"], "bold" if candidate["chosen"] else ""
    )
    if candidate["confidence"] is not None:
        line.append(f"  confidence {candidate['confidence']:.3f} from {candidate['samples']:g} samples")
    if candidate["expected_cost_usd"] is not None:
        line.append(f"  ${candidate['expected_cost_usd']:.5f}")
    considered.add(line.append(f"  {candidate['why']}", "dim"))


def _outcome(tree: Tree, told: Mapping[str, Any]) -> None:
    for attempt in told["tried"]:
        fault = attempt["fault"]
        ending = f"failed: {fault['kind']}, {fault['message']}" if fault else "served"
        tree.add(
            Text(
                f"attempt {attempt['number']}: {attempt['model']} at {attempt['endpoint']} {ending}",
                "red" if fault else "green",
            )
        )
    result = told["result"]
    if result is None:
        return
    usage = result["usage"]
    tree.add(
        Text(
            f"result: status {result['status']}, {usage['input_tokens']} tokens in, {usage['output_tokens']} out, "
            f"${result['cost_usd']:.5f}, {result['seconds']:.2f} s"
        )
    )
    if result.get("dropped"):
        lost = tree.add(Text("what did not come through as it was", "bold"))
        for loss in result["dropped"]:
            colour = "yellow" if loss["fate"] == "converted" else "red"
            line = Text(f"{loss['fate']} ", colour).append(_short_text(loss["path"]))
            lost.add(line.append(f"  {_short_text(loss['why'])}", "dim"))


def _decider(told: Mapping[str, Any]) -> str:
    return " ".join(dict.fromkeys((told["source"], told["rule"])))


def _short(value: Any) -> str:
    """A value as policies write it."""
    text = (
        str(value).lower()
        if isinstance(value, bool)
        else repr(value)
        if isinstance(value, str)
        else f"{value}"
    )
    return text if len(text) <= 80 else text[:77] + "…"


def table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Sequence[int] = (),
    *,
    whole: bool = False,
) -> None:
    """`right` are columns whose cells stand at the right. A `whole` table has names to copy in it: nothing is cut
    short, and a narrow terminal breaks its lines."""
    shown = Table(
        title=Text(title, "bold"), title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )
    for index, column in enumerate(columns):
        shown.add_column(Text(column, "dim"), justify="right" if index in right else "left")
    for row in rows:
        shown.add_row(*(Text(cell) for cell in row))
    width = UNBOUNDED if whole else max(100, _wide().width)
    Console(highlight=False, width=width).print(shown, soft_wrap=whole)


def say(text: str, style: str = "", /) -> None:
    console().print(Text(text, style))


def rule(title: str) -> None:
    """A line across, between what belongs to different times."""
    Console(highlight=False).rule(Text(title, "dim"), align="left")


def tests(runs: Sequence[Mapping[str, Any]]) -> None:
    """Each case by name, what went otherwise, and what of the policies no case has shown."""
    out = console()
    for run in runs:
        out.print(Text(f"{run['policy']}", "bold").append(f"  {run['file']}", "dim"))
        for case in run["cases"]:
            _case(out, case)
        _reached(out, run)
    cases = [case for run in runs for case in run["cases"]]
    failed = sum(not case["passed"] for case in cases)
    short = [problem for run in runs for problem in run["problems"]]
    for problem in short:
        out.print(Text(f"{problem['message']}; {problem['hint']}", "bold red"))
    if failed:
        out.print(Text(f"{_count(len(cases), 'case')}, {failed} failed", "bold red"))
    elif not cases:
        out.print(Text("no cases: write some under tests.cases", "yellow"))
    else:
        out.print(Text(f"{_count(len(cases), 'case')}, all passed", "yellow" if short else "green"))


def _case(out: Console, case: Mapping[str, Any]) -> None:
    out.print(
        Text("  ✔ " if case["passed"] else "  ✘ ", "green" if case["passed"] else "red").append(case["name"])
    )
    for failure in case["failures"]:
        said = failure["message"].removeprefix(f"{case['name']}: ")
        out.print(Text(f"      {said}", "red"))
    if case["failures"]:
        out.print(Text(f"      {case['failures'][0]['hint']}", "dim"))
        out.print(Text(f"      at {case['file']}:{case['line']}", "dim"))


def _reached(out: Console, run: Mapping[str, Any]) -> None:
    for rule in run["rules"]:
        if rule["gap"]:
            out.print(Text(f"  – {rule['kind']} {rule['name']}: {rule['gap']}", "yellow"))
        if rule["errors"]:
            out.print(
                Text(
                    f"  – {rule['kind']} {rule['name']}: no value in {_count(rule['errors'], 'case')}",
                    "yellow",
                )
            )
    if run["rules"]:
        shares = f"rules fired {run['rules_percent']:g} %, conditions seen both ways {run['conditions_percent']:g} %"
        out.print(Text(f"  {shares}", "dim"))


def vocabulary(root: str, about: str, words: Sequence[Mapping[str, Any]]) -> None:
    """The words under a root, as a table: name, type, meaning with the values it can have."""
    say(f"{root}", "bold")
    say(f"  {about}", "dim")
    width = max(len(word["name"]) for word in words)
    for word in words:
        line = Text("  ").append(word["name"].ljust(width), "cyan").append(f"  {word['type']:<6}  ")
        line.append(word["description"])
        if word["values"]:
            shown = ", ".join(value if value else "''" for value in word["values"])
            line.append(f" One of: {shown}.", "dim")
        if not word["always"]:
            line.append(" Ask has() first.", "yellow")
        console().print(line)
    say("")


def simulation(told: Mapping[str, Any]) -> None:
    """What would change: routes, the bill, shares; and what the figures rest on."""
    when = " to ".join(
        time.strftime("%Y-%m-%d %H:%M", time.localtime(told[key])) for key in ("first_at", "last_at")
    )
    say(
        f"{_count(told['requests'], 'request')} decided again by {told['policy']} ({told['snapshot']})",
        "bold",
    )
    if told["requests"]:
        say(f"from {when}; {told['changed']} would go elsewhere", "dim")
    for what in told["not_followed"]:
        say(what, "yellow")
    if told["routes"]:
        _routes(told["routes"])
    tiers = dict.fromkeys((*told["shares_before"], *told["shares_after"]))
    rows = [
        [tier, *(f"{told[key].get(tier, 0.0):.1%}" for key in ("shares_before", "shares_after"))]
        for tier in tiers
    ]
    table("\nWho would serve", ("tier", "before", "after"), rows, right=(1, 2))
    _bill(told)
    for title, key in (("would be refused", "refused"), ("left out", "left_out")):
        for why, count in told[key].items():
            say(f"{_count(count, 'request')} {title}: {why}", "yellow")


def _routes(routes: Sequence[Mapping[str, Any]]) -> None:
    rows = [
        (
            f"{route['count']}",
            route["before"],
            route["after"],
            route["rule_before"],
            route["rule_after"],
            f"{route['usd_before']:.4f}",
            f"{route['usd_after']:.4f}",
            route["examples"][0],
        )
        for route in routes[:MOST_ROUTES]
    ]
    columns = ("requests", "from", "to", "rule", "new rule", "USD", "new USD", "for example")
    table("\nRoutes that change", columns, rows, right=(0, 5, 6), whole=True)
    if len(routes) > MOST_ROUTES:
        say(f"and {len(routes) - MOST_ROUTES} more; --json lists all", "dim")
    say("weave-engine explain ID shows how each came about", "dim")


def _bill(told: Mapping[str, Any]) -> None:
    before, after = told["usd_before"], told["usd_after"]
    change = f" ({(after - before) / before:+.1%})" if before else ""
    say(
        f"\n{_count(told['priced'], 'answered request')}: ${before:.4f} before, ${after:.4f} after{change}",
        "bold",
    )
    say(
        "The bill is recorded usage at the new model's price: the same tokens written, the same cache hits, the same\n"
        "conversation are assumed. Learners believe what they believed then.",
        "dim",
    )
