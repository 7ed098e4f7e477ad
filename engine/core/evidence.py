"""What a conversation tells about the work: a run of a tool that judges it, and the evidence of one task.

Which evidence outranks which, strongest first: the user's own words, then tests, then builds and type checks, then
lints. The strongest kind that says anything decides. A linter that is content says little of whether a task was
done, so `grounds` names what a verdict rests on and leaves its worth to the policy.
"""

from dataclasses import dataclass
from typing import Literal

from engine.core.values import quick

RunKind = Literal["test", "build", "lint"]
TaskVerdict = Literal["accepted", "rejected", ""]
Grounds = Literal["user", "tests", "builds", "lints", ""]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a tool, as its output tells it. Counts are 0 where it does not tell them; a run that failed before
    any test ran has failed all the same. Of a build or lint, `failures` are the errors it found."""

    kind: RunKind
    tool: str
    failed: bool
    passes: int = 0
    failures: int = 0


@quick
@dataclass(frozen=True, slots=True)
class TaskEvidence:
    """How one task stands. A task begins with a user's request and ends with the next; what a user says in between,
    or to have the work go on, belongs to it.

    Runs count from the task's first edit on, for what failed before only reproduces what is to be mended. `tests_…`,
    `builds_failed` and `lints_failed` say how things stand since its last edit, and are 0 where nobody has looked yet.
    """

    number: int  # of the conversation's tasks, from 1; 0 before the first
    edits: int = 0
    tests_passed: int = 0
    tests_failed: int = 0
    builds_failed: int = 0  # builds and type checks, by tool
    lints_failed: int = 0
    failed_runs: int = 0  # of any kind, since the first edit
    tool_errors: int = 0
    repeated_calls: int = 0
    undone_edits: int = 0
    setbacks: int = (
        0  # in a row: runs that failed no less than before, calls repeated or in error, edits undone
    )
    corrected: bool = False  # the user said that it is wrong
    approved: bool = False  # the user said that it is right
    interrupted: bool = False  # the user stopped the work on it
    abandoned: bool = False  # and then turned to something else, or said so
    ended: bool = False
    moving: bool = False  # the agent is at work and has changed something that nobody has looked at yet
    verdict: TaskVerdict = ""
    grounds: Grounds = ""


@quick
@dataclass(frozen=True, slots=True)
class Tasks:
    """The task a conversation is at, and the one before it."""

    current: TaskEvidence
    former: TaskEvidence | None = None
