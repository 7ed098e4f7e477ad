import asyncio
import re
from typing import Any

import pytest

from engine.core.conversation import Image, Message, Request, Text, Tuning
from engine.protocols import PROTOCOLS
from engine.server.contents import (
    MOST_CHARACTERS,
    REDACTED,
    contents,
    hashed,
    reply_text,
    without_secrets,
)

KEY = b"k" * 32
SECRETS = [
    "sk-" + "ant-" + "abcd0123" * 3,
    "sk-proj-abcdefghijklmnopqrstuv",
    "wk_0123456789ab_abcdefghijklmnop",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "github_pat_11ABCDEFG0abcdefghijkl_mnopqrstuv",
    "AKIAIOSFODNN7EXAMPLE",
    "AIzaSyA-abcdefghijklmnopqrstuvwxyz12345",
    "xoxb-123456789012-abcdefghij",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghijk",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----",
]
POLICY = """\
apiVersion: weave/v1
kind: Policy
metadata: {name: default}
default: {use: small}
"""


def request(*texts: str) -> Request:
    return of_messages(
        *(
            Message("user" if number % 2 == 0 else "assistant", (Text(text),))
            for number, text in enumerate(texts)
        )
    )


def of_messages(*messages: Message) -> Request:
    return Request("anthropic-messages", "opus", (), messages, (), Tuning(), stream=False, body={}, raw=b"")


@pytest.mark.parametrize("secret", SECRETS)
def test_what_looks_like_a_key_is_not_kept(secret: str) -> None:
    kept = contents("full", KEY, "d1", 1.0, request(f"use {secret} please"), f"I used {secret}.")
    assert kept.user_text == f"use {REDACTED} please"
    assert kept.reply_text == f"I used {REDACTED}."


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Authorization: Bearer abcdefghijklmnop", f"Authorization: Bearer {REDACTED}"),
        ("postgres://ann:hunter2@db/x", f"postgres://{REDACTED}@db/x"),
        ("skip-the-tests and task-force-something-long", "skip-the-tests and task-force-something-long"),
        ("bearer of bad news", "bearer of bad news"),
        ("https://example.com/a:b@c", "https://example.com/a:b@c"),
    ],
)
def test_of_a_text_only_the_secret_goes(text: str, kept: str) -> None:
    assert without_secrets(text) == kept


def test_texts_are_bounded_and_no_secret_is_cut_in_two() -> None:
    long = "x " * MOST_CHARACTERS
    assert len(contents("full", KEY, "d", 1.0, request(long), long).user_text) == MOST_CHARACTERS
    edge = "y " * (MOST_CHARACTERS // 2 - 5) + SECRETS[0]
    assert "sk-a" not in contents("full", KEY, "d", 1.0, request(edge), "").user_text


def test_the_same_text_has_the_same_hash_under_the_same_key_alone() -> None:
    first = contents("hashed", KEY, "d1", 1.0, request("hello", "hi", "again"), "reply")
    second = contents("hashed", KEY, "d2", 2.0, request("hello", "hi", "again"), "")
    assert first.message_hashes == second.message_hashes
    assert len(set(first.message_hashes)) == 3
    assert first.user_hash == hashed("again", KEY) != hashed("again", b"another")
    assert (first.user_text, first.reply_text) == ("", "")


def test_what_is_no_text_is_hashed_too() -> None:
    seen, other = (of_messages(Message("user", (Image("image/png", word),))) for word in ("AAAA", "BBBB"))
    one, two = (contents("hashed", KEY, "d", 1.0, each, "") for each in (seen, other))
    assert one.message_hashes != two.message_hashes
    assert one.user_hash == ""


def test_an_answer_that_is_cut_off_tells_what_there_is() -> None:
    assert reply_text(PROTOCOLS["openai-chat"], b'{"choices": [{"mess', streamed=False) == ""
    begun = b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"as far"}}]}\n\ndata: {"ch'
    assert reply_text(PROTOCOLS["openai-chat"], begun, streamed=True) == "as far"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("client", ["ask", "chat"])
def test_the_journal_keeps_of_words_what_the_policy_asks_for(house: Any, stream: bool, client: str) -> None:
    text = "[[sim: text=the answer]] and a secret word: sk-abcdefghijklmnopqrstu"

    async def kept(at: Any) -> Any:
        reply = await getattr(at, client)(text, stream=stream)
        assert reply.status_code == 200
        id = reply.headers["x-weave-decision"]
        for _ in range(100):
            if await at.engine.journal.result(id):
                break
            await asyncio.sleep(0.01)
        return await at.engine.journal.contents(id)

    async def story() -> None:
        async with house(POLICY) as at:
            assert await kept(at) is None
        async with house(POLICY + "record: hashed\n") as at:
            one, two = await kept(at), await kept(at)
            assert one.message_hashes == two.message_hashes != ()
            assert (one.user_text, one.reply_text) == ("", "")
        async with house(POLICY + "record: full\n") as at:
            found = await kept(at)
            assert "a secret word: [redacted]" in found.user_text
            assert "the answer" in re.sub(r"\s+", " ", found.reply_text)

    asyncio.run(story())
