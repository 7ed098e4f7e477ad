"""Budgets in a live engine: over sockets, under concurrency, through restarts and broken disks."""

import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.core.cost import nanos, usd_of
from engine.core.decision import Result
from engine.core.errors import BudgetError
from engine.core.identity import Identity
from engine.core.policy import Budget
from engine.core.reply import Usage
from engine.documents import shipped_text
from engine.routing.budgets import Changes, Hold
from engine.server.journal import Journal, JournalError
from engine.server.keys import change, new_key
from engine.server.ledger import Books, write
from engine.snapshot import Snapshot, build

CATALOG = shipped_text("policies/catalog.yaml")
HEAD = "apiVersion: weave/v1\nkind: Policy\nmetadata: {name: p}\ndefault: {use: requested}\n"
STOP = "budgets: [{name: stop, per: identity.name, usd: %s, window: 1h, over: {reject: 429}}]\n"
LOCAL = (("identity.name", "local"),)
ASKS = [{"role": "user", "content": "hi"}]


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await coroutine

    asyncio.run(bounded())


def budget(usd: float = 10.0, **fields: Any) -> Budget:
    return replace(Budget("stop", "identity.name", usd, 3_600.0, reject=429), **fields)


def snapshot(usd: float = 10.0) -> Snapshot:
    return build({"c.yaml": CATALOG, "p.yaml": HEAD + STOP % usd})


class Log:
    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def __call__(self, event: str, **fields: Any) -> None:
        self.lines.append({"event": event, **fields})


@asynccontextmanager
async def opened(path: Path, log: Log | None = None) -> AsyncIterator[Books]:
    journal = await Journal.open(path)
    try:
        yield await Books.open(journal, snapshot(), log or Log())
    finally:
        await journal.close()


def result(decision: str, cost_usd: float, wasted_usd: float = 0.0) -> Result:
    return Result(
        decision,
        time.time(),
        200,
        "opus",
        "e",
        1,
        "end_turn",
        Usage(),
        cost_usd,
        1.0,
        None,
        wasted_usd=wasted_usd,
    )


def spent(books: Books) -> int:
    return books.ledger.standing(budget(), "local", time.time()).spent


def rows(path: Path, table: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(f"SELECT * FROM {table}").fetchall()
    finally:
        connection.close()


# -- what is on disk


def test_what_was_spent_is_known_after_a_restart(tmp_path: Path) -> None:
    async def play() -> None:
        async with opened(tmp_path / "j.db") as books:
            books.ledger.reserve("d1", LOCAL, nanos(3), time.time())
            await books.committed("d1")
            books.settle(result("d1", 0.75, 0.25), snapshot())
            await books.commit()
        async with opened(tmp_path / "j.db") as books:
            assert spent(books) == nanos(1)
            assert books.ledger.open == 0
        assert rows(tmp_path / "j.db", "reserved") == []

    run(play())


def test_a_reservation_is_on_disk_once_it_is_committed(tmp_path: Path) -> None:
    async def play() -> None:
        async with opened(tmp_path / "j.db") as books:
            for number in range(50):
                books.ledger.reserve(f"d{number}", LOCAL, nanos(0.1), time.time())
            await asyncio.gather(*(books.committed(f"d{number}") for number in range(50)))
            assert len(rows(tmp_path / "j.db", "reserved")) == 50

    run(play())


def test_nobody_waits_for_a_commit_of_others(tmp_path: Path) -> None:
    async def play() -> None:
        async with opened(tmp_path / "j.db") as books:
            books.ledger.reserve("d1", LOCAL, nanos(0.1), time.time())
            books.ledger.reserve("free", LOCAL, 0, time.time())
            await books.committed("free")
            assert books.ledger.changed
            await books.committed("d1")
            assert not books.ledger.changed

    run(play())


def test_what_a_killed_engine_left_open_is_charged_in_full_or_for_what_the_journal_knows(
    tmp_path: Path,
) -> None:
    async def play() -> None:
        log = Log()
        async with opened(tmp_path / "j.db") as books:
            for name in ("d1", "d2", "d3"):
                books.ledger.reserve(name, LOCAL, nanos(2), time.time())
            await books.committed("d3")
            books._journal.record(result("d2", 0.5))
            books._journal.record(
                replace(result("d3", 0.7), credential="client")
            )  # who paid that was its client
        async with opened(tmp_path / "j.db", log) as books:  # none of them was settled
            assert spent(books) == nanos(2.5)
        assert log.lines == [{"event": "budgets", "level": "warning", "unsettled": 1, "charged_usd": 2.5}]
        async with opened(tmp_path / "j.db", log) as books:
            assert spent(books) == nanos(2.5), "once"
        assert len(log.lines) == 1

    run(play())


class Full:
    """A journal whose disk takes nothing."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.full = True

    async def ask(self, work: Any, writes: bool = False) -> Any:
        if self.full and writes:
            raise JournalError("the disk is full")
        return await self.journal.ask(work, writes)

    async def urge(self, work: Any) -> Any:
        return await self.ask(work, writes=True)


def test_while_the_disk_is_full_the_books_go_on_in_memory_and_nothing_is_lost(tmp_path: Path) -> None:
    async def play() -> None:
        log = Log()
        async with opened(tmp_path / "j.db", log) as books:
            disk = Full(books._journal)
            books._journal = disk  # type: ignore[assignment]
            for number in range(5):
                books.ledger.reserve(f"d{number}", LOCAL, nanos(1), time.time())
                await books.committed(f"d{number}")
                books.settle(result(f"d{number}", 0.5), snapshot())
            assert spent(books) == nanos(2.5)
            disk.full = False
            await books.commit()
        told = [line["journal"] for line in log.lines if line["event"] == "budgets"]
        assert told == [
            "what is spent is in memory alone: the disk is full",
            "what is spent is on disk again",
        ]
        async with opened(tmp_path / "j.db") as books:
            assert spent(books) == nanos(2.5)

    run(play())


def test_books_open_though_the_disk_takes_nothing(tmp_path: Path) -> None:
    async def play() -> None:
        async with opened(tmp_path / "j.db") as books:
            books.ledger.reserve("d1", LOCAL, nanos(3), time.time())
            await books.commit()
        journal = await Journal.open(tmp_path / "j.db")
        try:
            log = Log()
            books = await Books.open(Full(journal), snapshot(), log)  # type: ignore[arg-type]
            assert spent(books) == nanos(3)
        finally:
            await journal.close()

    run(play())


def test_what_counts_no_more_leaves_the_disk(tmp_path: Path) -> None:
    async def play() -> None:
        async with opened(tmp_path / "j.db") as books:
            old = int((time.time() - 40 * 86_400) * 1000)
            await books._journal.ask(
                lambda connection: write(connection, Changes({("identity.name", "local", old): 7})),
                writes=True,
            )
        async with opened(tmp_path / "j.db") as books:
            assert spent(books) == 0
        assert rows(tmp_path / "j.db", "spent") == []

    run(play())


def test_rows_follow_changes() -> None:
    connection = sqlite3.connect(":memory:")
    slot, hold = ("identity.name", "local", 60_000), Hold(LOCAL, 5, 1_000)
    write(connection, Changes({slot: 7}, {"d1": hold}))
    write(connection, Changes({slot: 3}))
    assert connection.execute("SELECT * FROM spent").fetchall() == [(*slot, 10)]
    assert connection.execute("SELECT * FROM reserved").fetchall() == [
        ("d1", 1_000, 5, '[["identity.name","local"]]')
    ]
    write(connection, Changes({slot: -10}, {}, {"d1"}))
    assert connection.execute("SELECT * FROM spent").fetchall() == []
    assert connection.execute("SELECT * FROM reserved").fetchall() == []


def test_where_there_is_no_room_any_more_nothing_is_held(tmp_path: Path) -> None:
    """The decision found room a moment ago; nothing can come between, and if it did, this would notice."""

    async def play() -> None:
        async with opened(tmp_path / "j.db") as books:
            books.ledger.reserve("d1", LOCAL, nanos(9.5), time.time())

            facts = SimpleNamespace(inputs={"identity": {"name": "local"}}, session="")
            decision = SimpleNamespace(id="d2", source="rule", reserved_usd=1.0, at=time.time())
            with pytest.raises(BudgetError) as caught:
                books.hold(facts, decision, snapshot())  # type: ignore[arg-type]
            assert (caught.value.budget, caught.value.fault.http_status) == ("stop", 429)
            assert books.ledger.open == 1

    run(play())


def test_a_clock_that_is_put_back_takes_no_money_out_of_a_window(tmp_path: Path) -> None:
    """Decisions go by a clock that nobody can set, and what is charged goes by the same."""
    ahead = time.time() + 7_200.0

    async def play() -> None:
        async with opened(tmp_path / "j.db") as books:
            facts = SimpleNamespace(inputs={"identity": {"name": "local"}}, session="")
            decision = SimpleNamespace(id="d1", source="rule", reserved_usd=1.0, at=ahead)
            books.hold(facts, decision, snapshot())  # type: ignore[arg-type]
            books.settle(replace(result("d1", 0.5), at=ahead + 1.0), snapshot())
            assert books.ledger.standing(budget(), "local", ahead + 3_000.0).spent == nanos(0.5)
            (told,) = books.told(snapshot(), ahead + 2.0)
            assert told["spent_usd"] == 0.5

    run(play())


# -- over sockets


async def ended(at: Any) -> None:
    """Until nothing is open and the journal has everything."""
    while at.engine.running or at.engine.books.ledger.open:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await at.engine.books.commit()
    await at.engine.journal.flush()


async def recount(at: Any) -> int:
    """What the journal says was spent, in nano-dollars."""
    rows = await at.engine.journal.rows("SELECT cost_usd, wasted_usd FROM results")
    return sum(nanos(cost) + nanos(wasted) for cost, wasted in rows)


async def most(at: Any) -> float:
    """What `at.ask("hi")` may cost."""
    said = await at.client.post("/v1/route?protocol=anthropic-messages", json=asked())
    return float(said.json()["reserved_usd"])


def asked(**fields: Any) -> dict[str, Any]:
    return {"model": "claude-opus-4-5", "max_tokens": 500, "messages": ASKS, **fields}


def test_two_hundred_at_once_never_go_over_a_budget_for_twenty(house: Any) -> None:
    async def play() -> None:
        async with house(HEAD + STOP % 1000) as at:
            each = await most(at)
        usd = usd_of(20 * nanos(each))
        async with house(HEAD + STOP % usd) as at:
            at.simulator.fail(kind="slow_headers", seconds=1.0)
            books, taken, open_ = at.engine.books, [0], [0]
            reserve = books.ledger.reserve

            def watched(*asked: Any) -> Any:
                refused = reserve(*asked)
                taken.append(books.ledger.standing(budget(usd), "local", time.time()).taken)
                open_.append(books.ledger.open)
                return refused

            books.ledger.reserve = watched
            calls = [at.client.post("/v1/messages", json=asked()) for _ in range(200)]
            codes = [reply.status_code for reply in await asyncio.gather(*calls)]
            assert max(open_) == 20
            assert max(taken) == 20 * nanos(each), "all of it, and not a billionth of a dollar more"
            assert set(codes) == {200, 429}
            assert codes.count(200) >= 20
            await ended(at)
            assert spent(books) == await recount(at) > 0
            assert len(await at.engine.journal.decisions()) == codes.count(200)

    run(play())


def test_what_is_given_back_is_there_for_others_and_nothing_is_lost(house: Any) -> None:
    """Streams, whole answers, errors, failovers and clients that leave, all at once, until the budget is spent."""

    async def play() -> None:
        async with house(HEAD + STOP % 0.05) as at:
            at.simulator.fail(status=529, rate=0.2)
            at.simulator.fail(kind="cut", after=3, rate=0.1)
            at.simulator.fail(kind="empty", rate=0.1)
            seen: dict[int, int] = {}

            async def one(number: int) -> None:
                body = asked(stream=number % 2 == 0)
                if number % 7 == 0:
                    with pytest.raises(TimeoutError):
                        async with asyncio.timeout(0.0):
                            await at.client.post("/v1/messages", json=body)
                    return
                try:
                    reply = await at.client.post("/v1/messages", json=body)
                except Exception:  # a whole answer that was cut
                    return
                seen[reply.status_code] = seen.get(reply.status_code, 0) + 1

            for start in range(0, 200, 40):
                await asyncio.gather(*(one(number) for number in range(start, start + 40)))
            assert seen[200] > 10
            assert seen[429] > 10
            await ended(at)
            assert at.engine.books.ledger.open == 0
            assert spent(at.engine.books) == await recount(at)
            assert spent(at.engine.books) <= nanos(0.05)

    run(play())


def test_a_refusal_is_told_in_the_clients_protocol_and_nothing_is_called(house: Any) -> None:
    async def play() -> None:
        async with house(HEAD + STOP % 0.001) as at:
            reply = await at.ask("hi")
            assert reply.status_code == 429
            error = reply.json()["error"]
            assert error["type"] == "rate_limit_error"
            assert (
                "budget 'stop' of identity.name 'local' has no room: $0.00 spent of $0.001"
                in error["message"]
            )
            assert "ask for fewer tokens" in error["message"]
            assert reply.headers["x-should-retry"] == "false"
            chat = await at.chat("hi", max_tokens=400)
            assert (chat.status_code, chat.json()["error"]["code"]) == (429, "rate_limit_exceeded")
            assert not at.simulator.received
            await at.engine.journal.flush()
            assert await at.engine.journal.decisions() == []

    run(play())


def test_room_that_comes_back_is_told_in_seconds(house: Any) -> None:
    async def play() -> None:
        async with house(HEAD + STOP % 0.05) as at:
            at.engine.books.ledger.reserve("earlier", LOCAL, nanos(0.05), time.time())
            under_way = await at.ask("hi")
            assert under_way.headers["retry-after"] == "1"
            assert "x-should-retry" not in under_way.headers
            assert "once requests under way have ended" in under_way.json()["error"]["message"]
            at.engine.books.ledger.settle("earlier", nanos(0.05), time.time())
            reply = await at.ask("hi")
            assert 3_590 <= int(reply.headers["retry-after"]) <= 3_660
            assert reply.headers["x-should-retry"] == "false"
            assert "there is room in 6" in reply.json()["error"]["message"]

    run(play())


HAND_OVER = "budgets: [{name: soft, per: session, usd: 0.0001, window: 1h, over: {use: small}}]\n"


def test_a_used_up_budget_hands_over_says_so_and_pins_nothing(house: Any) -> None:
    async def play() -> None:
        async with house(HEAD + HAND_OVER) as at:
            mine = {"x-weave-session": "mine"}
            first = await at.ask("hi", headers=mine)
            assert first.headers["x-weave-model"] == "opus"
            await ended(at)
            second = await at.ask("hi", headers=mine)
            assert second.headers["x-weave-model"] == "haiku"
            assert second.headers["x-weave-reason"].startswith("soft: $0.0")
            other = await at.ask("hi", headers={"x-weave-session": "other"})
            assert other.headers["x-weave-model"] == "opus"
            nobody = await at.chat("hi", max_tokens=50)
            assert nobody.headers["x-weave-model"] == "gpt"
            decision = (await at.client.get(f"/v1/decisions/{second.headers['x-weave-decision']}")).json()
            assert decision["source"] == "budget"
            (at.policy).write_text(HEAD)  # the budget is gone: the session has its model still
            await at.engine.journal.flush()
        reached = [json.loads(line) for line in at.log.getvalue().splitlines() if '"budget"' in line]
        assert [line["budget"] for line in reached if line["event"] == "budget"] == ["soft", "soft"]

    run(play())


def test_counting_and_asking_for_a_decision_cost_nothing(house: Any) -> None:
    async def play() -> None:
        async with house(HEAD + STOP % 1) as at:
            assert await most(at) > 0
            counted = await at.client.post(
                "/v1/messages/count_tokens", json={"model": "opus", "messages": ASKS}
            )
            assert counted.status_code == 200
            ledger = at.engine.books.ledger
            assert (ledger.open, ledger.changed, spent(at.engine.books)) == (0, False, 0)

    run(play())


def test_attempts_that_were_given_up_are_charged_too(house: Any) -> None:
    async def play() -> None:
        policy = HEAD + STOP % 10 + "failover: {chains: {frontier: [small]}}\n"
        async with house(policy) as at:
            at.simulator.fail(model="opus", kind="empty")
            reply = await at.ask("hi there, how are you today?", stream=True)
            assert reply.headers["x-weave-model"] == "haiku"
            await ended(at)
            ended_as = await at.engine.journal.result(reply.headers["x-weave-decision"])
            assert ended_as.wasted_usd > 0
            assert spent(at.engine.books) == nanos(ended_as.cost_usd) + nanos(ended_as.wasted_usd)
            at.simulator.heal()
            at.simulator.fail(model="opus", status=529)
            reply = await at.ask("hi there, how are you today?")
            await ended(at)
            refused = await at.engine.journal.result(reply.headers["x-weave-decision"])
            assert refused.wasted_usd == 0, "what is refused is not charged"

    run(play())


def test_a_changed_limit_counts_with_what_is_spent(house: Any) -> None:
    async def play() -> None:
        async with house(HEAD + STOP % 5) as at:
            assert (await at.ask("hi")).status_code == 200
            await ended(at)
            before = spent(at.engine.books)
            at.policy.write_text(HEAD + STOP % 0.0151)
            async with asyncio.timeout(10):
                while at.engine.policies.snapshot.policy.budgets[0].usd == 5:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            assert (await at.ask("hi")).status_code == 429
            assert spent(at.engine.books) == before > 0

    run(play())


# -- teams, by real keys

TEAMS = """\
budgets:
  - {name: team, per: identity.team, usd: 1, window: 1h, over: {use: small}}
  - {name: person, per: identity.name, usd: 1, window: 1h, over: {reject: 402}}
"""


def add_key(folder: Path, name: str, team: str) -> str:
    text, key = new_key(Identity(name, team), int(time.time()), None)
    change(folder / "weave-keys.json", lambda keys: keys.with_key(key))
    return text


def test_budgets_are_told_to_whom_they_hold(house: Any, tmp_path: Path) -> None:
    teams = {"ann": "core", "bob": "core", "eve": "web", "loner": ""}
    keys = {name: add_key(tmp_path, name, team) for name, team in teams.items()}

    async def play() -> None:
        async with house(HEAD + TEAMS) as at:

            async def told(name: str) -> dict[str, Any]:
                answer = await at.client.get("/v1/budgets", headers={"x-weave-key": keys[name]})
                return {each["budget"]: each for each in answer.json()["budgets"]}

            assert (await at.client.get("/v1/budgets")).status_code == 401
            for name in ("ann", "bob", "eve"):
                assert (await at.ask("hi", headers={"x-api-key": keys[name]})).status_code == 200
            await ended(at)
            ann, bob, eve = await told("ann"), await told("bob"), await told("eve")
            assert ann["team"]["spent_usd"] == bob["team"]["spent_usd"], "ann and bob are of one team"
            assert ann["team"]["value"] == "core"
            assert ann["team"]["spent_usd"] == pytest.approx(
                ann["person"]["spent_usd"] + bob["person"]["spent_usd"]
            )
            assert eve["team"]["spent_usd"] == eve["person"]["spent_usd"] > 0
            assert ann["person"]["over"] == {"reject": 402}
            assert (ann["team"]["limit_usd"], ann["team"]["reached"], ann["team"]["reserved_usd"]) == (
                1.0,
                False,
                0.0,
            )
            assert 3_500 < ann["team"]["empty_in_seconds"] <= 3_660
            keys["ann again"] = add_key(tmp_path, "ann", "core")
            at.engine.keyring.look()
            again = await told("ann again")
            assert again["person"]["spent_usd"] == ann["person"]["spent_usd"], "a new key spends on"
            loner = await told("loner")
            assert set(loner) == {"person"}, "who has no team has no budget of one"
            assert loner["person"]["spent_usd"] == 0

    run(play())


def test_an_engine_without_keys_tells_all_of_its_budgets(house: Any) -> None:
    async def play() -> None:
        async with house(HEAD + TEAMS) as at:
            assert (await at.client.get("/v1/budgets")).json() == {"budgets": []}
            assert (await at.ask("hi")).status_code == 200
            await ended(at)
            (told,) = (await at.client.get("/v1/budgets")).json()["budgets"]
            assert (told["budget"], told["per"], told["value"]) == ("person", "identity.name", "local")
            ready = (await at.client.get("/ready")).json()
            assert ready["budgets"] == {"open": 0, "status": "ok"}

    run(play())


# -- crashes

CRASHING = """
import asyncio, random, sys, time
from engine.core.decision import Result
from engine.core.reply import Usage
from engine.server.journal import Journal
from engine.server.ledger import Books
from engine.snapshot import build

LOCAL = (("identity.name", "local"),)

async def main(path, seed, catalog, policy):
    chance = random.Random(seed)
    snapshot = build({"c.yaml": catalog, "p.yaml": policy})
    journal = await Journal.open(path)
    books = await Books.open(journal, snapshot, lambda *_, **__: None)
    books.chore = asyncio.ensure_future(books.follow())

    async def request(id):
        books.ledger.reserve(id, LOCAL, 3_000, time.time())
        await books.committed(id)
        print("reserved", id, flush=True)
        await asyncio.sleep(chance.uniform(0, 0.3))
        print("ends", id, flush=True)
        result = Result(id, time.time(), 200, "m", "e", 1, "end_turn", Usage(), 1e-6, 1.0, None)
        books.settle(result, snapshot)
        journal.record(result)

    number = 0
    while True:
        for _ in range(10):
            asyncio.ensure_future(request(f"s{seed}-{number}"))
            number += 1
        await asyncio.sleep(0.005)

asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]))
"""


def test_a_killed_engine_forgets_nothing_that_was_spent(tmp_path: Path) -> None:
    """Whatever was reserved and had not ended is charged in full, whatever had for what it came to, or in full."""
    path, said = tmp_path / "j.db", tmp_path / "said"
    for seed in range(3):
        with said.open("ab") as out:
            child = subprocess.Popen(
                [sys.executable, "-c", CRASHING, str(path), str(seed), CATALOG, HEAD + STOP % 1000],
                stdout=out,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            )
            size = said.stat().st_size
            deadline = time.monotonic() + 20
            while said.stat().st_size < size + 10_000 and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(random.Random(seed).uniform(0.0, 0.4))
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
    lines = [line.split() for line in said.read_text().splitlines() if line.count(" ") == 1]
    reserved = {id for kind, id in lines if kind == "reserved"}
    ends = {id for kind, id in lines if kind == "ends"}
    assert len(reserved) > 500
    assert len(reserved - ends) > 10

    async def check() -> None:
        async with opened(path) as books:
            total = spent(books)
        assert total >= 3_000 * len(reserved - ends) + 1_000 * len(ends)
        async with opened(path) as books:
            assert spent(books) == total, "once"

    run(check())
