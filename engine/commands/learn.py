"""`weave-engine learn`: what the learners believe and why, taken back, carried elsewhere, or given a start.

Everything here reads and writes the journal; a running engine on the same journal follows within a second. A rollback
is an event like any other: the next start folds to the same state.
"""

import asyncio
import hashlib
import json as plain_json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from engine import wire
from engine.commands import terminal
from engine.commands.teaching import Teaching, from_csv, from_export, from_journal, is_journal
from engine.core.catalog import Catalog
from engine.core.decision import Lesson, Outcome, Withdrawal
from engine.core.errors import RequestError
from engine.core.policy import Learner
from engine.core.ports import Option, Task
from engine.learning.state import State
from engine.routing.eligible import Pool
from engine.routing.targets import named
from engine.server.journal import Journal
from engine.server.learner import Learners, fold_standing
from engine.server.precedence import LATE_SECONDS
from engine.server.reload import load_from
from engine.server.telling import plain
from engine.server.withdrawals import Withdrawn, withdrawn
from engine.settings import Settings
from engine.snapshot import Snapshot

# The tasks that a learner waits to hear of, each with when it last had a turn, and whether anybody told.
AWAITED = """
WITH tasks AS (
    SELECT learner, at, session,
        CASE WHEN session = '' OR task = 0 OR source IN ('guard', 'forced') THEN id
             ELSE session || '/' || task END AS subject
    FROM decisions WHERE learner <> ''
)
SELECT learner, max(at), EXISTS (
    SELECT 1 FROM outcomes WHERE outcomes.subject IN (tasks.subject, tasks.session) AND outcomes.subject <> ''
) FROM tasks GROUP BY learner, subject
"""


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in the journal: so many lessons, so many withdrawals."""

    lessons: int
    withdrawals: int


@dataclass(slots=True)
class _Seen:
    """What was told of a model on a kind of task. `scored` counts what `score` sums."""

    tasks: float = 0.0
    scored: float = 0.0
    score: float = 0.0
    rejected: float = 0.0


def show(settings: Settings, learner: str = "", *, json: bool = False) -> int:
    """Prints what is believed of each model on each kind of task, and what the outcomes were like."""
    snapshot = load_from(settings.policies, settings.policy)()
    told = asyncio.run(_show(settings.journal, snapshot, learner))
    if json:
        print(wire.dumps(told).decode())
    else:
        _print_beliefs(told["beliefs"])
        _print_outcomes(told)
    return 0


async def _show(path: str, snapshot: Snapshot, only: str) -> dict[str, Any]:
    async with _journal(path) as journal:
        lessons, every = await journal.lessons(), await journal.withdrawals()
        gone = withdrawn(every)
        state = (await Learners.from_journal(journal)).to_json()
        return {
            "lessons": len(lessons),
            "withdrawn": len(gone),
            "state": _digest(state),
            "beliefs": _beliefs(lessons, gone, snapshot, only),
            "outcomes": _outcomes(await journal.told()),
            "tasks": _tasks(await journal.rows(AWAITED), time.time(), only),
            "rollbacks": [plain(one) for one in every if one.why.startswith("rolled back")],
        }


def rollback(settings: Settings, to: str, *, dry_run: bool = False, json: bool = False) -> int:
    """The learners' state becomes what it was at that point. Raises RequestError where there is no such point."""
    if not to:
        raise RequestError(
            "say where to: --to a lesson's number, a time such as 2026-11-20T12:00, or an outcome's id"
        )
    snapshot = load_from(settings.policies, settings.policy)()
    told = asyncio.run(_rollback(settings.journal, snapshot, to, dry_run))
    if json:
        print(wire.dumps(told).decode())
        return 0
    count = f"{told['withdrawn']} of {told['lessons']} lessons"
    what = "would no longer count" if dry_run else "no longer count"
    terminal.say(
        f"back to {told['to']}: {count} {what}, {told['restored']} would again"
        if dry_run
        else f"back to {told['to']}: {count} {what}, {told['restored']} do again",
        "bold",
    )
    _print_changes(told["changes"])
    return 0


async def _rollback(path: str, snapshot: Snapshot, to: str, dry_run: bool) -> dict[str, Any]:
    async with _journal(path, writes=not dry_run) as journal:
        lessons, every = await journal.lessons(), await journal.withdrawals()
        moment = await _moment(journal, to, lessons, every)
        now, why = time.time(), f"rolled back to {to}"
        back = Withdrawal(now, moment.lessons + 1, len(lessons), len(lessons), moment.withdrawals, why)
        before, after = withdrawn(every), withdrawn([*every, back])
        if not dry_run:
            await journal.roll_back(moment.lessons, moment.withdrawals, now, why)
        return {
            "to": to,
            "lessons": len(lessons),
            "withdrawn": len(set(after) - set(before)),
            "restored": len(set(before) - set(after)),
            "dry_run": dry_run,
            "changes": _changes(
                _beliefs(lessons, before, snapshot, ""), _beliefs(lessons, after, snapshot, "")
            ),
        }


async def _moment(
    journal: Journal, to: str, lessons: Sequence[Lesson], every: Sequence[Withdrawal]
) -> Moment:
    outcome: Outcome | None = await journal.outcome(to)
    if outcome is not None:
        taught = [number for number, lesson in enumerate(lessons, start=1) if lesson.outcome == to]
        return _at_lesson(taught[-1], lessons, every) if taught else _at_time(outcome.at, lessons, every)
    if to.isdecimal():
        if int(to) > len(lessons):
            raise RequestError(f"there are {len(lessons)} lessons; --to takes a number up to that")
        return _at_lesson(int(to), lessons, every)
    try:
        return _at_time(datetime.fromisoformat(to).timestamp(), lessons, every)
    except ValueError as error:
        raise RequestError(
            f"{to!r} is no lesson's number, no time (such as 2026-11-20T12:00) and no outcome's id in the journal"
        ) from error


def _at_lesson(number: int, lessons: Sequence[Lesson], every: Sequence[Withdrawal]) -> Moment:
    """When it was told, with what its own outcome withdrew, and before anything that came later."""
    own = f"outranked by {lessons[number - 1].outcome}" if number else ""
    return Moment(
        number, sum(one.after < number or (one.after == number and one.why == own) for one in every)
    )


def _at_time(at: float, lessons: Sequence[Lesson], every: Sequence[Withdrawal]) -> Moment:
    known = max((number for number, lesson in enumerate(lessons, start=1) if lesson.at <= at), default=0)
    return Moment(known, sum(one.at <= at for one in every))


def export(settings: Settings, learner: str = "") -> int:
    """Prints the lessons that count, one JSON object a line."""

    async def read() -> list[Lesson]:
        async with _journal(settings.journal) as journal:
            lessons, gone = await journal.lessons(), withdrawn(await journal.withdrawals())
            return [one for number, one in enumerate(lessons, start=1) if number not in gone]

    for lesson in asyncio.run(read()):
        if learner in ("", lesson.learner):
            print(wire.dumps(plain(lesson)).decode())
    return 0


def take(
    settings: Settings, file: Path | None, learner: str = "", *, dry_run: bool = False, json: bool = False
) -> int:
    """Lessons from elsewhere: a table of results, an export, or a journal whose outcomes are told again to the
    learners of the policies as they are now."""
    if file is None:
        raise RequestError("say what to import: a CSV with results, an export of lessons, or a journal")
    snapshot = load_from(settings.policies, settings.policy)()
    told = asyncio.run(_take(settings.journal, file, snapshot, learner, dry_run))
    if json:
        print(wire.dumps(told).decode())
        return 0
    if told["repeated"]:
        terminal.say(f"{file} was imported already as {told['id']}; nothing changes", "yellow")
        return 0
    what = "would teach" if dry_run else "teaches"
    terminal.say(f"{file} {what} {told['lessons']} lessons, as outcome {told['id']}", "bold")
    for remark in told["remarks"]:
        terminal.say(remark, "yellow")
    _print_changes(told["changes"])
    return 0


async def _take(path: str, file: Path, snapshot: Snapshot, learner: str, dry_run: bool) -> dict[str, Any]:
    teaching = await _teaching(file, snapshot, learner)
    if not teaching.lessons:
        raise RequestError(f"{file} teaches nothing; {'; '.join(teaching.remarks) or 'no outcome counts'}")
    now = time.time()
    id = f"import-{_digest([plain(replace(one, at=0.0)) for one in teaching.lessons])}"
    new = [replace(lesson, outcome=id, at=now) for lesson in teaching.lessons]
    async with _journal(path, writes=not dry_run, makes=True) as journal:
        lessons, gone = await journal.lessons(), withdrawn(await journal.withdrawals())
        known = await journal.outcome(id)
        if known is None and not dry_run:
            about = Outcome(id, now, source="imported", labels={"file": file.name[:200]})
            await journal.record_outcome(about, new)
        before = _beliefs(lessons, gone, snapshot, "")
        after = before if known else _beliefs([*lessons, *new], gone, snapshot, "")
        return {
            "id": id,
            "lessons": len(new),
            "repeated": known is not None,
            "dry_run": dry_run,
            "remarks": list(teaching.remarks),
            "changes": _changes(before, after),
        }


async def _teaching(file: Path, snapshot: Snapshot, learner: str) -> Teaching:
    if is_journal(file):
        async with _journal(str(file)) as journal:
            return await from_journal(journal, snapshot, learner)
    if file.suffix.lower() in (".csv", ".tsv"):
        return from_csv(file, snapshot, learner)
    return from_export(file, learner)


@asynccontextmanager
async def _journal(path: str, writes: bool = False, makes: bool = False) -> AsyncIterator[Journal]:
    if not Path(path).exists() and not (writes and makes):
        if makes:
            path = ":memory:"
        else:
            raise RequestError(f"there is no journal {path}; name one with --journal, or let serve write one")
    journal = await Journal.open(path, read_only=not writes)
    try:
        yield journal
    finally:
        await journal.close()


# -- what is believed ------------------------------------------------------------------------------------------------


def _beliefs(
    lessons: Sequence[Lesson], gone: Withdrawn, snapshot: Snapshot, only: str
) -> list[dict[str, Any]]:
    """A line for each learner, kind of task and model that was told of, in this order."""
    learners = {name: one for policy in snapshot.policies.values() for name, one in policy.learners.items()}
    state = State()
    state.prepare(learners.values())
    fold_standing(state, lessons, gone)
    seen: dict[tuple[str, str], dict[str, _Seen]] = {}
    for number, lesson in enumerate(lessons, start=1):
        if number not in gone and only in ("", lesson.learner):
            _count(seen.setdefault((lesson.learner, lesson.signature), {}), lesson)
    rows: list[dict[str, Any]] = []
    for (name, signature), models in sorted(seen.items()):
        rows += _of_kind(state, learners.get(name), name, signature, models, snapshot.catalog)
    return rows


def _count(models: dict[str, _Seen], lesson: Lesson) -> None:
    for at, step in enumerate(lesson.steps, start=1):
        model = models.setdefault(step.model, _Seen())
        model.tasks += lesson.weight
        model.rejected += lesson.weight * (step.accepted is False)
        score = step.score if step.score is not None else lesson.score if at == len(lesson.steps) else None
        if score is not None:
            model.scored += lesson.weight
            model.score += lesson.weight * score


def _of_kind(
    state: State,
    learner: Learner | None,
    name: str,
    signature: str,
    models: Mapping[str, _Seen],
    catalog: Catalog,
) -> Iterable[dict[str, Any]]:
    against = ""
    beliefs: Sequence[Any] = [None] * len(models)
    if learner is not None:
        against = named(learner.against, None, Pool(tuple(catalog.models.values()), {}), catalog).name
        task = Task(tuple(signature.split("/")) if signature else ())
        options = [Option(model, (model,)) for model in models]
        beliefs = state.beliefs(learner, task, options, Option(against, (against,)))
    for (model, seen), belief in zip(models.items(), beliefs, strict=True):
        yield {
            "learner": name,
            "signature": signature,
            "model": model,
            "tasks": seen.tasks,
            "success": seen.score / seen.scored if seen.scored else None,
            "rejected": seen.rejected,
            "samples": belief.samples if belief else None,
            "quality": belief.quality if belief else None,
            "confidence": belief.confidence if belief else None,
            "against": against,
            "cost_usd": belief.cost_usd if belief else None,
        }


def _changes(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    key = ("learner", "signature", "model")
    was = {tuple(row[name] for name in key): row for row in before}
    now = {tuple(row[name] for name in key): row for row in after}
    shown = ("tasks", "success", "confidence")
    return [
        dict(zip(key, which, strict=True))
        | {name: [(was.get(which) or {}).get(name), (now.get(which) or {}).get(name)] for name in shown}
        for which in sorted(was.keys() | now.keys())
        if was.get(which) != now.get(which)
    ]


def _outcomes(told: Sequence[Outcome]) -> dict[str, int]:
    found = Counter({"told": 0, "late": 0, "contradicting": 0, "outranked": 0, "without worth": 0})
    for outcome in told:
        found["told" if outcome.source == "told" else f"from {outcome.source}"] += 1
        found["late"] += any(remark.startswith("late") for remark in outcome.remarks)
        found["contradicting"] += any(remark.startswith("contradicts") for remark in outcome.remarks)
        found["outranked"] += any(remark.startswith("outranked") for remark in outcome.remarks)
        found["without worth"] += any(remark.startswith("no rule") for remark in outcome.remarks)
    return dict(found)


def _tasks(rows: Iterable[tuple[Any, ...]], now: float, only: str) -> dict[str, dict[str, int]]:
    """By learner: tasks whose outcome was told, is awaited, and will be missing: too late to count."""
    found: dict[str, dict[str, int]] = {}
    for learner, at, told in rows:
        if only in ("", learner):
            counts = found.setdefault(learner, {"told": 0, "awaited": 0, "missing": 0})
            counts["told" if told else "awaited" if now - at <= LATE_SECONDS else "missing"] += 1
    return found


def _digest(value: Any) -> str:
    """Equal values have equal ones."""
    text = plain_json.dumps(value, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


# -- for people ------------------------------------------------------------------------------------------------------


def _print_beliefs(rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        terminal.say(
            "no learner was told anything yet; weave-engine outcome tells, learn import gives a start"
        )
        return
    shown = [
        (
            row["learner"],
            row["signature"] or "every task",
            row["model"],
            f"{row['tasks']:.1f}",
            _share(row["success"]),
            f"{row['rejected']:.1f}",
            _share(row["quality"]),
            _share(row["confidence"]),
            "" if row["cost_usd"] is None else f"{row['cost_usd']:.4f}",
        )
        for row in rows
    ]
    columns = (
        "learner",
        "kind of task",
        "model",
        "tasks",
        "success",
        "rejected",
        "expected",
        "confidence",
        "USD",
    )
    terminal.table("What the learners believe", columns, shown, right=(3, 4, 5, 6, 7, 8), whole=True)
    names = ", ".join(sorted({row["against"] for row in rows if row["against"]}))
    terminal.say(f"confidence: that it is not worse than {names or 'what it is compared with'}", "dim")


def _print_outcomes(told: Mapping[str, Any]) -> None:
    counts = ", ".join(f"{count} {name}" for name, count in told["outcomes"].items() if count)
    terminal.say(f"\noutcomes: {counts or 'none'}")
    terminal.say(
        f"lessons: {told['lessons']}, of which {told['withdrawn']} are withdrawn; state {told['state']}"
    )
    for learner, tasks in told["tasks"].items():
        says = ", ".join(f"{count} {name}" for name, count in tasks.items())
        terminal.say(f"tasks for {learner}: {says}", "yellow" if tasks["missing"] > tasks["told"] else "")
    for one in told["rollbacks"]:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(one["at"]))
        terminal.say(f"{when}  {one['why']}", "dim")


def _print_changes(changes: Sequence[Mapping[str, Any]]) -> None:
    if not changes:
        terminal.say("no belief changes")
        return
    rows = [
        (
            row["learner"],
            row["signature"] or "every task",
            row["model"],
            " → ".join(f"{number or 0.0:.1f}" for number in row["tasks"]),
            " → ".join(_share(number) for number in row["success"]),
            " → ".join(_share(number) for number in row["confidence"]),
        )
        for row in changes
    ]
    columns = ("learner", "kind of task", "model", "tasks", "success", "confidence")
    terminal.table("What changes", columns, rows, right=(3, 4, 5), whole=True)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
