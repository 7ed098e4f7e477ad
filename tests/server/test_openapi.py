"""/openapi.json says what is there, and all of it; `make fuzz` asks whatever it says can be asked."""

import json
from typing import Any, get_args

import jsonschema
import pytest
from jsonschema.validators import Draft202012Validator
from starlette.routing import Route

from engine.core.decision import Source
from engine.features.hints import HINTS, TASKS
from engine.server.openapi import openapi
from engine.server.routes import routes
from tests.server.security.acting import run

TOLD: dict[str, Any] = json.loads(openapi())
METHODS = {"get", "post"}


def described() -> set[tuple[str, str]]:
    """Paths and methods, as the router writes them: what Gemini is asked for is part of its last segment there."""
    found = set()
    for path, operations in TOLD["paths"].items():
        routed = path.replace("{name}", "{name:path}")
        if "{model}:" in path:
            routed = path.partition("{model}")[0] + "{call:path}"
        found |= {(routed, method) for method in operations if method in METHODS}
    return found


def test_every_path_that_is_answered_is_described_and_no_other(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            routed = {
                (route.path, method.lower())
                for route in routes(it.engine).routes
                if isinstance(route, Route)
                for method in route.methods or ()
                if method != "HEAD"
            }
            assert described() == routed
            assert (await it.client.get("/openapi.json")).json() == TOLD

    run(play())


def test_each_operation_has_a_name_of_its_own() -> None:
    names = [
        operation["operationId"]
        for operations in TOLD["paths"].values()
        for method, operation in operations.items()
        if method in METHODS
    ]
    assert len(names) == len(set(names))


def test_every_reference_leads_somewhere_and_every_part_is_used() -> None:
    used = set()

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if "$ref" in value:
                used.add(value["$ref"])
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(TOLD)
    there = {
        f"#/components/{kind}/{name}"
        for kind, parts in TOLD["components"].items()
        if kind != "securitySchemes"
        for name in parts
    }
    assert used == there


@pytest.mark.parametrize("name", TOLD["components"]["schemas"])
def test_every_schema_is_one(name: str) -> None:
    Draft202012Validator.check_schema(TOLD["components"]["schemas"][name])


def test_words_that_are_listed_are_those_that_are_taken() -> None:
    parameters = TOLD["components"]["parameters"]
    assert tuple(parameters["task"]["schema"]["enum"]) == TASKS
    headers = {header for header, _ in HINTS.values()}
    assert {parameter["name"] for parameter in parameters.values()} <= headers
    assert TOLD["components"]["schemas"]["Decision"]["properties"]["source"]["enum"] == list(get_args(Source))


def validate(reply: Any, path: str, method: str = "get") -> None:
    """That an answer is as described."""
    operation = TOLD["paths"][path][method]
    told = operation["responses"][str(reply.status_code)]
    kind = reply.headers["content-type"].partition(";")[0]
    schema = told["content"][kind]["schema"]
    if kind == "application/json":
        whole = {**schema, "components": TOLD["components"]}
        jsonschema.validate(reply.json(), whole, cls=Draft202012Validator)


def test_answers_are_as_described(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            client = it.client
            for path in (
                "/health",
                "/ready",
                "/metrics",
                "/v1/models",
                "/v1beta/models",
                "/v1/budgets",
                "/api/hello",
            ):
                validate(await client.get(path), path)
            validate(await client.get("/v1/models/opus"), "/v1/models/{name}")
            validate(await client.get("/v1/models/nobody"), "/v1/models/{name}")
            validate(await client.get("/v1beta/models/opus"), "/v1beta/models/{name}")
            validate(await client.get("/v1/responses"), "/v1/responses")
            validate(await client.get("/v1/outcomes/x"), "/v1/outcomes/{token}")
            said: dict[str, Any] = {"model": "gpt-5.4", "messages": [{"role": "user", "content": "hi"}]}
            reply = await client.post("/v1/chat/completions", json=said)
            validate(reply, "/v1/chat/completions", "post")
            validate(await client.post("/v1/route", json=said), "/v1/route", "post")
            name = reply.headers["x-weave-decision"]
            validate(await client.get(f"/v1/decisions/{name}"), "/v1/decisions/{id}")
            settled = await client.post("/v1/outcomes", json={"decision": name, "tests_passed": 1})
            validate(settled, "/v1/outcomes", "post")
            asked = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
            for call in (
                "generateContent",
                "streamGenerateContent",
                "streamGenerateContent?alt=sse",
                "countTokens",
            ):
                reply = await client.post(f"/v1beta/models/opus:{call}", json=asked)
                validate(reply, f"/v1beta/models/{{model}}:{call.partition('?')[0]}", "post")
            for body in ({**said, "max_tokens": 9}, {**said, "max_tokens": 9, "stream": True}, {}):
                validate(await client.post("/v1/messages", json=body), "/v1/messages", "post")
            validate(
                await client.post("/v1/messages/count_tokens", json=said), "/v1/messages/count_tokens", "post"
            )
            for body in ({"model": "gpt-5.4", "input": "hi"}, {}):
                validate(await client.post("/v1/responses", json=body), "/v1/responses", "post")

    run(play())
