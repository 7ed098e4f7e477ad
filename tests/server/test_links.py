"""Signed links: what they let their holder say, and that they let nobody say more."""

import asyncio
import time
from typing import Any

import pytest

from engine.server.links import SECRET, Link, LinkError, page, read_link, secret_of, sign

KEY = b"a secret of more than enough characters"
LINK = Link("d1", "", 2_000.0)


def test_a_link_names_one_decision_or_session_until_it_expires() -> None:
    for link in (LINK, Link("", "meine Sitzung/ü", 2_000.0)):
        assert read_link(sign(link, KEY), KEY, 1_999.0) == link


def test_an_expired_link_says_when_and_what_to_do() -> None:
    with pytest.raises(LinkError, match="expired on 1970-01-01 00:33 UTC; make another") as error:
        read_link(sign(LINK, KEY), KEY, 2_000.0)
    assert error.value.fault.http_status == 410


@pytest.mark.parametrize("at", range(0, 90, 7))
def test_a_link_with_any_character_changed_is_refused(at: int) -> None:
    token = sign(LINK, KEY)
    at %= len(token) - 1
    other = "A" if token[at] != "A" else "B"
    with pytest.raises(LinkError, match="not made here") as error:
        read_link(f"{token[:at]}{other}{token[at + 1 :]}", KEY, 1.0)
    assert error.value.fault.http_status == 403


@pytest.mark.parametrize("token", ["", ".", "a", "ä.ö", "a.b.c", "x" * 10_000, "%00.%00"])
def test_what_is_no_link_is_refused(token: str) -> None:
    with pytest.raises(LinkError):
        read_link(token, KEY, 1.0)


def test_another_secret_takes_all_links_back() -> None:
    with pytest.raises(LinkError, match="not made here"):
        read_link(sign(LINK, KEY), KEY + b"!", 1.0)


@pytest.mark.parametrize(
    ("environment", "says"),
    [({}, f"set {SECRET} to the same text"), ({SECRET: "short"}, "takes 16 characters or more")],
)
def test_without_a_good_secret_there_are_no_links(environment: dict[str, str], says: str) -> None:
    with pytest.raises(LinkError, match=says):
        secret_of(environment)


def test_the_page_shows_names_as_text() -> None:
    assert "<script>" not in page(Link("", "<script>alert(1)</script>", 2_000.0))


def test_a_ci_job_says_what_became_of_the_work_without_a_key(house: Any) -> None:
    async def play() -> None:
        async with house(environment={SECRET: KEY.decode()}) as it, asyncio.timeout(60):
            name = (await it.ask("Rename it.")).headers["x-weave-decision"]
            path = f"/v1/outcomes/{sign(Link(name, '', time.time() + 60), KEY)}"
            shown = await it.client.get(path)
            assert shown.headers["content-type"].startswith("text/html")
            assert name in shown.text
            assert "default-src 'none'" in shown.headers["content-security-policy"]
            assert (
                await it.engine.journal.rows("SELECT id FROM outcomes") == []
            )  # who only looks says nothing
            passed = await it.client.post(f"{path}?result=passed")
            assert (passed.status_code, passed.json()["worth"]) == (200, 1.0)
            assert (await it.client.post(f"{path}?result=passed")).json()["repeated"]
            typed = {"content-type": "application/x-www-form-urlencoded"}  # as curl -d says
            failed = await it.client.post(path, content=b'{"tests_failed": 2}', headers=typed)
            assert failed.json()["outranks"] == [passed.json()["id"]]
            told = await it.engine.journal.outcome(failed.json()["id"])
            assert (told.source, told.decision, told.tests_failed) == ("link", name, 2)

    asyncio.run(play())


@pytest.mark.parametrize(
    ("query", "body", "status", "says"),
    [
        ("", b"", 400, "add ?result=passed or ?result=failed"),
        ("?result=maybe", b"", 400, "result is passed or failed"),
        ("?result=passed", b'{"rating": 1}', 400, "say what happened once"),
        ("", b'{"rating": 1, "session": "other"}', 400, "is about decision d1 alone"),
        ("", b'{"rating": 3}', 400, "rating is a number from -1 to 1"),
        ("", b"[", 400, "not valid JSON"),
        ("?result=passed", b"", 404, "no decision 'd1' in the journal"),
    ],
)
def test_what_a_link_does_not_take_is_told(
    house: Any, query: str, body: bytes, status: int, says: str
) -> None:
    async def play() -> None:
        async with house(environment={SECRET: KEY.decode()}) as it, asyncio.timeout(60):
            path = f"/v1/outcomes/{sign(Link('d1', '', time.time() + 60), KEY)}"
            reply = await it.client.post(path + query, content=body)
            assert (reply.status_code, says in reply.json()["error"]["message"]) == (status, True)

    asyncio.run(play())


def test_bad_and_expired_links_and_engines_without_a_secret_say_so(house: Any) -> None:
    async def play() -> None:
        expired = f"/v1/outcomes/{sign(Link('d1', '', time.time() - 1), KEY)}"
        async with house(environment={SECRET: KEY.decode()}) as it, asyncio.timeout(60):
            assert (await it.client.post("/v1/outcomes/nonsense?result=passed")).status_code == 403
            assert (await it.client.get(expired)).status_code == 410
        async with house() as it, asyncio.timeout(60):
            refused = await it.client.post(f"{expired}?result=passed")
            assert (refused.status_code, SECRET in refused.json()["error"]["message"]) == (403, True)

    asyncio.run(play())
