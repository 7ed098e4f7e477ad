"""Who may ask a running engine, and that a key is never seen again."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from engine.core.errors import WeaveError
from engine.core.identity import LOCAL, Identity
from engine.server import identity as identity_module
from engine.server.identity import Keyring, identify, query_key
from engine.server.keys import KeysError, change, new_key

ANN = Identity("ann", "core", "internal")


def run(coroutine: Any) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await coroutine

    asyncio.run(bounded())


@pytest.fixture
def add(tmp_path: Path) -> Callable[..., str]:
    """Adds a key to the file of the house's engine, and gives the key."""

    def added(identity: Identity = ANN, expires: int | None = None) -> str:
        text, key = new_key(identity, int(time.time()), expires)
        change(tmp_path / "weave-keys.json", lambda keys: keys.with_key(key))
        return text

    return added


class Holder:
    """As much of an engine as `identify` looks at."""

    def __init__(self, ring: Keyring) -> None:
        self.keyring = ring


def asked(ring: Keyring, headers: dict[str, str], query: str = "") -> Identity:
    return identify(Holder(ring), headers, query)  # type: ignore[arg-type]  # no more of it is needed


PLACES: list[Callable[[str], tuple[dict[str, str], str]]] = [
    lambda key: ({"x-weave-key": key}, ""),
    lambda key: ({"x-api-key": key}, ""),
    lambda key: ({"authorization": f"Bearer {key}"}, ""),
    lambda key: ({"authorization": f"bearer  {key}"}, ""),
    lambda key: ({"x-goog-api-key": key}, ""),
    lambda key: ({}, f"alt=sse&key={quote(key)}"),
    lambda key: ({"x-api-key": "sk-ant-somebody", "authorization": f"Bearer {key}"}, ""),
    lambda key: ({"x-weave-key": key, "x-api-key": "wk_none", "authorization": "Bearer eyJ"}, "key=AIza"),
]


@pytest.mark.parametrize("place", PLACES, ids=range(len(PLACES)))
def test_a_key_is_heard_wherever_clients_put_it(
    place: Callable[[str], tuple[dict[str, str], str]], add: Callable[..., str], tmp_path: Path
) -> None:
    key = add()
    ring = Keyring(tmp_path / "weave-keys.json")
    assert asked(ring, *place(key)) == ANN
    with pytest.raises(WeaveError):
        asked(ring, *place(key[:-1] + ("0" if key[-1] != "0" else "1")))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-api-key": ""},
        {"x-api-key": "sk-ant-api03-0123456789"},
        {"authorization": "Basic d2tfOng="},
        {"authorization": "Bearer "},
        {"authorization": "Bearer wk_\xe9\xe9"},
        {"x-weave-key": "wk_" + "\xff" * 77},
        {"x-goog-api-key": "wk_" + "0" * 1_000_000},
        {"x-weave-key": ", ".join(["wk_" + "0" * 12 + "_" + "0" * 64] * 2)},
    ],
    ids=range(9),
)
def test_whoever_has_no_key_is_nobody_and_hears_it_quickly(
    headers: dict[str, str], add: Callable[..., str], tmp_path: Path
) -> None:
    add()
    ring = Keyring(tmp_path / "weave-keys.json")
    began = time.perf_counter()
    for _ in range(100):
        with pytest.raises(WeaveError) as raised:
            asked(ring, headers)
    assert time.perf_counter() - began < 1.0
    fault = raised.value.fault
    assert (fault.kind, fault.http_status, fault.origin) == ("authentication", 401, "client")
    for sent in headers.values():
        assert len(sent) < 10 or sent not in fault.message


def test_a_key_in_x_weave_key_counts_alone_so_that_the_others_stay_the_clients_own(
    add: Callable[..., str], tmp_path: Path
) -> None:
    key = add()
    ring = Keyring(tmp_path / "weave-keys.json")
    with pytest.raises(WeaveError, match="x-weave-key is none of this engine's"):
        asked(ring, {"x-weave-key": "nonsense", "x-api-key": key})


def test_a_query_that_is_too_long_is_not_looked_through() -> None:
    assert query_key("a=b&key=wk_1") == "wk_1"
    assert query_key(b"key=wk%5F1&key=other") == "wk_1"
    assert query_key("monkey=1") is None
    assert query_key("a=" + "b" * 100_000 + "&key=wk_1") is None


def test_a_dead_key_says_to_its_holder_when_it_died(add: Callable[..., str], tmp_path: Path) -> None:
    key = add(expires=1_000)
    ring = Keyring(tmp_path / "weave-keys.json")
    with pytest.raises(WeaveError, match="of ann expired on 1970-01-01 00:16 UTC") as raised:
        asked(ring, {"x-api-key": key})
    assert key not in raised.value.fault.message


def test_an_engine_without_a_file_of_keys_is_the_operators_own(tmp_path: Path) -> None:
    ring = Keyring(tmp_path / "weave-keys.json")
    assert asked(ring, {}) is LOCAL
    assert asked(ring, {"x-weave-key": "whatever"}) is LOCAL
    assert ring.look() is False


def test_keys_are_taken_up_while_the_engine_runs_and_one_is_enough_to_close_it(
    add: Callable[..., str], tmp_path: Path
) -> None:
    path = tmp_path / "weave-keys.json"
    ring = Keyring(path)
    first = add()
    assert asked(ring, {}) is LOCAL
    assert ring.look() is True
    assert ring.closed
    assert asked(ring, {"x-api-key": first}) == ANN
    second = add(Identity("bob"))
    assert ring.look() is True
    assert asked(ring, {"x-api-key": second}) == Identity("bob")
    assert ring.names == ("local", "ann", "bob")
    assert ring.look() is False


@pytest.mark.parametrize("damage", ["{", '{"version": 1, "keys": [{}]}', None])
def test_a_file_that_is_damaged_or_gone_leaves_the_last_good_keys_in_force_and_says_so(
    damage: str | None, add: Callable[..., str], tmp_path: Path
) -> None:
    path = tmp_path / "weave-keys.json"
    key = add()
    ring = Keyring(path)
    if damage is None:
        path.unlink()
    else:
        path.write_text(damage)
    assert ring.look() is True
    assert asked(ring, {"x-api-key": key}) == ANN
    with pytest.raises(WeaveError):
        asked(ring, {})
    assert "weave-keys.json" in ring.health(0.0)["trouble"]
    path.unlink(missing_ok=True)
    again = add(Identity("bob"))
    assert ring.look() is True
    assert ring.health(0.0)["trouble"] is None
    assert asked(ring, {"x-api-key": again}) == Identity("bob")


def test_an_open_engine_closes_when_a_file_appears_that_it_cannot_read(tmp_path: Path) -> None:
    path = tmp_path / "weave-keys.json"
    ring = Keyring(path)
    path.write_text("{")
    ring.look()
    with pytest.raises(WeaveError):
        asked(ring, {})


def test_an_engine_that_lost_all_its_keys_does_not_open_up(add: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "weave-keys.json"
    key = add()
    ring = Keyring(path)
    path.write_text('{"version": 1, "keys": []}')
    ring.look()
    for headers in ({}, {"x-api-key": key}):
        with pytest.raises(WeaveError):
            asked(ring, headers)


def test_an_engine_does_not_start_on_keys_it_cannot_read(house: Any, tmp_path: Path) -> None:
    (tmp_path / "weave-keys.json").write_text("{")

    async def play() -> None:
        with pytest.raises(KeysError, match="damaged"):
            async with house():
                pass

    run(play())


# Over HTTP ----------------------------------------------------------------------------------------------------------

MESSAGE = {"role": "user", "content": "hello"}
CHAT = {"model": "gpt-5.4", "messages": [MESSAGE]}
CONTENTS = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}

# method, path, body, and where the words of a refusal are in its caller's protocol
CLOSED: list[tuple[str, str, Any, Callable[[Any], str]]] = [
    ("POST", "/v1/messages", {**CHAT, "max_tokens": 9}, lambda told: told["error"]["type"]),
    ("POST", "/v1/messages/count_tokens", CHAT, lambda told: told["error"]["type"]),
    ("POST", "/v1/chat/completions", CHAT, lambda told: told["error"]["type"]),
    ("POST", "/v1/responses", {"model": "gpt-5.4", "input": "hi"}, lambda told: told["error"]["type"]),
    ("POST", "/v1beta/models/gpt:generateContent", CONTENTS, lambda told: told["error"]["status"]),
    ("POST", "/v1beta/models/gpt:countTokens", CONTENTS, lambda told: told["error"]["status"]),
    ("GET", "/v1/models", None, lambda told: told["error"]["type"]),
    ("GET", "/v1/models/opus", None, lambda told: told["error"]["type"]),
    ("GET", "/v1beta/models", None, lambda told: told["error"]["status"]),
    ("POST", "/v1/route", CHAT, lambda told: told["error"]["type"]),
    ("POST", "/v1/outcomes", {"decision": "d1", "rating": 1}, lambda told: told["error"]["type"]),
    ("GET", "/v1/decisions/d1", None, lambda told: told["error"]["type"]),
]


@pytest.mark.parametrize(("method", "path", "body", "words"), CLOSED, ids=[row[1] for row in CLOSED])
def test_where_keys_are_needed_every_path_needs_one_and_says_so_in_the_callers_protocol(
    method: str,
    path: str,
    body: Any,
    words: Callable[[Any], str],
    house: Any,
    add: Callable[..., str],
) -> None:
    key = add()

    async def play() -> None:
        async with house() as it:
            refused = await it.client.request(method, path, json=body)
            assert refused.status_code == 401
            assert words(refused.json()) in (
                "authentication_error",
                "UNAUTHENTICATED",
                "invalid_request_error",
            )
            assert "x-weave-key" in refused.text
            assert not it.simulator.received
            let_in = await it.client.request(method, path, json=body, headers={"x-weave-key": key})
            assert let_in.status_code in (200, 404), let_in.text
            assert (let_in.status_code == 404) == ("d1" in path or "outcomes" in path)

    run(play())


def test_strangers_learn_that_an_engine_lives_and_no_more(house: Any, add: Callable[..., str]) -> None:
    key = add()

    async def play() -> None:
        async with house() as it:
            assert (await it.client.get("/health")).status_code == 200
            assert (await it.client.get("/ready")).json() == {"status": "ready"}
            told = (await it.client.get("/ready", headers={"authorization": f"Bearer {key}"})).json()
            assert told["keys"] == {"needed": True, "live": 1, "trouble": None}
            it.engine.draining = True
            assert (await it.client.get("/ready")).status_code == 503

    run(play())


def test_a_running_engine_takes_up_its_first_key_by_itself(
    house: Any, add: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity_module, "LOOK_SECONDS", 0.02)

    async def play() -> None:
        async with house() as it:
            assert (await it.ask("hello")).status_code == 200
            key = add()
            for _ in range(200):
                if (await it.client.get("/v1/models")).status_code == 401:
                    break
                await asyncio.sleep(0.02)
            assert (await it.ask("hello", headers={"x-api-key": key})).status_code == 200
            await asyncio.sleep(0.2)
            assert '"event":"keys"' in it.log.getvalue()

    run(play())


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.glob("weave.db*"))


def test_no_key_is_ever_in_the_log_the_journal_or_an_answer(
    house: Any, add: Callable[..., str], tmp_path: Path
) -> None:
    key, dead = add(), add(Identity("bob"), expires=5)
    wrong = key[:-8] + "00000000"

    async def play() -> None:
        async with house() as it:
            answers = [
                await it.ask("hello", headers={"x-api-key": key}),
                await it.ask("hello", headers={"authorization": f"Bearer {wrong}"}),
                await it.ask("hello", headers={"x-weave-key": dead}),
                await it.ask("hello", headers={"x-weave-key": key, "x-weave-task": key}),
                await it.client.post(f"/v1beta/models/gpt:generateContent?key={key}", json=CONTENTS),
                await it.client.post(f"/v1beta/models/gpt:nothing?key={key}", json=CONTENTS),
                await it.client.get(f"/nowhere?key={key}"),
                await it.client.get(f"/v1/models?key={wrong}"),
            ]
            assert [answer.status_code for answer in answers] == [200, 401, 401, 400, 200, 404, 404, 401]
            for answer in answers[:3] + answers[4:]:
                assert not any(secret in answer.text + str(answer.headers) for secret in (key, wrong, dead))
            for call in it.simulator.received:
                assert not any("wk_" in str(value) for value in call.headers.items())
            await asyncio.sleep(0.2)
            assert it.log.getvalue().count('"event":"refused"') >= 2
            kept = await asyncio.to_thread(everything_in, tmp_path)
            for secret in (key, wrong, dead):
                assert secret.rsplit("_", 1)[1] not in it.log.getvalue()
                assert secret.rsplit("_", 1)[1].encode() not in kept

    run(play())


def test_a_name_keeps_its_session_when_its_key_changes_and_another_name_has_its_own(
    house: Any, add: Callable[..., str]
) -> None:
    first, second, other = add(), add(), add(Identity("bob", "core"))

    async def play() -> None:
        async with house() as it:

            async def session(key: str) -> Any:
                headers = {"x-weave-key": key, "x-weave-session": "s", "x-weave-task": "plan"}
                id = (await it.ask("hello", headers=headers)).headers["x-weave-decision"]
                decision = await it.engine.journal.decision(id)
                return decision.session, decision.identity, decision.team, decision.data_class

            ann = await session(first)
            assert ann[1:] == ("ann", "core", "internal")
            assert await session(second) == ann
            bob = await session(other)
            assert bob[1:] == ("bob", "core", "")
            assert bob[0] != ann[0]
            await asyncio.sleep(0.2)
            lines = [json.loads(line) for line in it.log.getvalue().splitlines()]
            assert {line["identity"] for line in lines if line["event"] == "decision"} == {"ann", "bob"}

    run(play())


def test_a_model_is_forced_only_by_an_identity_that_may(house: Any, add: Callable[..., str]) -> None:
    may, may_not = add(), add(Identity("bob", may_force=False))

    async def play() -> None:
        async with house() as it:
            headers = {"x-weave-model": "haiku"}
            served = await it.ask("hello", headers={**headers, "x-weave-key": may})
            assert served.headers["x-weave-model"] == "haiku"
            refused = await it.ask("hello", headers={**headers, "x-weave-key": may_not})
            assert refused.status_code == 403
            assert refused.json()["error"]["type"] == "permission_error"
            assert "bob may not force a model" in refused.json()["error"]["message"]
            assert (await it.ask("hello", headers={"x-weave-key": may_not})).status_code == 200

    run(play())


def test_a_decision_is_shown_to_who_asked_and_to_their_team(house: Any, add: Callable[..., str]) -> None:
    ann, mate, stranger, alone = (
        add(ANN),
        add(Identity("bob", "core")),
        add(Identity("eve", "sales")),
        add(Identity("kim")),
    )

    async def play() -> None:
        async with house() as it:

            async def seen_by(id: str, key: str) -> int:
                told = await it.client.get(f"/v1/decisions/{id}", headers={"x-api-key": key})
                status: int = told.status_code
                return status

            id = (await it.ask("hello", headers={"x-api-key": ann})).headers["x-weave-decision"]
            assert [await seen_by(id, key) for key in (ann, mate, stranger, alone)] == [200, 200, 404, 404]
            id = (await it.ask("hello", headers={"x-api-key": alone})).headers["x-weave-decision"]
            assert [await seen_by(id, key) for key in (alone, stranger)] == [200, 404]

    run(play())


def test_an_outcome_of_a_session_is_told_by_whose_it_is_and_keeps_who_told_it(
    house: Any, add: Callable[..., str]
) -> None:
    ann, bob = add(), add(Identity("bob"))

    async def play() -> None:
        async with house() as it:
            headers = {"x-weave-session": "s1", "x-weave-task": "plan"}
            reply = await it.ask("hello", headers={**headers, "x-api-key": ann})
            told = {"session": "s1", "rating": 1}
            about = {"decision": reply.headers["x-weave-decision"], "rating": -1}
            for foreign in (told, about):
                refused = await it.client.post("/v1/outcomes", json=foreign, headers={"x-api-key": bob})
                assert refused.status_code == 404
            taken = await it.client.post("/v1/outcomes", json=told, headers={"x-api-key": ann})
            assert taken.status_code == 200
            kept = await it.engine.journal.told()
            assert [outcome.identity for outcome in kept] == ["ann"]

    run(play())
