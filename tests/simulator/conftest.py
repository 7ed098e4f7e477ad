"""One simulator in a thread for the whole folder; each test finds it healed and with an empty memory."""

import base64
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from engine.simulator import Simulator, run_in_thread

Post = Callable[..., httpx.Response]
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(100)).decode()


@pytest.fixture(scope="session")
def shared() -> Iterator[Simulator]:
    with run_in_thread() as simulator:
        yield simulator


@pytest.fixture
def simulator(shared: Simulator) -> Simulator:
    shared.heal()
    shared.received.clear()
    return shared


@pytest.fixture(scope="session")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=10) as client:
        yield client


@pytest.fixture
def messages(simulator: Simulator, http: httpx.Client) -> Post:
    """Post to Anthropic's Messages: fields of the body by name, over a small valid request; None takes one
    away."""

    def post(*, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
        body = {"model": "claude-opus-4-5", "max_tokens": 1_000, "messages": [user("hello")], **fields}
        usual = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
        url = f"{simulator.url('anthropic')}/v1/messages"
        return http.post(url, json=_set(body), headers=usual if headers is None else headers)

    return post


@pytest.fixture
def chat(simulator: Simulator, http: httpx.Client) -> Post:
    """The same for Chat Completions, at any of the providers that speak it."""

    def post(
        *, provider: str = "openai", headers: dict[str, str] | None = None, **fields: Any
    ) -> httpx.Response:
        body = {"model": "gpt-4.1", "messages": [user("hello")], **fields}
        usual = {"authorization": "Bearer k"}
        url = f"{simulator.url(provider)}/chat/completions"
        return http.post(url, json=_set(body), headers=usual if headers is None else headers)

    return post


def _set(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


@pytest.fixture(scope="session")
def png() -> str:
    """A small picture, as base64."""
    return PNG
