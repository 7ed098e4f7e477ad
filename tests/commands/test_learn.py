"""What learners believe, shown, taken back and carried elsewhere, and that every way leads to the same state."""

import asyncio
import csv
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from engine.app import running
from engine.commands.learn import _digest
from engine.core.decision import Lesson, Outcome, StepRun
from engine.core.identity import LOCAL
from engine.learning.state import State
from engine.protocols import PROTOCOLS
from engine.server.engine import decide, remember
from engine.server.journal import Journal
from engine.server.learner import Learners, fold_standing
from engine.server.log import Log
from engine.server.outcomes import receive
from engine.server.withdrawals import withdrawn
from engine.settings import DEFAULTS

Weave = Callable[..., Any]

ROOT = Path(__file__).parent.parent.parent


def tell(path: Path, *outcomes: tuple[Outcome, str, float]) -> None:
    """Outcomes with a lesson each: which model, how good."""

    async def write() -> None:
        journal = await Journal.open(path)
        learners = await Learners.from_journal(journal)
        for outcome, model, score in outcomes:
            steps = (StepRun(model, cost_usd=0.25),)
            await learners.take(outcome, [Lesson(outcome.id, outcome.at, "picker", "work", steps, score)])
        await learners.save()
        await journal.close()

    asyncio.run(write())


def told(number: int, **fields: Any) -> Outcome:
    return Outcome(f"o{number}", 1000.0 + number, decision="d", worth=1.0, subject=f"d{number}", **fields)


def several(count: int, start: int = 0) -> list[tuple[Outcome, str, float]]:
    return [(told(n), ("large", "little")[n % 2], float(n % 3 > 0)) for n in range(start, start + count)]


@pytest.fixture
def journal(policies: Path, tmp_path: Path) -> Path:
    """In the folder the commands look in."""
    path = tmp_path / "weave.db"
    tell(path, *several(12))
    return path


def shown(weave: Weave, *more: object) -> dict[str, Any]:
    ran = weave("learn", "show", "--json", *more)
    assert ran.code == 0, ran.err
    found: dict[str, Any] = json.loads(ran.out)
    return found


def test_what_is_believed_is_shown_by_learner_kind_of_task_and_model(weave: Weave, journal: Path) -> None:
    found = shown(weave)
    assert (found["lessons"], found["withdrawn"]) == (12, 0)
    rows = {row["model"]: row for row in found["beliefs"]}
    assert {row["signature"] for row in found["beliefs"]} == {"work"}
    assert (rows["little"]["tasks"], rows["little"]["success"]) == (6.0, pytest.approx(2 / 3))
    assert (rows["little"]["against"], rows["little"]["cost_usd"]) == ("large", pytest.approx(0.25))
    assert rows["large"]["confidence"] == 1.0
    assert 0.0 < rows["little"]["confidence"] < 1.0
    assert found["outcomes"]["told"] == 12
    out = weave("learn", "show").out
    assert "What the learners believe" in out
    assert "12 told" in out
    assert "confidence: that it is not worse than large" in out


def test_a_learner_that_no_policy_has_any_more_is_shown_without_confidence(
    weave: Weave, journal: Path, policies: Path
) -> None:
    text = (policies / "house.yaml").read_text()
    (policies / "house.yaml").write_text(text.replace("picker", "chooser"))
    assert {row["confidence"] for row in shown(weave)["beliefs"]} == {None}


def test_late_contradicting_outranked_and_missing_outcomes_are_visible(weave: Weave, journal: Path) -> None:
    good = Outcome("good", 5000.0, decision="d", tests_passed=1, subject="s/1", work_at=4000.0, worth=1.0)
    bad = Outcome("bad", 5001.0, decision="d", tests_failed=1, subject="s/1", work_at=4000.0, worth=-1.0)
    seen = Outcome("seen", 5002.0, subject="s/1", work_at=4000.0, worth=1.0, source="evidence")
    late = Outcome("late", 9e6, decision="e", tests_passed=1, subject="e", work_at=4000.0, worth=1.0)
    tell(journal, (good, "large", 1.0), (bad, "large", 0.0), (seen, "large", 1.0), (late, "large", 1.0))
    found = shown(weave)
    assert found["outcomes"] == {
        "told": 15,
        "late": 1,
        "contradicting": 1,
        "outranked": 1,
        "without worth": 0,
        "from evidence": 1,
    }
    assert (found["lessons"], found["withdrawn"]) == (14, 1)


@pytest.mark.parametrize("to", ["7", "o6", "1970-01-01T00:16:46+00:00"])
def test_a_rollback_leads_to_the_very_state_of_that_moment_and_stays(
    weave: Weave, journal: Path, tmp_path: Path, policies: Path, to: str
) -> None:
    then = tmp_path / "then.db"
    tell(then, *several(7))
    wanted = {row["model"]: row for row in shown(weave, "--journal", then)["beliefs"]}
    tried = json.loads(weave("learn", "rollback", "--to", to, "--dry-run", "--json").out)
    assert (tried["withdrawn"], tried["restored"]) == (5, 0)
    assert shown(weave)["withdrawn"] == 0
    ran = weave("learn", "rollback", "--to", to)
    assert ran.code == 0, ran.err
    assert f"back to {to}: 5 of 12 lessons no longer count" in ran.out
    for _ in range(2):
        after = shown(weave)
        assert {row["model"]: row for row in after["beliefs"]} == wanted
        assert [one["why"] for one in after["rollbacks"]] == [f"rolled back to {to}"]
    tell(journal, *several(2, start=20))
    tell(then, *several(2, start=20))
    assert shown(weave)["beliefs"] == shown(weave, "--journal", then)["beliefs"]


def test_a_rollback_can_be_rolled_back(weave: Weave, journal: Path) -> None:
    before = shown(weave)
    assert weave("learn", "rollback", "--to", 3).code == 0
    undone = json.loads(weave("learn", "rollback", "--to", 12, "--json").out)
    assert (undone["withdrawn"], undone["restored"]) == (0, 9)
    assert shown(weave)["beliefs"] == before["beliefs"]


@pytest.mark.parametrize(
    ("to", "says"),
    [("", "say where to"), ("13", "there are 12 lessons"), ("yesterday", "no lesson's number, no time")],
)
def test_where_there_is_no_way_back_it_says_what_it_takes(
    weave: Weave, journal: Path, to: str, says: str
) -> None:
    ran = weave("learn", "rollback", "--to", to)
    assert (ran.code, says in ran.err) == (2, True)


def test_an_export_teaches_the_same_elsewhere_and_only_once(
    weave: Weave, journal: Path, tmp_path: Path
) -> None:
    weave("learn", "rollback", "--to", 9)
    exported = tmp_path / "lessons.jsonl"
    exported.write_text(weave("learn", "export").out)
    assert len(exported.read_text().splitlines()) == 9
    other = tmp_path / "other.db"
    ran = weave("learn", "import", exported, "--journal", other)
    assert ran.code == 0, ran.err
    assert shown(weave, "--journal", other)["beliefs"] == shown(weave)["beliefs"]
    assert "was imported already" in weave("learn", "import", exported, "--journal", other).out
    assert shown(weave, "--journal", other)["lessons"] == 9


def table(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_a_table_of_results_gives_a_start_and_can_be_taken_back(
    weave: Weave, journal: Path, tmp_path: Path
) -> None:
    rows = [
        {"task": f"t{number}", "family": "fix", "model": model, "score": score, "cost_usd": usd}
        for number in range(40)
        for model, score, usd in (("large", 1, 1.0), ("little-1", number % 4 > 0, 0.1), ("else", 1, 0.2))
    ]
    file = table(tmp_path / "results.csv", rows)
    before = shown(weave)
    ran = weave("learn", "import", file, "--dry-run", "--json")
    assert ran.code == 0, ran.err
    tried = json.loads(ran.out)
    assert (tried["lessons"], tried["remarks"]) == (
        40,
        ["no model 'else' in the catalog: 40 rows left out"],
    )
    assert shown(weave) == before
    assert json.loads(weave("learn", "import", file, "--json").out)["changes"] == tried["changes"]
    found = {(row["signature"], row["model"]): row for row in shown(weave)["beliefs"]}
    assert (found["fix", "little"]["success"], found["fix", "little"]["tasks"]) == (0.75, 40.0)
    assert shown(weave)["outcomes"]["from imported"] == 1
    assert weave("learn", "rollback", "--to", "o11").code == 0
    assert shown(weave)["beliefs"] == before["beliefs"]


def test_without_a_journal_it_says_what_to_do(weave: Weave, policies: Path) -> None:
    for words in (("show",), ("export",), ("rollback", "--to", "3")):
        ran = weave("learn", *words)
        assert (ran.code, "there is no journal weave.db" in ran.err) == (2, True)


LEARNING = """
import asyncio, hashlib, json, sys
import engine.server.learner
from engine.core.decision import Lesson, Outcome, StepRun
from engine.server.journal import Journal
from engine.server.learner import Learners

engine.server.learner.LESSONS_A_SNAPSHOT = 7

async def main(path, start):
    learners = await Learners.from_journal(await Journal.open(path))
    for n in range(start, start + 10_000):  # each third outranks the one before
        outcome = Outcome(f"o{n}", float(n), tests_passed=1, subject=f"d{n - (n % 3 == 2)}", worth=1.0)
        lesson = Lesson(outcome.id, outcome.at, "picker", "ab"[n % 2], (StepRun("cd"[n % 5 > 2]),), n % 7 / 6)
        await learners.take(outcome, [lesson])
        state = json.dumps(learners.to_json(), sort_keys=True).encode()
        print(learners.lessons, hashlib.blake2b(state, digest_size=8).hexdigest(), flush=True)

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


def test_a_killed_process_comes_back_to_the_state_it_had(tmp_path: Path) -> None:
    """Three times on the same journal, with lessons withdrawn all the while and a snapshot every seven."""
    path, start = tmp_path / "weave.db", 0
    for life in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", LEARNING, str(path), str(start)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert process.stdout is not None
        said = dict(process.stdout.readline().split() for _ in range(25 + 10 * life))
        process.send_signal(signal.SIGKILL)
        said |= dict(line.split() for line in process.stdout.read().splitlines() if line.count(" ") == 1)
        process.stdout.close()
        process.wait(timeout=30)
        lessons, again, anew = asyncio.run(both_ways(path))
        assert again == anew
        assert lessons >= max(map(int, said))
        assert said.get(str(lessons), again) == again
        start = lessons


async def both_ways(path: Path) -> tuple[int, str, str]:
    """How many lessons there are, and the state as a restart finds it and as it is without any snapshot."""
    journal = await Journal.open(path)
    try:
        again = await Learners.from_journal(journal)
        state = State()
        fold_standing(state, await journal.lessons(), withdrawn(await journal.withdrawals()))
        return again.lessons, _digest(again.to_json()), _digest(state.to_json())
    finally:
        await journal.close()


OUTCOMES = """\
outcomes:
  - {name: failed, when: outcome.tests_failed > 0, reward: -1}
  - {name: passed, when: outcome.tests_passed > 0, reward: 1}
"""


def test_decisions_and_outcomes_of_the_past_give_a_new_learner_its_start(
    weave: Weave, policies: Path, tmp_path: Path
) -> None:
    """The same lessons as the learner would have had, had it been there."""
    text = (policies / "house.yaml").read_text().replace("pinning:", OUTCOMES + "pinning:")
    (policies / "house.yaml").write_text(text)
    from_the_start = learned(policies, tmp_path / "weave.db")
    (policies / "house.yaml").write_text(
        text.replace("picker", "newer").replace("[features.phase]", "[features.language]")
    )
    ran = weave("learn", "import", tmp_path / "weave.db", "--learner", "newer", "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert found["lessons"] == from_the_start == 4
    rows = [row for row in shown(weave)["beliefs"] if row["learner"] == "newer"]
    assert [(row["model"], row["tasks"], row["success"]) for row in rows] == [("large", 4.0, 0.75)]
    assert "newer has" not in weave("learn", "import", tmp_path / "weave.db", "--learner", "nobody").out


def learned(policies: Path, path: Path) -> int:
    """A past of five tasks, the first of which was told wrong and then right; how many lessons count."""

    async def play() -> int:
        settings = replace(DEFAULTS, policies=policies, journal=str(path))
        log = Log(StringIO(), json=True)
        async with running(settings, {}, log) as engine:
            for number in range(5):
                tools = [{"type": "function", "function": {"name": "edit", "parameters": {}}}]
                asked = {"role": "user", "content": f"Task {number}"}
                raw = json.dumps({"model": "large", "messages": [asked], "tools": tools}).encode()
                headers = {"x-weave-session": f"s{number}"}
                decided = await decide(engine, PROTOCOLS["openai-chat"], raw, headers, LOCAL)
                remember(engine, decided)
                if number == 4:
                    break
                for passed in (0, 1) if number == 0 else (number % 2,):
                    about = {"session": f"s{number}", "tests_passed": passed, "tests_failed": 1 - passed}
                    await receive(engine, json.dumps(about).encode())
            gone = withdrawn(await engine.journal.withdrawals())
            return engine.learners.lessons - len(gone)

    return asyncio.run(play())
