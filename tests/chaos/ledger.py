"""What the sessions saw, the calls that the providers had, and the engine's own journal, held against each other."""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]


def read(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def rows(journal: Path, query: str) -> list[dict[str, Any]]:
    with sqlite3.connect(f"file:{journal}?mode=ro", uri=True) as connection:
        connection.row_factory = sqlite3.Row
        found = [dict(row) for row in connection.execute(query)]
    connection.close()
    return found


def after_content(answers: Iterable[Row], calls: Iterable[Row]) -> list[str]:
    """Whoever saw content of a call saw content of no other, and no call for the same request began after that one.

    This needs no clocks of different processes: the call that spoke has to be the last there was."""
    by_nonce: dict[str, list[Row]] = defaultdict(list)
    for call in calls:
        by_nonce[call["nonce"]].append(call)
    wrongs: list[str] = []
    for answer in answers:
        spoke = set(answer["calls"])
        made = sorted(by_nonce.get(answer["nonce"], ()), key=lambda call: float(call["at"]))
        if len(spoke) > 1:
            wrongs.append(f"{answer['nonce']} saw content of {sorted(spoke)}")
        elif spoke and made and made[-1]["call"] not in spoke:
            wrongs.append(
                f"{answer['nonce']} saw content of {spoke}, and {made[-1]['call']} was called after that"
            )
    return wrongs


def missing(answers: Iterable[Row], journal: Path) -> list[str]:
    """What the journal lacks: of each decision that a client was told of, and of each decision it has, the result;
    and an attempt for each that the result counts."""
    decisions = {row["id"] for row in rows(journal, "SELECT id FROM decisions")}
    results = {row["decision"]: row for row in rows(journal, "SELECT decision, attempts FROM results")}
    numbers: dict[str, set[int]] = defaultdict(set)
    for row in rows(journal, "SELECT decision, number FROM attempts"):
        numbers[row["decision"]].add(row["number"])
    told = {answer["decision"] for answer in answers if answer["decision"]}
    lacks = [f"decision {id}, told to a client" for id in sorted(told - decisions)]
    lacks += [f"a result of {id}" for id in sorted(decisions - results.keys())]
    for id, result in results.items():
        expected = set(range(1, result["attempts"] + 1))
        lost = expected - numbers[id]
        if lost:
            lacks.append(f"attempts {sorted(lost)} of {id}")
    return lacks


def crossed_sessions(answers: Iterable[Row], journal: Path) -> list[str]:
    """Sessions that the engine takes for one, though they are of different people."""
    client = {answer["decision"]: answer["session"] for answer in answers if answer["decision"]}
    found: dict[str, set[int]] = defaultdict(set)
    for row in rows(journal, "SELECT id, session FROM decisions WHERE session <> ''"):
        if row["id"] in client:
            found[row["session"]].add(client[row["id"]])
    return [f"sessions {sorted(names)} are one session" for names in found.values() if len(names) > 1]


def budget_errors(journal: Path) -> dict[str, int]:
    """In nano-dollars, what the books of each team are away from what the results come to, and what they still hold
    for requests that are over."""
    owed: dict[str, int] = defaultdict(int)
    for row in rows(
        journal,
        "SELECT team, cost_usd, wasted_usd FROM results JOIN decisions ON decisions.id = results.decision",
    ):
        owed[row["team"]] += round(row["cost_usd"] * 1e9) + round((row["wasted_usd"] or 0.0) * 1e9)
    for row in rows(
        journal, "SELECT value, sum(nanos) AS spent FROM spent WHERE per = 'identity.team' GROUP BY value"
    ):
        owed[row["value"]] -= row["spent"]
    errors = {f"the books of {team}": amount for team, amount in owed.items() if amount}
    open_ones = rows(journal, "SELECT decision, nanos FROM reserved")
    return errors | {f"a reservation for {row['decision']}": row["nanos"] for row in open_ones}


def growth_mb(samples: Sequence[tuple[float, float]], seconds: float) -> float:
    """From when all sessions are there to the end, both under load: `samples` are times and megabytes."""
    early = [size for at, size in samples if 0.3 * seconds <= at <= 0.45 * seconds]
    late = [size for at, size in samples if 0.85 * seconds <= at <= seconds]
    return round(_middle(late) - _middle(early), 1) if early and late else 0.0


def slope_mb_per_minute(samples: Sequence[tuple[float, float]], since: float) -> float:
    """Of the line through all samples since then, by least squares."""
    points = [(at / 60, size) for at, size in samples if at >= since]
    if len(points) < 2:
        return 0.0
    x, y = (sum(values) / len(points) for values in zip(*points, strict=True))
    spread = sum((at - x) ** 2 for at, _ in points)
    return round(sum((at - x) * (size - y) for at, size in points) / spread, 3) if spread else 0.0


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]
