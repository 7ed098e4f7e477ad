"""Paths to what answers them.

The agent's own paths are raw ASGI applications, because a request wrapper would hide a client that leaves. What
operators call goes through Starlette's ordinary requests and responses.
"""

import math

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine import wire
from engine.core.errors import Fault, WeaveError
from engine.server.asking import ANTHROPIC, GEMINI, OPENAI_CHAT, OPENAI_RESPONSES, not_taken, protocol_of
from engine.server.console import Console
from engine.server.counting import CountTokens
from engine.server.engine import Engine
from engine.server.model_in_path import ModelInPath
from engine.server.receiving import GoneError
from engine.server.relay import Relay


def routes(engine: Engine) -> Starlette:
    console = Console(engine)
    app = Starlette(
        routes=[
            Route("/v1/messages", Relay(engine, ANTHROPIC), methods=["POST"]),
            Route("/v1/messages/count_tokens", CountTokens(engine, ANTHROPIC), methods=["POST"]),
            Route("/v1/chat/completions", Relay(engine, OPENAI_CHAT), methods=["POST"]),
            Route("/v1/responses", Relay(engine, OPENAI_RESPONSES), methods=["POST"]),
            Route("/v1/responses", console.no_upgrade, methods=["GET"]),
            *(
                Route(f"/{version}/models/{{call:path}}", ModelInPath(engine, GEMINI), methods=["POST"])
                for version in ("v1beta", "v1")
            ),
            *(Route(f"/{version}/models", console.models) for version in ("v1", "v1beta")),
            *(Route(f"/{version}/models/{{name:path}}", console.model) for version in ("v1", "v1beta")),
            Route("/v1/budgets", console.budgets),
            Route("/v1/route", console.route, methods=["POST"]),
            Route("/v1/decisions/{id}", console.decision),
            Route("/v1/outcomes", console.outcome, methods=["POST"]),
            Route("/v1/outcomes/{token}", console.link, methods=["GET"]),
            Route("/v1/outcomes/{token}", console.outcome_by_link, methods=["POST"]),
            Route("/health", console.health),
            Route("/ready", console.ready),
            Route("/metrics", console.metrics),
            Route("/openapi.json", console.openapi),
            Route("/api/hello", console.health),
        ],
        exception_handlers={
            404: _not_found,
            405: _not_allowed,
            WeaveError: _weave_error,
            GoneError: _gone,
            Exception: _bug,
        },
    )
    app.router.redirect_slashes = False  # a redirect would name whatever host the client said it asked
    return app


def _fault_response(request: Request, fault: Fault) -> Response:
    """An error in the words of whoever seems to ask."""
    body = wire.dumps(protocol_of(request.scope).write_fault(fault))
    wait = fault.retry_after_seconds
    headers = {"retry-after": f"{math.ceil(wait)}"} if wait is not None else None
    return Response(body, fault.http_status, headers, media_type="application/json")


async def _weave_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, WeaveError)
    return _fault_response(request, error.fault)


async def _gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=400)  # nobody is there to read it


async def _bug(request: Request, _error: Exception) -> Response:
    return _fault_response(request, Fault("server_error", "the engine made a mistake; its log says which"))


async def _not_found(request: Request, _error: Exception) -> Response:
    message = f"{request.method} {request.url.path} is not something this engine answers"
    return _fault_response(request, Fault("not_found", message, origin="client"))


async def _not_allowed(request: Request, error: Exception) -> Response:
    answer = _fault_response(request, not_taken(request.scope))
    answer.headers.update(getattr(error, "headers", None) or {})  # Allow: RFC 9110 section 15.5.6
    return answer
