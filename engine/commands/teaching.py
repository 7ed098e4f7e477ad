"""Lessons from elsewhere: public tables of results, exports of other engines, and journals under other learners."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from engine import wire
from engine.choice import signature_of, task_of
from engine.commands.simulate import facts_of, missing_features
from engine.core.decision import Decision, Lesson, Outcome, StepRun
from engine.core.errors import RequestError, WeaveError
from engine.core.policy import Learner
from engine.learning.reward import lessons as lessons_of
from engine.server.journal import Journal
from engine.server.outcomes import decisions_about, worth_of
from engine.server.precedence import root, settle, subject_of
from engine.snapshot import Snapshot

SQLITE = b"SQLite format 3\0"
COLUMNS = ("task", "model", "score")
WIDE = " score"
MOST_COMPLAINTS = 5
WORDS = {"true": "1", "false": "0"}  # how tables say solved


@dataclass(frozen=True, slots=True)
class Teaching:
    """What a file teaches, in order; `remarks` tell what was left out."""

    lessons: tuple[Lesson, ...]
    remarks: tuple[str, ...] = ()


def is_journal(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(SQLITE)) == SQLITE


# -- a table of results


@dataclass(slots=True)
class _Results:
    """What a table says of one task. Several trials of a model are averaged."""

    signature: str
    scores: dict[str, list[float]] = field(default_factory=dict)
    costs: dict[str, list[float]] = field(default_factory=dict)


def from_csv(path: Path, snapshot: Snapshot, name: str) -> Teaching:
    """Columns task, model, score (0 to 1), and if there are any: family or signature, cost_usd. One lesson for each
    task, with what each model came to on it. Raises RequestError with what is wrong, by line."""
    learner = _learner(snapshot, name)
    tasks: dict[str, _Results] = {}
    unknown: dict[str, int] = {}
    for row in read_results(path):
        model = snapshot.catalog.resolve(row.model)
        if model is None:
            unknown[row.model] = unknown.get(row.model, 0) + 1
            continue
        results = tasks.setdefault(row.task, _Results(row.signature))
        results.scores.setdefault(model.name, []).append(row.score)
        if row.cost_usd is not None:
            results.costs.setdefault(model.name, []).append(row.cost_usd)
    deepest = max((len(results.signature.split("/")) for results in tasks.values()), default=0)
    if deepest > len(learner.signature):
        raise RequestError(
            f"{path}: signatures of {deepest} parts, and {learner.name} has {len(learner.signature)}"
        )
    remarks = [
        f"no model {model!r} in the catalog: {count} rows left out" for model, count in unknown.items()
    ]
    return Teaching(tuple(_lesson(learner.name, results) for results in tasks.values()), tuple(remarks))


def _lesson(learner: str, results: _Results) -> Lesson:
    steps = tuple(
        StepRun(
            model,
            1.0 / len(results.scores),
            _mean(costs) if (costs := results.costs.get(model)) else None,
            score=_mean(scores),
        )
        for model, scores in results.scores.items()
    )
    return Lesson("", 0.0, learner, results.signature, steps, None)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


@dataclass(frozen=True, slots=True)
class Row:
    """What a table of results says of a model on a task."""

    task: str
    signature: str
    model: str
    score: float
    cost_usd: float | None


def read_results(path: Path) -> list[Row]:
    """A line for each task and model (columns `model`, `score`), or for each task (`<model> score` for each). Raises
    RequestError with what is wrong, by line."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        columns = reader.fieldnames or ()
        models = [column.removesuffix(WIDE) for column in columns if column.endswith(WIDE)]
        lacking = [column for column in COLUMNS[: 1 if models else None] if column not in columns]
        if lacking:
            takes = f"it takes {', '.join(COLUMNS)}, and family and cost_usd where there are any"
            raise RequestError(f"{path}:1: no column {lacking[0]!r}; {takes}")
        rows, complaints = list[Row](), list[str]()
        for told in reader:
            try:
                rows += [_row(one) for one in (_unfolded(told, models) if models else (told,))]
            except ValueError as error:
                complaints.append(f"{path}:{reader.line_num}: {error}")
    if complaints:
        more = len(complaints) - MOST_COMPLAINTS
        rest = [f"and {more} more"] if more > 0 else []
        raise RequestError("\n".join([*complaints[:MOST_COMPLAINTS], *rest]))
    return rows


def _unfolded(told: Mapping[str, str | None], models: Sequence[str]) -> list[Mapping[str, str | None]]:
    """A line that speaks of all models as a line for each that has a score."""
    return [
        {**told, "model": model, "score": told[f"{model}{WIDE}"], "cost_usd": told.get(f"{model} cost_usd")}
        for model in models
        if told[f"{model}{WIDE}"]
    ]


def _row(told: Mapping[str, str | None]) -> Row:
    task, model = told["task"], told["model"]
    if not task or not model:
        raise ValueError("task and model are not empty")
    cost = told.get("cost_usd")
    return Row(
        task,
        told.get("signature") or (told.get("family") or "").replace("/", "|"),
        model,
        _number(told["score"], "score", 1.0),
        _number(cost, "cost_usd", float("inf")) if cost else None,
    )


def _number(text: str | None, name: str, most: float) -> float:
    try:
        value = float(WORDS.get((text or "").lower(), text or ""))
    except ValueError:
        value = float("nan")
    if not 0 <= value <= most:
        limit = f"from 0 to {most:g}" if most < float("inf") else "of 0 or more"
        raise ValueError(f"{name} is a number {limit}, not {text!r}")
    return value


def _learner(snapshot: Snapshot, name: str) -> Learner:
    learners = snapshot.policy.learners
    if name in learners:
        return learners[name]
    known = ", ".join(learners) or "none"
    if name:
        raise RequestError(f"{snapshot.policy.name} has no learner {name!r}; it has {known}")
    if len(learners) != 1:
        raise RequestError(f"say which learner with --learner; {snapshot.policy.name} has {known}")
    return next(iter(learners.values()))


# -- an export


def from_export(path: Path, name: str) -> Teaching:
    """Raises RequestError for a line that is no lesson."""
    lessons = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                lesson = _exported(wire.loads(line))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise RequestError(f"{path}:{number}: no lesson as 'learn export' writes it") from error
            if name in ("", lesson.learner):
                lessons.append(lesson)
    return Teaching(tuple(lessons))


def _exported(told: Mapping[str, Any]) -> Lesson:
    steps = tuple(
        StepRun(**{one.name: step[one.name] for one in fields(StepRun) if one.name in step})
        for step in told["steps"]
    )
    known = {one.name: told[one.name] for one in fields(Lesson) if one.name in told}
    lesson = Lesson(**{**known, "steps": steps, "grams": tuple(told.get("grams", ()))})
    if not steps or not all(isinstance(told[name], str) for name in ("learner", "signature")):
        raise ValueError("a lesson has steps, a learner and a signature")
    return lesson


# -- a journal


async def from_journal(journal: Journal, snapshot: Snapshot, name: str) -> Teaching:
    """What the outcomes of a journal teach the learners of these policies: each decision is judged again, for the
    learner it would ask and the kind of task it would be, each outcome valued again. What was outranked stays so."""
    if name:
        _learner(snapshot, name)
    kept: dict[str, tuple[Lesson, ...]] = {}
    earlier: dict[str, list[Outcome]] = {}
    lost = 0
    for outcome in await journal.told():
        if outcome.source == "imported":
            kept[outcome.id] = tuple(
                lesson
                for lesson in await journal.lessons_of(outcome.id)
                if lesson.learner in snapshot.policy.learners
            )
            continue
        try:
            decisions = await decisions_about(journal, outcome, snapshot.policy.pinning.key)
        except WeaveError:
            lost += 1
            continue
        again = [
            one for one in [await _again(journal, one, snapshot) for one in decisions] if one is not None
        ]
        subject = subject_of(decisions, bool(outcome.session))
        outcome = replace(
            outcome,
            subject=subject,
            work_at=max(one.at for one in decisions),
            worth=worth_of(snapshot.policy, outcome),
            remarks=(),
        )
        told = earlier.setdefault(root(subject), [])
        settled = settle(outcome, await _lessons(journal, outcome, again, snapshot), None, told)
        told.append(settled.outcome)
        kept[outcome.id] = settled.lessons
        for outranked in settled.outranked:
            kept[outranked] = ()
    lessons = tuple(one for each in kept.values() for one in each if name in ("", one.learner))
    return Teaching(
        lessons, (f"{lost} outcomes are of decisions that are not in the journal",) if lost else ()
    )


async def _lessons(
    journal: Journal, outcome: Outcome, decisions: Sequence[Decision], snapshot: Snapshot
) -> tuple[Lesson, ...]:
    if outcome.worth is None or not decisions:
        return ()
    results = await journal.results(decisions)
    return lessons_of(
        decisions,
        outcome,
        outcome.worth,
        outcome.at,
        {name: result.model for name, result in results.items()},
        costs_usd={name: result.cost_usd for name, result in results.items()},
        identity=outcome.identity,
        influence={name: learner.influence for name, learner in snapshot.policy.learners.items()},
    )


async def _again(journal: Journal, decision: Decision, snapshot: Snapshot) -> Decision | None:
    """The decision as these policies see its task; None where it was recorded with too little."""
    whole: Decision | None = await journal.decision(decision.id)
    if whole is None or missing_features(whole):
        return None
    try:
        facts = facts_of(whole, snapshot)
    except RequestError:
        return None
    action = snapshot.policy.judge(facts.inputs).action
    learner = snapshot.policy.learners.get(action.by) if action.learn else None
    if learner is None:
        return replace(whole, learner="", signature="", inputs={}, grams=())
    task = task_of(learner, facts.inputs)
    grams = whole.grams if learner.text else ()
    return replace(whole, learner=learner.name, signature=signature_of(task), inputs=task.inputs, grams=grams)
