"""`POST /v1/messages/count_tokens` and its like: the vendor's own count where there is one, else an honest estimate.

An estimate is rounded up by a tenth: clients compact their context by this number, and too late is worse than too
soon. It carries the header `x-weave-estimated: true`.
"""

from collections.abc import Mapping
from typing import Any

from starlette.types import Receive, Scope, Send

from engine import turn, wire
from engine.core.catalog import Binding, Catalog, Endpoint, Model
from engine.core.errors import UpstreamError, WeaveError
from engine.protocols.forward import forward
from engine.protocols.shape import Protocol
from engine.protocols.speaking import spoken
from engine.server.answer import Answer
from engine.server.credentials import Credential, credentials, fitting
from engine.server.engine import Engine, parse, read_request
from engine.server.identity import identify, key_in_query
from engine.server.receiving import GoneError, header_map, read_body
from engine.server.upstream import Call

COUNT_SECONDS = 10.0
MOST_COUNT_BYTES = 64 * 1024
CAUTION = 1.1

# Gemini counts contents alone, or all of a request, which then stands in a field of its own.
WHOLE_REQUEST = "generateContentRequest"


class CountTokens:
    """ASGI. Counts for the model that was asked for; nothing is decided, pinned or recorded."""

    def __init__(self, engine: Engine, protocol: Protocol, told: Mapping[str, object] | None = None) -> None:
        self._engine = engine
        self._protocol = protocol
        self._told = told or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = Answer(send, self._protocol)
        try:
            headers = header_map(scope)
            identity = identify(self._engine, headers, scope["query_string"])
            headers |= key_in_query(headers, scope["query_string"])
            raw = await read_body(receive, headers, self._engine.settings)
            body = parse(raw)
            request = read_request(self._protocol, {**_counted_request(body), **self._told}, raw)
            snapshot = self._engine.policies.snapshot
            facts = turn.read(request, headers, identity, snapshot)
            counted = await self._counted(raw, body, facts.requested, snapshot.catalog, headers)
            if counted is None:
                answer.headers.append((b"x-weave-estimated", b"true"))
                tokens = round(facts.inputs["features"]["context_tokens"] * CAUTION)
                counted = wire.dumps({self._protocol.count_field: max(1, tokens)})
            await answer.whole(200, counted)
        except GoneError:
            return
        except WeaveError as error:
            await answer.fail(error.fault)

    async def _counted(
        self,
        raw: bytes,
        body: Mapping[str, Any],
        model: Model | None,
        catalog: Catalog,
        headers: dict[str, str],
    ) -> bytes | None:
        found = self._vendor(model, catalog, headers) if model else None
        if found is None:
            return None
        binding, endpoint, credential = found
        provider = spoken(endpoint.protocol, endpoint.dialect)
        call = Call(
            url=endpoint.base_url + self._protocol.count_address(binding.id),
            headers={
                "content-type": "application/json",
                "accept-encoding": "identity",
                "user-agent": "weave-engine",
                **credential.headers,
                **endpoint.headers,
                **fitting({name: headers[name] for name in provider.forwards if name in headers}, credential),
            },
            body=forward(raw, body, self._edits(body, binding.id)),
            connect_seconds=self._engine.settings.connect_timeout_seconds,
            read_seconds=COUNT_SECONDS,
        )
        try:
            response = await self._engine.upstream.open(call)
            try:
                return await response.read(MOST_COUNT_BYTES) if response.status == 200 else None
            finally:
                await response.close()
        except UpstreamError:
            return None

    def _edits(self, body: Mapping[str, Any], model_id: str) -> Mapping[str, Any]:
        if not self._protocol.model_in_path:
            return {"model": model_id}
        whole = body.get(WHOLE_REQUEST)
        return {WHOLE_REQUEST: {**whole, "model": f"models/{model_id}"}} if isinstance(whole, dict) else {}

    def _vendor(
        self, model: Model, catalog: Catalog, headers: Mapping[str, str]
    ) -> tuple[Binding, Endpoint, Credential] | None:
        """Who counts in this protocol: a provider of the model itself, and one there is a credential for."""
        for binding in model.served_by:
            endpoint = catalog.endpoints[binding.endpoint]
            if endpoint.protocol != self._protocol.name:
                continue
            provider = spoken(endpoint.protocol, endpoint.dialect)
            environment = self._engine.environment
            for credential in credentials(endpoint, provider, self._protocol.name, headers, environment):
                return binding, endpoint, credential
        return None


def _counted_request(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """A body to be counted has no max_tokens; everything else is an ordinary request."""
    whole = body.get(WHOLE_REQUEST)
    return whole if isinstance(whole, dict) else {"max_tokens": 1, **body}
