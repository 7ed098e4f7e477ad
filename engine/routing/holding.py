"""A session's sealed data holds its provider: which endpoints can read it, and what is remembered of who wrote it.

The seals' own words name a protocol; the session's lineage names the address and key. Where nothing is remembered
(the engine was started anew), every endpoint of the protocol may be the one. Two endpoints with one address and one
key are one origin.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from engine.core.catalog import Catalog, Endpoint, Model
from engine.core.lineage import Lineage, Lineages, Tie
from engine.routing.eligible import Pool
from engine.routing.pins import follows_pin


def lineage_key(session: str, features: Mapping[str, Any], protocol: str) -> str:
    """One conversation in one protocol: the agents of a session talk beside each other. Empty where there is no
    session, or the call is not part of its work."""
    if not session or not follows_pin(features):
        return ""
    return f"{session}/{features['first_user_hash']}/{protocol}"


def reply_key(identity: Mapping[str, Any], reply: str) -> str:
    """A reply that its vendor keeps, by its id."""
    return f"reply/{identity.get('name', '')}/{reply}"


def known_origin(
    tie: Tie, session: str, features: Mapping[str, Any], identity: Mapping[str, Any], lineages: Lineages
) -> Lineage | None:
    """Who sealed what ties the request, if that is remembered."""
    if tie.stored:
        return lineages.get(reply_key(identity, tie.stored))
    key = lineage_key(session, features, tie.protocol)
    return lineages.get(key) if key else None


def holders(tie: Tie, known: Lineage | None, catalog: Catalog) -> tuple[str, ...]:
    """The endpoints that can read what ties the request; none where nobody can."""
    speaking = [endpoint for endpoint in catalog.endpoints.values() if endpoint.protocol == tie.protocol]
    if known is not None:
        speaking = [endpoint for endpoint in speaking if endpoint.origin == known.origin]
    return tuple(endpoint.name for endpoint in speaking)


def held(pool: Pool, endpoints: tuple[str, ...], tie: Tie) -> Pool:
    """The models of the pool that one of these endpoints serves."""
    kept = tuple(model for model in pool.models if serves(model, endpoints))
    why = f"is not served where {tie.path} came from"
    out = {model.name: why for model in pool.models if model not in kept}
    return Pool(kept, {**pool.excluded, **out})


def serves(model: Model, endpoints: tuple[str, ...]) -> bool:
    return any(binding.endpoint in endpoints for binding in model.served_by)


def foreign_before(known: Lineage | None, endpoint: Endpoint, messages: int) -> int:
    """How many of a conversation's first messages hold what this endpoint did not seal, if they hold seals of its
    protocol."""
    if known is None:
        return 0
    return known.since if known.origin == endpoint.origin else messages


def lineage_after(known: Lineage | None, endpoint: Endpoint, model: str, messages: int) -> Lineage:
    """What is remembered once this endpoint has answered a conversation of so many messages. That a session ever
    changed its provider is never forgotten."""
    if known is None:
        return Lineage(endpoint.origin, model)
    if known.origin == endpoint.origin:
        return Lineage(endpoint.origin, model, known.since)
    return Lineage(endpoint.origin, model, messages)


class MemoryLineages:
    """Lineages in memory by key, the least recently used dropped first. They outlive pins. A store of Lineages."""

    def __init__(self, most: int = 200_000) -> None:
        self.known: OrderedDict[str, Lineage] = OrderedDict()
        self._most = most

    def get(self, key: str) -> Lineage | None:
        found = self.known.get(key)
        if found is not None:
            self.known.move_to_end(key)
        return found

    def put(self, key: str, lineage: Lineage) -> None:
        self.known[key] = lineage
        self.known.move_to_end(key)
        while len(self.known) > self._most:
            self.known.popitem(last=False)
