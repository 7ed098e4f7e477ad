"""What exists: endpoints that providers run, models they serve, and what those cost and can do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal, get_args

Tier = Literal["frontier", "mid", "small"]
TIERS: tuple[Tier, ...] = ("frontier", "mid", "small")

Capability = Literal["tools", "parallel_tools", "vision", "documents", "thinking", "structured_output"]
CAPABILITIES: tuple[Capability, ...] = get_args(Capability)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A provider's address. The key is read from the environment variable `api_key_env` when a call is made. With the
    `auth` client a call carries the client's own credential, and that key only where there is none or it is spent."""

    name: str
    protocol: str
    base_url: str
    api_key_env: str = ""
    dialect: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    auth: Literal["key", "client"] = "key"
    cache_ttl_seconds: float = 300.0  # for how long what was cached there can be read without being used

    @property
    def origin(self) -> str:
        """Whose it is: what one address and key sealed, no other can read."""
        return f"{self.base_url} {self.api_key_env}"


@dataclass(frozen=True, slots=True)
class Binding:
    """One way to reach a model: which endpoint, and what the model is called there."""

    endpoint: str
    id: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens."""

    input: float = 0.0
    output: float = 0.0
    cache_read: float = 0.0
    cache_write: float = 0.0


@dataclass(frozen=True, slots=True)
class Model:
    name: str
    tier: Tier
    context_tokens: int
    output_tokens: int
    can: frozenset[str]
    price: Price
    served_by: tuple[Binding, ...]
    balance: Literal["weighted", "latency", "headroom"] = "weighted"


@dataclass(frozen=True, slots=True)
class Catalog:
    """Models and endpoints by name, in the order operators wrote them: the order is the preference."""

    endpoints: Mapping[str, Endpoint]
    models: Mapping[str, Model]
    aliases: Mapping[str, str]  # pattern with * -> model name; the first that matches wins

    def resolve(self, requested: str) -> Model | None:
        """The model a client means: by our name, by an alias, or by a provider's own id. None if unknown.

        Clients append suffixes such as `claude-opus-4-5[1m]`; the part in brackets is not part of the name.
        """
        name = requested.split("[", 1)[0]
        if name in self.models:
            return self.models[name]
        for pattern, target in self.aliases.items():
            if fnmatchcase(name, pattern):
                return self.models.get(target)
        for model in self.models.values():
            if any(binding.id == name for binding in model.served_by):
                return model
        return None

    def of_tier(self, tier: str) -> tuple[Model, ...]:
        return tuple(model for model in self.models.values() if model.tier == tier)
