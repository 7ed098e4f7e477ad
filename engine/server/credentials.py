"""Whose credential a call of a provider carries: the operator's, or the client's own.

An endpoint with `auth: client` is called with what its client sent for that vendor (a subscription's token, a key of
its own), and with the operator's key where the client sent none, or where the vendor says that it is spent. Three
things keep a credential where it belongs:

- It goes to endpoints with `auth: client` alone, and a catalog has one vendor of those for each family of protocols.
- It goes to endpoints of the protocol family the client itself speaks: whoever asks as an Anthropic client has sent
  what Anthropic gave it.
- A key of the engine's own never leaves it, whichever header it came in.

What a vendor says of a client's credential is about that client. It says nothing of the way to the vendor for others:
no breaker opens and nothing is paused; a credential that is spent is set aside itself.
"""

import hashlib
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from engine.core.catalog import Endpoint
from engine.core.errors import Fault, FaultKind
from engine.protocols.shape import Protocol

# Protocols whose vendor hands out one kind of credential.
FAMILIES: Mapping[str, str] = {
    "anthropic-messages": "anthropic",
    "openai-chat": "openai",
    "openai-responses": "openai",
    "gemini": "google",
}

# Where the clients of a family carry their credential, and what says whose account it is of.
CARRIERS: Mapping[str, tuple[str, ...]] = {
    "anthropic": ("x-api-key", "authorization"),
    "openai": ("authorization",),
    "google": ("x-goog-api-key", "authorization"),
}
COMPANIONS: Mapping[str, tuple[str, ...]] = {
    "openai": ("openai-organization", "openai-project", "chatgpt-account-id"),
    "google": ("x-goog-user-project",),
}

KEY_OF_OURS = re.compile(r"wk_[0-9a-f]{12}_")

# What a vendor says that another credential may mend: 401, 402, 403 and 429.
SPENT: frozenset[FaultKind] = frozenset({"authentication", "billing", "permission", "rate_limit"})

# Of these the client has to hear: its token is to be renewed, its account to be filled. A limit passes by itself.
TOLD: frozenset[FaultKind] = SPENT - {"rate_limit"}

# What is shorter is no secret, and replacing it would hide words.
SHORTEST_SECRET = 8

# A vendor may say that a credential is spent for days; it is asked again sooner.
LONGEST_REST_SECONDS = 600.0
MOST_RESTING = 10_000


@dataclass(frozen=True, slots=True)
class Credential:
    """What a call carries: `headers` authenticate it. No secret is in what Python prints of it."""

    whose: Literal["operator", "client"]
    headers: Mapping[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def clean(self, piece: bytes) -> bytes:
        """What a provider said, without the secret that some repeat."""
        for secret in self.secrets:
            piece = piece.replace(secret.encode("utf-8", "replace"), b"***")
        return piece

    def cleaned(self, fault: Fault) -> Fault:
        for secret in self.secrets:
            if secret in fault.message + fault.detail:
                message, detail = (text.replace(secret, "***") for text in (fault.message, fault.detail))
                fault = replace(fault, message=message, detail=detail)
        return fault


NO_CREDENTIAL = Credential("operator", {})


def credentials(
    endpoint: Endpoint,
    provider: Protocol,
    client: str,
    headers: Mapping[str, str],
    environment: Mapping[str, str],
) -> tuple[Credential, ...]:
    """What to call the endpoint with, in the order to try it; empty where there is nothing. `provider` is how the
    endpoint speaks, `client` the protocol and `headers` those of who asks, their names lower-case."""
    own = _own(endpoint, provider, client, headers) if endpoint.auth == "client" else None
    operators = _operators(endpoint, provider, environment)
    return tuple(one for one in (own, operators) if one is not None)


def _operators(endpoint: Endpoint, provider: Protocol, environment: Mapping[str, str]) -> Credential | None:
    key = environment.get(endpoint.api_key_env, "") if endpoint.api_key_env else ""
    if not key and (endpoint.api_key_env or endpoint.auth == "client"):
        return None
    return Credential("operator", provider.headers(key), _secrets(key))


def _own(
    endpoint: Endpoint, provider: Protocol, client: str, headers: Mapping[str, str]
) -> Credential | None:
    family = FAMILIES[endpoint.protocol]
    if FAMILIES[client] != family:
        return None
    carried = {name: headers[name] for name in CARRIERS[family] if _is_theirs(headers.get(name, ""))}
    if not carried:
        return None
    beside = {name: headers[name] for name in COMPANIONS.get(family, ()) if name in headers}
    tokens = (value.strip().rpartition(" ")[2] for value in carried.values())
    return Credential("client", {**provider.headers(""), **carried, **beside}, _secrets(*tokens))


def _is_theirs(value: str) -> bool:
    return bool(value.strip()) and not KEY_OF_OURS.search(value)


def _secrets(*texts: str) -> tuple[str, ...]:
    return tuple(text for text in texts if len(text) >= SHORTEST_SECRET)


def fitting(forwarded: Mapping[str, str], credential: Credential) -> Mapping[str, str]:
    """Headers of the client that its provider must hear, as they go with this credential: Anthropic's flags for
    tokens of its subscriptions (`oauth-…` in anthropic-beta) go with the client's own alone."""
    beta = forwarded.get("anthropic-beta", "")
    if credential.whose == "client" or "oauth-" not in beta:
        return forwarded
    flags = [flag for flag in (one.strip() for one in beta.split(",")) if not flag.startswith("oauth-")]
    others = {name: value for name, value in forwarded.items() if name != "anthropic-beta"}
    return {**others, "anthropic-beta": ",".join(flags)} if flags else others


def own_fault(fault: Fault, endpoint: Endpoint) -> Fault:
    """What a vendor says of the client's own credential, as the client should hear it. What it can mend itself is its
    own; of a limit another model may serve."""
    if fault.kind not in TOLD:
        return fault
    message = f"endpoint {endpoint.name!r} refused the credential this request came with: {fault.message}"
    return replace(fault, message=message, origin="client")


def missing(endpoint: Endpoint) -> Fault:
    """Nothing to call the endpoint with."""
    if endpoint.auth != "client":
        what = f"set {endpoint.api_key_env} where weave-engine runs"
        message = f"the engine has no key for endpoint {endpoint.name!r}: {what}"
        return Fault("authentication", message, origin="provider")
    also = f", or set {endpoint.api_key_env} where weave-engine runs" if endpoint.api_key_env else ""
    message = (
        f"endpoint {endpoint.name!r} takes the client's own credential, and this request has none for it: send one "
        f"as to the vendor itself, with the engine's own key in x-weave-key{also}"
    )
    return Fault("authentication", message, origin="provider")


class Resting:
    """Credentials of clients that are spent for a while, by a hash of what they are. Times are monotonic."""

    def __init__(self) -> None:
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def rest(self, credential: Credential, endpoint: Endpoint, fault: Fault, now: float) -> None:
        """Only where the vendor says for how long."""
        if credential.whose != "client" or fault.kind != "rate_limit" or not fault.retry_after_seconds:
            return
        until = now + min(fault.retry_after_seconds, LONGEST_REST_SECONDS)
        key = _digest(credential, endpoint)
        self._until[key] = until
        self._until.move_to_end(key)
        while len(self._until) > MOST_RESTING:
            self._until.popitem(last=False)

    def awake(self, found: tuple[Credential, ...], endpoint: Endpoint, now: float) -> tuple[Credential, ...]:
        """Without the client's own while that rests, if there is another."""
        if len(found) < 2 or not self._until:
            return found
        return found[1:] if self._until.get(_digest(found[0], endpoint), 0.0) > now else found


def _digest(credential: Credential, endpoint: Endpoint) -> bytes:
    told = "\0".join((endpoint.base_url, *credential.headers.values()))
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).digest()
