"""The command line: `weave-engine` and its commands; each lives in a file of its own under `commands/`.

Exit codes: 0 fine, 1 an error of ours, 2 the command was called wrongly, 3 the policies do not hold,
4 a policy's own tests fail, 5 its tests cover too little.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from engine.commands.visible import visible
from engine.core.errors import InvalidDocumentsError, WeaveError
from engine.settings import Settings, SettingsError, from_environment
from engine.usage import command_line


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command_line()
    chosen = parser.parse_args(arguments)
    if chosen.command is None:
        parser.print_help()
        return 2
    try:
        return COMMANDS[chosen.command](chosen, _settings(chosen))
    except SettingsError as error:
        return _complain(str(error), 2)
    except InvalidDocumentsError as error:
        for problem in error.problems:
            print(visible(str(problem)), file=sys.stderr)
        return 3
    except WeaveError as error:
        return _complain(error.fault.message, 1 if error.fault.kind == "server_error" else 2)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has seen enough; say nothing more, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _complain(f"{where}{error.strerror or error}", 1)


def _complain(message: str, code: int) -> int:
    print(f"weave-engine: {visible(message)}", file=sys.stderr)
    return code


def _said(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`features.tool_count=5` as inputs: values are numbers and truth values where they look like them."""
    from engine import wire

    said: dict[str, dict[str, Any]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        root, dot, word = name.partition(".")
        if root not in ("features", "hints", "identity") or not (dot and word and equals):
            raise SettingsError(
                f"--with {text}: it takes features, hints or identity, as in features.tool_count=5"
            )
        try:
            said.setdefault(root, {})[word] = wire.loads(value)
        except ValueError:
            said.setdefault(root, {})[word] = value
    return said


def _settings(chosen: argparse.Namespace) -> Settings:
    settings = from_environment(os.environ)
    given = {
        name: value
        for name in ("host", "port", "policies", "policy", "journal", "keys", "simulate")
        if (value := getattr(chosen, name, None)) is not None
    }
    log = getattr(chosen, "log", "auto")
    return replace(settings, **given, log_json={"auto": None, "json": True, "text": False}[log])


# Each command is imported when it is run: `validate` should not wait for a server's imports.


def _serve(_chosen: argparse.Namespace, settings: Settings) -> int:
    from engine.app import event_loop
    from engine.commands.serve import serve

    try:
        with asyncio.Runner(loop_factory=event_loop) as runner:
            return runner.run(serve(settings, os.environ))
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", "") or str(error)
        return _complain(
            f"cannot listen on {settings.host}:{settings.port}: {why}; choose another with --port", 1
        )


def _demo(chosen: argparse.Namespace, _settings: Settings) -> int:
    from engine.commands.demo import demo

    return asyncio.run(demo(as_json=chosen.json))


def _validate(chosen: argparse.Namespace, settings: Settings) -> int:
    from engine.commands.validate import validate, watch

    check = watch if chosen.watch else validate
    return check(chosen.paths or [settings.policies], chosen.format, settings.policy)


def _explain(chosen: argparse.Namespace, settings: Settings) -> int:
    from engine.commands.explain import explain

    return explain(
        chosen.subject,
        chosen.header,
        settings,
        protocol=chosen.protocol,
        model=chosen.model,
        json=chosen.json,
        instead=chosen.why_not,
    )


def _test(chosen: argparse.Namespace, settings: Settings) -> int:
    from engine.commands.testing import run_tests

    return run_tests(chosen.paths or [settings.policies], chosen.format, settings.policy)


def _simulate(chosen: argparse.Namespace, settings: Settings) -> int:
    from engine.commands.simulate import draft, simulate

    if chosen.table is not None:
        from engine.commands.tables import Setting, simulate_table

        setting = Setting(chosen.seeds, chosen.verifier_error, chosen.warm, _said(chosen.said))
        snapshot = draft(chosen.paths, settings.policy)
        return simulate_table(snapshot, chosen.table, setting, json=chosen.json, plot=chosen.plot)
    return simulate(chosen.paths, settings.journal, settings.policy, limit=chosen.limit, json=chosen.json)


def _outcome(chosen: argparse.Namespace, settings: Settings) -> int:
    from engine.commands.outcome import UnreachableError, counted, link, outcome

    url = chosen.url or f"http://{settings.host}:{settings.port}"
    if chosen.what == "link":
        return link(url, chosen.decision, chosen.session, chosen.expires)
    told = {
        "id": chosen.id,
        "decision": chosen.decision,
        "session": chosen.session,
        "tests_passed": chosen.tests_passed,
        "tests_failed": chosen.tests_failed,
        "tool_errors": chosen.tool_errors,
        "labels": dict(label.partition("=")[::2] for label in chosen.label),
    }
    if chosen.rating is not None:
        told["rating"] = chosen.rating
    for name, number in counted(chosen.junit).items():
        told[name] += number
    try:
        return outcome(url, {name: value for name, value in told.items() if value != ""}, json=chosen.json)
    except UnreachableError as error:
        return _complain(error.fault.message, 1)


def _learn(chosen: argparse.Namespace, settings: Settings) -> int:
    from engine.commands import learn

    match chosen.what:
        case "show":
            return learn.show(settings, chosen.learner, json=chosen.json)
        case "rollback":
            return learn.rollback(settings, chosen.to, dry_run=chosen.dry_run, json=chosen.json)
        case "export":
            return learn.export(settings, chosen.learner)
        case _:
            return learn.take(settings, chosen.file, chosen.learner, dry_run=chosen.dry_run, json=chosen.json)


def _keys(chosen: argparse.Namespace, settings: Settings) -> int:
    from engine.commands import keys

    if chosen.what != "list" and not chosen.who:
        return _complain(f"keys {chosen.what}: say whose key, as in 'weave-engine keys {chosen.what} ann'", 2)
    match chosen.what:
        case "add":
            return keys.add(
                settings,
                chosen.who,
                chosen.team,
                chosen.data_class,
                chosen.expires,
                may_force=not chosen.no_force,
                json=chosen.json,
            )
        case "rotate":
            return keys.rotate(settings, chosen.who, chosen.grace, json=chosen.json)
        case "revoke":
            return keys.revoke(settings, chosen.who)
        case _:
            return keys.show(settings, json=chosen.json)


def _features(chosen: argparse.Namespace, _settings: Settings) -> int:
    from engine.commands.features import features

    return features(chosen.word, json=chosen.json)


def _fmt(chosen: argparse.Namespace, settings: Settings) -> int:
    from engine.commands.fmt import fmt

    return fmt(chosen.paths or [settings.policies], check_only=chosen.check)


COMMANDS: Mapping[str, Callable[[argparse.Namespace, Settings], int]] = {
    "serve": _serve,
    "demo": _demo,
    "validate": _validate,
    "test": _test,
    "explain": _explain,
    "simulate": _simulate,
    "outcome": _outcome,
    "learn": _learn,
    "keys": _keys,
    "features": _features,
    "fmt": _fmt,
}


if __name__ == "__main__":
    sys.exit(main())
