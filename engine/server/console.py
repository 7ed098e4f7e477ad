"""What operators and their scripts ask of a running engine, answered in JSON."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from engine import turn, wire
from engine.core.decision import Decision, Result
from engine.core.errors import Fault, RequestError
from engine.core.identity import Identity
from engine.protocols import PROTOCOLS
from engine.protocols.shape import Protocol
from engine.server import links, outcomes, rates
from engine.server.asking import ANTHROPIC, OPENAI_CHAT, OPENAI_RESPONSES, asks_as_gemini, not_taken
from engine.server.engine import Engine, current_trial, decide
from engine.server.exposition import CONTENT_TYPE, exposition
from engine.server.identity import identify, may_know
from engine.server.openapi import openapi
from engine.server.receiving import header_map, read_body
from engine.server.telling import as_json

PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


class Console:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def health(self, _request: Request) -> Response:
        """Whether the process lives. Says nothing about policies or providers."""
        return _json({"status": "ok", "uptime_seconds": round(time.time() - self._engine.started, 1)})

    async def ready(self, request: Request) -> Response:
        """Whether requests are taken, by which policies, and what is wrong with newer ones on disk. Where keys are
        needed, who has none learns the first alone."""
        engine, policies = self._engine, self._engine.policies
        code = 503 if engine.draining else 200
        status = {"status": "draining" if engine.draining else "ready"}
        if not may_know(engine, header_map(request.scope), request.scope["query_string"]):
            return _json(status, code)
        body = {
            **status,
            "policy": policies.snapshot.policy.name,
            "snapshot": policies.snapshot.fingerprint,
            "policy_stale": policies.stale,
            "problems": [str(problem) for problem in policies.problems or policies.snapshot.problems],
            "rollout": trial.told() if (trial := current_trial(engine)) else None,
            "running": engine.running,
            "unwell": [asdict(each) for each in engine.health.conditions(time.monotonic())],
            "malformed": dict(engine.malformed),
            "journal": engine.journal.health(),
            "keys": engine.keyring.health(time.time()),
            "rate_limits": rates.told(engine.rates, policies.snapshot.policy.rate_limits),
            "budgets": engine.books.health(),
        }
        return _json(body, code)

    async def metrics(self, request: Request) -> Response:
        """What was counted, for Prometheus. Where keys are needed, it takes one."""
        self._identify(request)
        return Response(exposition(self._engine), headers={"content-type": CONTENT_TYPE})

    async def openapi(self, _request: Request) -> Response:
        return Response(openapi(), media_type="application/json")

    async def budgets(self, request: Request) -> Response:
        """How budgets stand. Where keys are needed, those of whoever asks."""
        identity, engine = self._identify(request), self._engine
        own = {f"identity.{name}": value for name, value in identity.values.items()}
        only = own if engine.keyring.closed else None
        told = engine.books.told(engine.policies.snapshot, engine.clock(), only)
        return _json({"budgets": told})

    async def models(self, request: Request) -> Response:
        """The catalog, in a shape both Anthropic's and OpenAI's clients read; Gemini's have their own."""
        self._identify(request)
        if asks_as_gemini(request.scope):
            return _json({"models": [self._gemini_entry(name) for name in self._listed()]})
        listed = [_model_entry(name, self._engine.started) for name in self._listed()]
        return _json(
            {
                "object": "list",
                "data": listed,
                "has_more": False,
                "first_id": listed[0]["id"] if listed else None,
                "last_id": listed[-1]["id"] if listed else None,
            }
        )

    async def model(self, request: Request) -> Response:
        self._identify(request)
        name = request.path_params["name"]
        if self._engine.policies.snapshot.catalog.resolve(name) is None and name not in turn.ANY_MODEL:
            raise RequestError(f"model {name!r} is not known here; GET /v1/models lists what is", "not_found")
        if asks_as_gemini(request.scope):
            return _json(self._gemini_entry(name))
        return _json(_model_entry(name, self._engine.started))

    async def route(self, request: Request) -> Response:
        """The decision a request would get, without the call, the pin or a line in the journal."""
        identity = self._identify(request)
        protocol = _protocol_of(request)
        headers = header_map(request.scope)
        raw = await read_body(request.receive, headers, self._engine.settings)
        decided = await decide(self._engine, protocol, raw, headers, identity)
        return _json(as_json(decided.decision, None, ()))

    async def decision(self, request: Request) -> Response:
        identity = self._identify(request)
        journal, name = self._engine.journal, request.path_params["id"]
        decision: Decision | None = await journal.decision(name)
        if decision is None or not outcomes.may_see(identity, decision):
            raise RequestError(self._not_there(name), "not_found")
        result: Result | None = await journal.result(name)
        return _json(as_json(decision, result, await journal.attempts(name)))

    def _not_there(self, name: str) -> str:
        days = self._engine.policies.snapshot.policy.recording.decisions_seconds / 86_400
        return (
            f"no decision {name[:100]!r} in the journal: it was never made here, or is older than the {days:g} days"
            " that decisions are kept (retention.decisions of the policy)"
        )

    async def no_upgrade(self, request: Request) -> Response:
        """Codex asks for a WebSocket first. Told 426 it uses plain requests at once; any other refusal it takes for
        trouble and tries again for seconds."""
        if "websocket" not in request.headers.get("upgrade", "").lower():
            return _json(OPENAI_RESPONSES.write_fault(not_taken(request.scope)), 405)
        message = "this engine speaks no WebSocket; send the request by POST"
        fault = Fault("invalid_request", message, 426, "client", "upgrade_required")
        return Response(
            wire.dumps(OPENAI_RESPONSES.write_fault(fault)), 426, {"upgrade": "HTTP/1.1"}, "application/json"
        )

    async def outcome(self, request: Request) -> Response:
        identity = self._identify(request)
        raw = await read_body(request.receive, header_map(request.scope), self._engine.settings)
        return _json(await outcomes.receive(self._engine, raw, identity))

    async def link(self, request: Request) -> Response:
        """A page that says what a signed link is for."""
        page = links.page(self._link(request))
        return Response(page, media_type="text/html", headers=PAGE_HEADERS)

    async def outcome_by_link(self, request: Request) -> Response:
        link, headers = self._link(request), header_map(request.scope)
        raw = await read_body(request.receive, headers, self._engine.settings)
        result = request.query_params.get("result", "")
        return _json(await outcomes.receive_by_link(self._engine, link, raw, result))

    def _identify(self, request: Request) -> Identity:
        return identify(self._engine, header_map(request.scope), request.scope["query_string"])

    def _link(self, request: Request) -> links.Link:
        secret = links.secret_of(self._engine.environment)
        return links.read_link(request.path_params["token"], secret, time.time())

    def _gemini_entry(self, name: str) -> dict[str, Any]:
        model = self._engine.policies.snapshot.catalog.resolve(name)
        limits = (
            {"inputTokenLimit": model.context_tokens, "outputTokenLimit": model.output_tokens}
            if model
            else {}
        )
        return {
            "name": f"models/{name}",
            "version": "001",
            "displayName": name,
            **limits,
            "supportedGenerationMethods": ["generateContent", "countTokens"],
        }

    def _listed(self) -> list[str]:
        """What a client may ask for by name: our models, the exact aliases, and `auto`."""
        catalog = self._engine.policies.snapshot.catalog
        aliases = [alias for alias in catalog.aliases if "*" not in alias]
        ids = [binding.id for model in catalog.models.values() for binding in model.served_by]
        return list(dict.fromkeys([*catalog.models, *aliases, *ids, "auto"]))


def _model_entry(name: str, created: float) -> dict[str, Any]:
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(created))
    return {
        "id": name,
        "object": "model",
        "created": int(created),
        "owned_by": "weave-engine",
        "type": "model",
        "display_name": name,
        "created_at": moment,
    }


def _protocol_of(request: Request) -> Protocol:
    """Which protocol a body for /v1/route is in: as the query says, else as an Anthropic client would show."""
    named = request.query_params.get("protocol")
    if named is None:
        return ANTHROPIC if "anthropic-version" in request.headers else OPENAI_CHAT
    if named not in PROTOCOLS:
        raise RequestError(f"protocol {named!r} is not known; it takes one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[named]


def _json(body: Mapping[str, Any], status: int = 200) -> Response:
    return Response(wire.dumps(body), status, media_type="application/json")
