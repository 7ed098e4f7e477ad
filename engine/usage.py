"""What the command line takes: each command's arguments, their checks, and the words of its help."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from engine import __version__

DESCRIPTION = "A model router for AI coding agents: your policies decide which model serves each request."

EPILOG = """\
examples:
  weave-engine demo                         see it work, without keys or network
  weave-engine serve                        route agents on http://127.0.0.1:8484
  weave-engine validate policies/           check policies, as CI does
  weave-engine test policies/               run their own tests
  weave-engine simulate drafts/             what would these policies have changed?
  weave-engine outcome --decision d018f... --tests-failed 1
  weave-engine learn show                   what do the learners believe?
  weave-engine features                     what can rules ask about?
  weave-engine explain request.json         why would this request go where it goes?
  weave-engine explain d018f...             why did it go there?

To use it, point an agent at the engine:
  ANTHROPIC_BASE_URL=http://127.0.0.1:8484 claude
  OPENAI_BASE_URL=http://127.0.0.1:8484/v1 your-openai-client
"""


def command_line() -> argparse.ArgumentParser:
    """The parser of everything; the command's name is in `command`, None where none was given."""
    parser = argparse.ArgumentParser(
        prog="weave-engine",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"weave-engine {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    _add_serve(commands)
    _add_demo(commands)
    _add_validate(commands)
    _add_test(commands)
    _add_explain(commands)
    _add_simulate(commands)
    _add_outcome(commands)
    _add_learn(commands)
    _add_keys(commands)
    _add_features(commands)
    _add_fmt(commands)
    return parser


if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - it has no public name


def _command(commands: "Commands", name: str, help_text: str, epilog: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help_text,
        description=help_text[0].upper() + help_text[1:] + ".",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def _add_policies(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--policies",
        type=Path,
        metavar="DIR",
        help="folder with *.yaml (default: WEAVE_POLICIES, or ./policies)",
    )
    _add_policy(parser)


def _add_policy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--policy",
        metavar="NAME",
        help="which policy serves, where there are several (default: WEAVE_POLICY)",
    )


def _add_serve(commands: "Commands") -> None:
    parser = _command(
        commands,
        "serve",
        "route agents' requests, following the policies as they change",
        "examples:\n"
        "  ANTHROPIC_API_KEY=... weave-engine serve\n"
        "  weave-engine serve --policies ./policies --port 9000\n"
        "  weave-engine serve --simulate            no keys: answers come from the simulator",
    )
    _add_policies(parser)
    parser.add_argument("--host", help="address to listen on (default: WEAVE_HOST, or 127.0.0.1)")
    parser.add_argument(
        "--port", type=_port, help="port to listen on (default: WEAVE_PORT, or 8484; 0 takes a free one)"
    )
    _add_journal(parser, "where decisions are kept")
    _add_keys_file(parser)
    parser.add_argument(
        "--simulate", action="store_true", help="serve from the built-in simulator, not from providers"
    )
    parser.add_argument(
        "--log",
        choices=("auto", "json", "text"),
        default="auto",
        help="log as JSON lines or as text (auto: text on a terminal)",
    )


def _add_demo(commands: "Commands") -> None:
    parser = _command(
        commands,
        "demo",
        "run a coding agent's session through the engine on simulated providers, and show what happened",
        "examples:\n  weave-engine demo\n  weave-engine demo --json",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")


def _add_validate(commands: "Commands") -> None:
    parser = _command(
        commands,
        "validate",
        "check policies: syntax, meaning, expressions and their own tests",
        "exit codes: 0 fine, 2 usage, 3 invalid, 4 tests failed, 5 coverage short\n\n"
        "examples:\n"
        "  weave-engine validate\n"
        "  weave-engine validate policies/ --watch\n"
        "  weave-engine validate policies/ --format github          annotations in GitHub Actions\n"
        "  weave-engine validate policies/ --format sarif > weave.sarif",
    )
    _add_paths(parser, "folders or files that load together")
    _add_policy(parser)
    parser.add_argument(
        "--format",
        choices=("pretty", "json", "github", "sarif", "junit"),
        default="pretty",
        help="how problems are written",
    )
    parser.add_argument("--watch", action="store_true", help="validate again whenever a file changes")


def _add_paths(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "paths", nargs="*", type=Path, metavar="PATH", help=f"{what} (default: WEAVE_POLICIES, or ./policies)"
    )


def _add_test(commands: "Commands") -> None:
    parser = _command(
        commands,
        "test",
        "run the policies' own tests, and tell what of the policies they reach",
        "A rule counts as covered when a case fires it, a condition when cases find it true and false.\n\n"
        "exit codes: 0 fine, 2 usage, 3 invalid, 4 tests failed, 5 coverage short\n\n"
        "examples:\n"
        "  weave-engine test\n"
        "  weave-engine test policies/ --format junit > weave.xml",
    )
    _add_paths(parser, "folders or files that load together")
    _add_policy(parser)
    parser.add_argument(
        "--format", choices=("pretty", "json", "junit"), default="pretty", help="how the results are written"
    )


def _add_simulate(commands: "Commands") -> None:
    parser = _command(
        commands,
        "simulate",
        "decide past requests again under other policies: what would change, what it would have cost",
        "The bill takes recorded usage at the new model's price; output length and cache hits are assumed to stay.\n\n"
        "examples:\n"
        "  weave-engine simulate drafts/ --journal weave.db\n"
        "  weave-engine simulate drafts/ --table results.csv --warm --plot curve.svg\n"
        "  weave-engine simulate policies/catalog.yaml draft.yaml --limit 500 --json",
    )
    parser.add_argument(
        "paths", nargs="+", type=Path, metavar="POLICIES", help="folders or files that load together"
    )
    _add_policy(parser)
    _add_journal(parser, "the journal with the past")
    parser.add_argument(
        "--limit",
        type=_count,
        default=10_000,
        metavar="N",
        help="only the newest N decisions (default: 10000)",
    )
    parser.add_argument(
        "--table",
        type=Path,
        metavar="FILE",
        help="play a table of outcomes instead of the journal: a CSV with task, family, model, score, cost_usd",
    )
    parser.add_argument(
        "--seeds", type=_count, default=10, metavar="N", help="orders of the tasks (default: 10)"
    )
    parser.add_argument(
        "--verifier-error",
        type=_chance,
        default=0.1,
        metavar="X",
        help="how often a verdict on a step's work is wrong, both ways (default: 0.1)",
    )
    parser.add_argument(
        "--warm", action="store_true", help="in five folds, with the results on the others imported"
    )
    parser.add_argument(
        "--with",
        dest="said",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="what each request of a table says, as in features.tool_count=5",
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write the learning curve, as .svg or .png")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _add_outcome(commands: "Commands") -> None:
    parser = _command(
        commands,
        "outcome",
        "tell a running engine what became of the work, or make a link that lets a CI job tell",
        "examples:\n"
        "  weave-engine outcome --decision d018f3a... --tests-failed 1\n"
        "  weave-engine outcome --session my-session --rating 1\n"
        "  weave-engine outcome --decision d018f3a... --junit report.xml --label ci=main\n"
        "  WEAVE_LINK_SECRET=... weave-engine outcome link --decision d018f3a... --expires 7d",
    )
    parser.add_argument("what", nargs="?", choices=("link",), help="make a signed link instead")
    parser.add_argument("--decision", metavar="ID", default="", help="the decision, as in x-weave-decision")
    parser.add_argument("--session", metavar="NAME", default="", help="the session, as its client names it")
    parser.add_argument("--id", default="", help="a name for this outcome; told twice, it counts once")
    for name in ("--tests-passed", "--tests-failed", "--tool-errors"):
        parser.add_argument(name, type=_some, metavar="N", default=0)
    parser.add_argument(
        "--junit",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="count the tests of a JUnit report",
    )
    parser.add_argument("--rating", type=float, metavar="X", help="what a person thought, from -1 to 1")
    parser.add_argument(
        "--label", action="append", default=[], metavar="NAME=VALUE", help="anything else worth knowing"
    )
    parser.add_argument("--url", default="", help="where the engine is (default: WEAVE_HOST and WEAVE_PORT)")
    parser.add_argument(
        "--expires", type=_period, default="7d", metavar="TIME", help="how long a link is good (default: 7d)"
    )
    parser.add_argument("--json", action="store_true", help="print the engine's answer as JSON")


def _add_learn(commands: "Commands") -> None:
    parser = _command(
        commands,
        "learn",
        "what the learners believe, and why; take it back, or give them a start",
        "examples:\n"
        "  weave-engine learn show\n"
        "  weave-engine learn rollback --to 2026-11-20T12:00 --dry-run\n"
        "  weave-engine learn export > lessons.jsonl\n"
        "  weave-engine learn import results.csv              columns: task, family, model, score, cost_usd\n"
        "  weave-engine learn import old-weave.db --learner new-picker",
    )
    parser.add_argument("what", choices=("show", "rollback", "export", "import"))
    parser.add_argument("file", nargs="?", type=Path, help="what to import: a CSV, an export, or a journal")
    _add_policies(parser)
    _add_journal(parser, "the journal to read and write")
    parser.add_argument("--learner", default="", metavar="NAME", help="only this one")
    parser.add_argument(
        "--to", default="", metavar="WHEN", help="a lesson's number, a time or an outcome's id"
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would change, and change nothing")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _add_keys(commands: "Commands") -> None:
    parser = _command(
        commands,
        "keys",
        "who may ask the engine: make, list, replace and end client keys",
        "A running engine takes changes up within a second. The first key closes it to everybody without one.\n\n"
        "examples:\n"
        "  weave-engine keys add ann --team core --data-class internal\n"
        "  weave-engine keys add ci --team core --expires 90d --no-force\n"
        "  weave-engine keys list\n"
        "  weave-engine keys rotate ann --grace 24h         a new key; the old one works for another day\n"
        "  weave-engine keys revoke wk_0123456789ab         one key by the id that 'keys list' shows, or a name",
    )
    parser.add_argument("what", choices=("add", "list", "rotate", "revoke"))
    parser.add_argument(
        "who", nargs="?", default="", metavar="NAME", help="whose key; a key's id, too, but for add"
    )
    parser.add_argument("--team", metavar="TEAM", help="the team that spend and limits may go by")
    parser.add_argument(
        "--data-class",
        metavar="CLASS",
        help="how confidential the work is, such as public, internal, confidential",
    )
    parser.add_argument(
        "--expires", type=_period, metavar="TIME", help="how long the key is good (default: for good)"
    )
    parser.add_argument(
        "--no-force", action="store_true", help="the key may not force a model with the header x-weave-model"
    )
    parser.add_argument(
        "--grace",
        type=_grace,
        default="24h",
        metavar="TIME",
        help="how long keys that are rotated still work (default: 24h; 0 for not at all)",
    )
    _add_keys_file(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_keys_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--keys",
        metavar="FILE",
        help="where client keys are kept (default: WEAVE_KEYS, or weave-keys.json beside the journal)",
    )


def _add_journal(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--journal", metavar="FILE", help=f"{what} (default: WEAVE_JOURNAL, or weave.db)")


def _add_features(commands: "Commands") -> None:
    parser = _command(
        commands,
        "features",
        "list everything that expressions may read, with types and meaning",
        "examples:\n  weave-engine features\n  weave-engine features token\n  weave-engine features --json",
    )
    parser.add_argument("word", nargs="?", default="", help="only what has this in its name or description")
    parser.add_argument("--json", action="store_true", help="print a JSON list")


def _add_fmt(commands: "Commands") -> None:
    parser = _command(
        commands,
        "fmt",
        "lay out policy files in one way; only white space changes, and comments stay",
        "exit codes: 0 fine, 2 usage, 3 a file cannot be read, or with --check would change\n\n"
        "examples:\n"
        "  weave-engine fmt policies/\n"
        "  weave-engine fmt --check policies/                       as CI does",
    )
    _add_paths(parser, "folders or files")
    parser.add_argument("--check", action="store_true", help="write nothing, tell which files would change")


def _add_explain(commands: "Commands") -> None:
    parser = _command(
        commands,
        "explain",
        "show how a decision comes about: every rule, every value, every model considered",
        "examples:\n"
        "  weave-engine explain request.json\n"
        "  weave-engine explain request.json --header x-weave-task=plan --json\n"
        "  weave-engine explain d018f3a...          a decision in the journal\n"
        "  weave-engine explain d018f3a... --why-not haiku",
    )
    parser.add_argument(
        "subject",
        metavar="REQUEST|DECISION",
        help="a file with a request body (- for standard input), or a decision's id",
    )
    _add_policies(parser)
    _add_journal(parser, "the journal to look in")
    parser.add_argument(
        "--protocol", metavar="NAME", default="", help="the request's protocol (default: told from the body)"
    )
    parser.add_argument(
        "--model",
        metavar="NAME",
        default="",
        help="the model asked for, where it is not in the body (Gemini)",
    )
    parser.add_argument(
        "--header",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a header the client sends; may be given several times",
    )
    parser.add_argument(
        "--why-not",
        metavar="MODEL",
        default="",
        help="tell why this model did not serve, and what would lead to it",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a tree")


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; it takes a number from 0 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} is no count; it takes a whole number from 1")
    return int(text)


def _some(text: str) -> int:
    if not text.isdecimal() or int(text) > 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no count; it takes a whole number, 0 or more")
    return int(text)


def _chance(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no chance; it takes a number from 0 to 1")
    return value


SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def _grace(text: str) -> int:
    return 0 if text == "0" else _period(text)


def _period(text: str) -> int:
    number, unit = text[:-1], text[-1:]
    if not number.isdecimal() or unit not in SECONDS or not 0 < int(number) <= 10_000:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time; it takes a number with s, m, h or d, as in 7d"
        )
    return int(number) * SECONDS[unit]
