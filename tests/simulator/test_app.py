"""What happens around an answer: troubles, records, the control endpoint, clients that leave."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from engine.simulator import Simulator
from engine.simulator.app import order_from
from engine.simulator.channel import Received
from engine.simulator.faults import Kind, Order, Trouble

Post = Callable[..., httpx.Response]


def script(directive: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": f"[[sim: {directive}]] [[sim: words=60]]"}]


def last(simulator: Simulator) -> Received:
    return simulator.received[-1]


def test_what_was_received_is_remembered(simulator: Simulator, messages: Post) -> None:
    messages(headers={"x-api-key": "secret", "anthropic-version": "2023-06-01", "x-more": "1"}, metadata={})
    record = last(simulator)
    assert (record.provider, record.model, record.path) == (
        "anthropic",
        "claude-opus-4-5",
        "/anthropic/v1/messages",
    )
    assert (record.headers["x-api-key"], record.headers["x-more"]) == ("secret", "1")
    assert record.json["metadata"] == {}
    assert b'"metadata"' in record.body
    assert (record.status, record.done, record.client_gone, record.trouble) == (200, True, False, "")
    assert record.sent > 100


def test_what_is_said_can_tell_which_call_said_it(simulator: Simulator, messages: Post) -> None:
    asked = [{"role": "user", "content": "[[sim: text=by @call]]"}]
    said = [messages(messages=asked).json()["content"][0]["text"] for _ in range(2)]
    first, second = (record.number for record in list(simulator.received)[-2:])
    assert said == [f"by {simulator.seed}-{first}", f"by {simulator.seed}-{second}"]


def test_a_path_that_is_nobodys_is_not_found(simulator: Simulator, http: httpx.Client) -> None:
    base = f"http://{simulator.host}:{simulator.port}"
    for path in ("/", "/nobody/v1/messages", "/openai/v2/chat/completions"):
        assert http.post(base + path, json={}).status_code == 404
    missing = http.get(f"{simulator.url('anthropic')}/v1/elsewhere")
    assert missing.json()["error"]["type"] == "not_found_error"


def test_an_error_page_is_no_json(chat: Post) -> None:
    reply = chat(messages=script("html_502"))
    assert reply.status_code == 502
    assert reply.headers["content-type"] == "text/html"
    assert "<html>" in reply.text


def test_an_empty_answer_is_a_200_with_nothing(chat: Post) -> None:
    reply = chat(messages=script("empty"))
    assert (reply.status_code, reply.content) == (200, b"")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("directive", ["drop", "cut"])
def test_a_broken_connection_is_no_end_of_an_answer(messages: Post, directive: str, stream: bool) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        messages(messages=script(directive), stream=stream)


def test_a_stream_is_cut_after_as_many_pieces_as_it_says(simulator: Simulator, http: httpx.Client) -> None:
    body = {"model": "gpt-4.1", "stream": True, "messages": script("cut=3")}
    url = f"{simulator.url('openai')}/chat/completions"
    told = bytearray()

    def read() -> None:
        with http.stream("POST", url, json=body, headers={"authorization": "Bearer k"}) as reply:
            for piece in reply.iter_bytes():
                told.extend(piece)

    with pytest.raises(httpx.RemoteProtocolError):
        read()
    assert told.count(b'"delta":{"content":"') == 3
    assert last(simulator).trouble == "cut"


def test_a_trouble_due_after_the_end_of_a_short_answer_still_comes(messages: Post) -> None:
    text = [{"role": "user", "content": "[[sim: cut=50]] [[sim: text=ok]]"}]
    with pytest.raises(httpx.RemoteProtocolError):
        messages(messages=text, stream=True)


def test_a_stream_that_does_not_end_lacks_its_last_events(messages: Post) -> None:
    reply = messages(messages=script("unended"), stream=True)
    assert "content_block_delta" in reply.text
    assert "message_stop" not in reply.text


def test_a_malformed_event_stands_in_a_stream_that_goes_on(messages: Post) -> None:
    reply = messages(messages=script("malformed"), stream=True)
    assert '"del\n\n' in reply.text
    assert "message_stop" in reply.text


@pytest.mark.parametrize("directive", ["malformed", "unended"])
def test_a_whole_reply_is_cut_short(messages: Post, directive: str) -> None:
    reply = messages(messages=script(directive))
    assert reply.status_code == 200
    with pytest.raises(ValueError):
        reply.json()


@pytest.mark.parametrize(("directive", "deltas"), [("error_in_stream=before", 0), ("error_in_stream", 2)])
def test_an_error_event_comes_before_or_after_content(messages: Post, directive: str, deltas: int) -> None:
    reply = messages(messages=script(directive), stream=True)
    assert reply.status_code == 200
    assert reply.text.startswith("event: message_start")
    assert reply.text.count("event: content_block_delta") == deltas
    assert reply.text.rstrip().splitlines()[-2] == "event: error"


@pytest.mark.parametrize("directive", ["error_in_stream status=429", "first_event_error status=429"])
def test_an_error_inside_a_stream_is_a_status_where_nothing_streams(chat: Post, directive: str) -> None:
    assert chat(messages=script(directive)).status_code == 429


@pytest.mark.parametrize(
    ("directive", "stream"), [("slow_first_token=0.2", True), ("slow_headers=0.2", False)]
)
def test_slowness_takes_its_time(chat: Post, directive: str, stream: bool) -> None:
    began = time.monotonic()
    assert chat(messages=script(directive), stream=stream).status_code == 200
    assert time.monotonic() - began >= 0.2


def test_a_slow_first_token_comes_after_the_headers(simulator: Simulator, http: httpx.Client) -> None:
    body = {"model": "gpt-4.1", "stream": True, "messages": script("slow_first_token=1")}
    began = time.monotonic()
    with http.stream(
        "POST",
        f"{simulator.url('openai')}/chat/completions",
        json=body,
        headers={"authorization": "Bearer k"},
    ) as reply:
        assert time.monotonic() - began < 0.9
        reply.read()
    assert time.monotonic() - began >= 1


def test_a_stall_with_an_end_goes_on_after_it(messages: Post) -> None:
    reply = messages(messages=script("stall seconds=0.1"), stream=True)
    assert "message_stop" in reply.text


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_is_noticed_at_once(simulator: Simulator, stream: bool) -> None:
    body = {"model": "gpt-4.1", "stream": stream, "messages": script("stall")}

    async def leave() -> None:
        async with httpx.AsyncClient(timeout=httpx.Timeout(10, read=0.3)) as client:
            with pytest.raises(httpx.ReadTimeout):
                await client.post(
                    f"{simulator.url('openai')}/chat/completions",
                    json=body,
                    headers={"authorization": "Bearer k"},
                )

    asyncio.run(leave())
    assert _until(lambda: last(simulator).client_gone)
    assert not last(simulator).done


def _until(holds: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.005)
    return holds()


def test_a_client_that_stays_is_not_taken_for_gone(simulator: Simulator, messages: Post) -> None:
    for _ in range(20):
        messages(stream=True)
    time.sleep(0.05)
    assert not any(record.client_gone for record in simulator.received)


@pytest.mark.parametrize("stream", [True, False])
def test_packed_answers_are_sent_to_those_who_can_unpack_them(chat: Post, stream: bool) -> None:
    packed = {"authorization": "Bearer k", "accept-encoding": "gzip"}
    plain = {"authorization": "Bearer k", "accept-encoding": "identity"}
    first = chat(messages=script("gzip"), stream=stream, headers=packed)
    second = chat(messages=script("gzip"), stream=stream, headers=plain)
    assert first.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in second.headers
    assert "every test" in first.text
    assert len(first.text) == len(second.text)


@pytest.mark.parametrize(
    "kind", ["status", "html", "error", "first_event_error", "malformed", "unended", "empty"]
)
def test_troubles_ordered_from_outside_strike_without_a_word_in_the_prompt(
    simulator: Simulator, messages: Post, kind: Kind
) -> None:
    simulator.fail("anthropic", kind=kind, times=1)
    assert messages(stream=True).status_code in (200, 502, 529)
    assert last(simulator).trouble.split()[0] == kind
    assert messages(stream=True).text.rstrip().endswith('{"type": "message_stop"}')


def test_counting_tokens_and_listing_models_use_up_no_orders(
    simulator: Simulator, http: httpx.Client
) -> None:
    simulator.fail("anthropic", times=1)
    headers = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
    body = {"model": "claude-opus-4-5", "messages": [{"role": "user", "content": "x"}]}
    url = f"{simulator.url('anthropic')}/v1"
    assert http.post(f"{url}/messages/count_tokens", json=body, headers=headers).status_code == 200
    assert http.get(f"{url}/models", headers=headers).status_code == 200
    assert http.post(f"{url}/messages", json={**body, "max_tokens": 9}, headers=headers).status_code == 529


def test_orders_name_models_by_either_name(simulator: Simulator, messages: Post) -> None:
    simulator.fail(model="opus", times=1)
    simulator.fail(model="claude-haiku-4-5", times=1, status=503)
    assert messages().status_code == 529
    assert messages(model="claude-haiku-4-5").status_code == 503
    assert messages().status_code == 200


def test_orders_can_be_given_and_taken_back_over_http(
    simulator: Simulator, http: httpx.Client, chat: Post
) -> None:
    control = f"http://{simulator.host}:{simulator.port}/_sim"
    order = {"provider": "openai", "status": 429, "retry_after": 3, "times": 5}
    assert http.post(f"{control}/faults", json=order).json() == {"standing": 1}
    assert chat().headers["retry-after"] == "3"
    assert http.delete(f"{control}/faults").json() == {"standing": 0}
    assert chat().status_code == 200
    told = http.get(f"{control}/received").json()
    assert [each["status"] for each in told] == [429, 200]
    assert "gpt-5.4" in http.get(f"{control}/health").json()["models"]
    assert http.get(f"{control}/nothing").status_code == 404


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"kind": "flood"}', b'{"kind": "cut", "often": true}'])
def test_an_order_that_makes_no_sense_is_refused(
    simulator: Simulator, http: httpx.Client, body: bytes
) -> None:
    reply = http.post(f"http://{simulator.host}:{simulator.port}/_sim/faults", content=body)
    assert reply.status_code == 400
    assert reply.json()["error"]
    assert simulator.faults.standing == ()


def test_an_order_is_read_from_its_json() -> None:
    value = {"kind": "cut", "after": 3, "model": "opus", "rate": 0.5}
    assert order_from(value) == Order(Trouble("cut", after=3), model="opus", rate=0.5)


def test_a_key_is_not_needed_where_the_catalog_says_so(messages: Post, chat: Post) -> None:
    stand_in = {"x-simulator-key": "none needed", "anthropic-version": "2023-06-01"}
    assert messages(headers=stand_in).status_code == 200
    assert chat(headers=stand_in).status_code == 200


def test_answers_differ_between_requests_only_in_their_ids(messages: Post) -> None:
    fields: dict[str, Any] = {"messages": script("words=30")}
    first, second = messages(**fields).json(), messages(**fields).json()
    assert first.pop("id") != second.pop("id")
    assert first == second
