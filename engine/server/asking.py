"""Who seems to ask: the protocol whose words an answer of the engine's own is in, by a request's path and headers.

Agents ask on their protocol's paths. Elsewhere a header that only one vendor's clients send tells them apart.
"""

from starlette.types import Scope

from engine.core.errors import Fault
from engine.protocols import PROTOCOLS
from engine.protocols.shape import Protocol

ANTHROPIC = PROTOCOLS["anthropic-messages"]
OPENAI_CHAT = PROTOCOLS["openai-chat"]
OPENAI_RESPONSES = PROTOCOLS["openai-responses"]
GEMINI = PROTOCOLS["gemini"]


def protocol_of(scope: Scope) -> Protocol:
    if asks_as_gemini(scope):
        return GEMINI
    anthropic = has_header(scope, b"anthropic-version") or scope["path"].startswith("/v1/messages")
    return ANTHROPIC if anthropic else OPENAI_CHAT


def asks_as_gemini(scope: Scope) -> bool:
    path: str = scope["path"]
    return path.startswith("/v1beta/") or has_header(scope, b"x-goog-api-key")


def has_header(scope: Scope, name: bytes) -> bool:
    return any(found == name for found, _ in scope["headers"])


def not_taken(scope: Scope) -> Fault:
    message = f"{scope['path']} does not take {scope['method']}"
    return Fault("invalid_request", message, 405, "client")
