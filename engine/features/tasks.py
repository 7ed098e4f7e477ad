"""The evidence of tasks, gathered while a conversation is walked.

    edit → run → edit → run …     what counts is how things stand after the last edit

A failing run with an edit after it is work in progress: the edit wipes out how things stood, until something is run
again. Of several runs since the last edit the last decides, with one exception: agents that saw the whole suite fail
like to run a part of it, so a pass takes back a failure only if it ran at least as many tests.

Words that a user says while the agent is at work steer the task and do not end it; nor does a mere "go on". After an
interruption the next words are about the same task if they have it go on, and about another otherwise.
"""

from collections.abc import Sequence

from engine.core.evidence import Grounds, Run, TaskEvidence, TaskVerdict
from engine.features.runs import Reading
from engine.features.wording import Wording, wording


class Task:
    """A task while it goes on. Its counts are raised by the walk.

    What it begins with stands in the class: every request makes a task or two, and most have nothing to tell."""

    edits = failed_runs = tool_errors = repeated = undone = 0
    corrected = approved = interrupted = abandoned = False
    _aside = _stopped = False
    _said: TaskVerdict = ""  # what the user said of how it stands
    _since_edit: list[Reading]
    _before: list[Reading]
    _stuck_calls = _stuck_runs = 0
    _worst = 0  # failures of the latest failing run, where they are known

    def __init__(self, number: int) -> None:
        self.number = number
        self._since_edit = self._before = []
        self._paths: list[str] = []  # of edits
        self._swaps: set[int] = set()

    def edited(self, path: str, swap: tuple[int, int] | None, prose: bool) -> None:
        """`prose`: words were edited, no code, so what was run still holds."""
        self.edits += 1
        if prose:
            return
        self._before, self._since_edit = self._since_edit, []
        self._stuck_calls = 0
        self._said = ""
        self._paths.append(path)
        if swap is not None:
            edit, undoing = swap
            if undoing in self._swaps:
                self.undone += 1
                self._stuck_calls += 1
            self._swaps.add(edit)

    def edit_failed(self, path: str) -> None:
        """The latest edit of this file did not happen."""
        if path in self._paths:
            self.edits -= 1
            self._paths.remove(path)
            self._since_edit = self._since_edit or self._before

    def repeats(self) -> None:
        self.repeated += 1
        self._stuck_calls += 1

    def errs(self) -> None:
        self.tool_errors += 1
        self._stuck_calls += 1

    def undo(self, targets: Sequence[str]) -> None:
        """Edits of these files, or of all, were thrown away."""
        kept = [path for path in self._paths if targets and not _names(targets, path)]
        if len(kept) < len(self._paths):
            self.undone += len(self._paths) - len(kept)
            self._paths = kept
            self._stuck_calls += 1
            self._before, self._since_edit = self._since_edit, []

    def put_aside(self, away: bool) -> None:
        self._aside = away

    def ran(self, reading: Reading) -> None:
        if not self.edits or self._aside:
            return
        self._since_edit.append(reading)
        for run in reading.runs:
            if run.failed:
                self.failed_runs += 1
                fewer = 0 < run.failures < self._worst
                self._stuck_runs = 0 if fewer else self._stuck_runs + 1
                self._worst = run.failures or self._worst
            elif run.kind == "test":
                self._stuck_runs = self._stuck_calls = self._worst = 0

    def interrupt(self) -> None:
        self.interrupted = self._stopped = True

    @property
    def stopped(self) -> bool:
        """Whether the user stopped the agent and has not had it go on."""
        return self._stopped

    def heard(self, words: Wording) -> None:
        """What the user says of this task, in the middle of it or after it."""
        self.corrected = self.corrected or words.corrects
        self.approved = self.approved or words.approves
        self.abandoned = self.abandoned or words.abandons
        if words.corrects or words.approves:
            self._said = "rejected" if words.corrects else "accepted"
        if words.continues:
            self._stopped = False

    def evidence(self, ended: bool, loop_open: bool) -> TaskEvidence:
        tests: Run | None = None
        builds: Sequence[Run] = ()
        lints: Sequence[Run] = ()
        if self._since_edit:
            runs = [run for reading in self._since_edit for run in reading.runs]
            tests, builds, lints = _tests(runs), _latest(runs, "build"), _latest(runs, "lint")
        verdict, grounds = self._verdict(tests, builds, lints)
        return TaskEvidence(
            number=self.number,
            edits=self.edits,
            tests_passed=tests.passes if tests is not None else 0,
            tests_failed=max(1, tests.failures) if tests is not None and tests.failed else 0,
            builds_failed=_failed(builds),
            lints_failed=_failed(lints),
            failed_runs=self.failed_runs,
            tool_errors=self.tool_errors,
            repeated_calls=self.repeated,
            undone_edits=self.undone,
            setbacks=self._stuck_calls + self._stuck_runs,
            corrected=self.corrected,
            approved=self.approved,
            interrupted=self.interrupted,
            abandoned=self.abandoned,
            ended=ended,
            moving=loop_open and not ended and self.edits > 0 and not self._since_edit,
            verdict=verdict,
            grounds=grounds,
        )

    def _verdict(
        self, tests: Run | None, builds: Sequence[Run], lints: Sequence[Run]
    ) -> tuple[TaskVerdict, Grounds]:
        if self._said:
            return self._said, "user"
        if tests is not None:
            return ("rejected" if tests.failed else "accepted"), "tests"
        if builds:
            return ("rejected" if _failed(builds) else "accepted"), "builds"
        if lints:
            return ("rejected" if _failed(lints) else "accepted"), "lints"
        return "", ""


class TaskLog:
    """The tasks of a conversation: the one under way, and the one before it."""

    __slots__ = ("_former", "current")

    def __init__(self) -> None:
        self.current = Task(0)
        self._former: Task | None = None

    def words(self, words: str, steering: bool) -> None:
        """The user speaks. `steering`: while the agent is at work."""
        task = self.current
        said = wording(words)
        if task.number and (steering or said.continues):
            task.heard(said)
            return
        if task.number:
            task.heard(said)
            task.abandoned = task.abandoned or (task.stopped and not task.corrected)
            self._former = task
        self.current = Task(task.number + 1)

    def present(self, loop_open: bool) -> TaskEvidence:
        return self.current.evidence(ended=False, loop_open=loop_open)

    def former(self) -> TaskEvidence | None:
        return self._former.evidence(ended=True, loop_open=False) if self._former is not None else None


def _names(targets: Sequence[str], path: str) -> bool:
    return any(path.endswith(target.removeprefix("./")) for target in targets)


def _failed(runs: Sequence[Run]) -> int:
    return len([run for run in runs if run.failed]) if runs else 0


def _tests(runs: Sequence[Run]) -> Run | None:
    """The run of tests that tells how they stand."""
    stands: Run | None = None
    for run in runs:
        if run.kind != "test":
            continue
        part = (
            stands is not None
            and stands.failed
            and not run.failed
            and 0 < run.passes + run.failures < stands.passes + stands.failures
        )
        if not part:
            stands = run
    return stands


def _latest(runs: Sequence[Run], kind: str) -> list[Run]:
    """The latest run of each tool of a kind."""
    return list({run.tool: run for run in runs if run.kind == kind}.values())
