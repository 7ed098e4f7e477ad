"""The simulator as the engine's operators would describe it: a Catalog document that points at it."""

import json
from collections.abc import Iterable
from typing import Protocol

from engine.simulator.models import KEY_HEADER, MODELS, PROVIDERS, Provider, SimulatedModel

# What clients ask for, and which of the catalog's models they mean by it.
ALIASES = {
    "claude-opus-*": "opus",
    "claude-sonnet-*": "sonnet",
    "claude-haiku-*": "haiku",
    "gpt-5*-mini*": "gpt-mini",
    "gpt-5*-nano*": "gpt-mini",
    "gpt-5*": "gpt",
    "deepseek-*": "deepseek",
    "qwen*": "local",
}
# In the order of preference within a tier. The other models are there for tests that ask for them.
NAMES = ("opus", "gpt", "sonnet", "deepseek", "haiku", "gpt-mini", "local")


class Reachable(Protocol):
    def url(self, provider: str) -> str: ...


def catalog_text(
    simulator: Reachable, names: Iterable[str] = NAMES, models: Iterable[SimulatedModel] = MODELS
) -> str:
    """A `kind: Catalog` YAML document. It needs no key: its endpoints send a header that stands for one."""
    every = tuple(models)
    served = {name: bound for name in names if (bound := [model for model in every if model.name == name])}
    used = {model.provider for bound in served.values() for model in bound}
    lines = ["apiVersion: weave/v1", "kind: Catalog", "metadata: {name: simulated}", "endpoints:"]
    lines += [_endpoint(provider, simulator) for name, provider in PROVIDERS.items() if name in used]
    lines += ["models:", *(_model(name, bound) for name, bound in served.items())]
    aliases = {pattern: name for pattern, name in ALIASES.items() if name in served}
    lines.append(f"aliases: {_flow(aliases)}")
    return "\n".join(lines) + "\n"


def _endpoint(provider: Provider, simulator: Reachable) -> str:
    fields: dict[str, object] = {"protocol": provider.protocol, "base_url": simulator.url(provider.name)}
    if provider.dialect not in ("anthropic", "openai", "google"):
        fields["dialect"] = provider.dialect
    if provider.wants_key:
        fields["headers"] = {KEY_HEADER: "none needed"}
    return f"  {provider.name}: {_flow(fields)}"


def _model(name: str, bound: list[SimulatedModel]) -> str:
    first = bound[0]
    usd = first.usd
    fields = {
        "tier": first.tier,
        "context": min(model.context_tokens for model in bound),
        "output": min(model.output_tokens for model in bound),
        "can": list(first.can),
        "usd": {"in": usd.input, "cached": usd.cached, "cache_write": usd.cache_write, "out": usd.output},
        "served_by": [
            {"endpoint": model.provider, "id": model.id, "weight": model.weight} for model in bound
        ],
    }
    return f"  {name}: {_flow(fields)}"


def _flow(value: object) -> str:
    """JSON is YAML's flow style."""
    return json.dumps(value)
