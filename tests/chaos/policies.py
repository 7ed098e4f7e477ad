"""The policies of a run: a catalog of six endpoints, and a policy that is another one each second.

Every variation knows the models that sessions ask for; what changes is who else is tried, what is pinned and for how
long, when breakers open, and what rules say. Some are no policy at all, which an engine has to notice and survive.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from engine.simulator.models import KEY_HEADER, MODELS, PROVIDERS

KEY_VARIABLE = "CHAOS_KEY"

# Each simulator plays one provider; these models are served, each by all providers that have it.

SERVED = ("opus", "gpt", "gemini", "sol", "sonnet", "deepseek", "haiku")
CAN = ["tools", "parallel_tools", "vision", "documents", "thinking", "structured_output"]

BROKEN = (
    "apiVersion: weave/v1\nkind: Policy\nmetadata: {name: chaos\n",
    "apiVersion: weave/v1\nkind: Policy\nmetadata: {name: chaos}\ndefault: {use: nobody}\n",
    "apiVersion: weave/v1\nkind: Policy\nmetadata: {name: chaos}\nrules: [{when: 1 +}]\ndefault: {use: opus}\n",
    "\x00",
    "",
)


def write(folder: Path, files: Mapping[str, str], whole: bool) -> None:
    """As editors do: `whole` by renaming over the old file, else in place, piece by piece."""
    for name, text in files.items():
        path = folder / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if whole:
            aside = folder / f".{name}.new"
            aside.write_text(text, encoding="utf-8")
            os.replace(aside, path)
            continue
        with path.open("w", encoding="utf-8") as file:
            file.write(text[: len(text) // 2])
            file.flush()
            file.write(text[len(text) // 2 :])


def catalog(urls: Mapping[str, str]) -> str:
    """`urls`: where each provider is."""
    endpoints: dict[str, Any] = {}
    for name, url in urls.items():
        provider = PROVIDERS[name]
        endpoints[name] = {"protocol": provider.protocol, "base_url": url, "headers": {KEY_HEADER: "chaos"}}
        if provider.dialect not in ("anthropic", "openai", "google"):
            endpoints[name]["dialect"] = provider.dialect
    endpoints["deepseek"]["api_key_env"] = KEY_VARIABLE
    models: dict[str, Any] = {}
    for name in SERVED:
        bound = [model for model in MODELS if model.name == name and model.provider in urls]
        usd = bound[0].usd
        models[name] = {
            "tier": bound[0].tier,
            "context": min(model.context_tokens for model in bound),
            "output": min(model.output_tokens for model in bound),
            "can": [ability for ability in CAN if ability in bound[0].can],
            "usd": {"in": usd.input, "cached": usd.cached, "cache_write": usd.cache_write, "out": usd.output},
            "served_by": [
                {"endpoint": one.provider, "id": one.id, "weight": 3 - place}
                for place, one in enumerate(bound)
            ],
        }
    aliases = {"claude-opus-*": "opus", "gpt-5*": "gpt"}
    return _document("Catalog", "chaos", endpoints=endpoints, models=models, aliases=aliases)


def policy(number: int) -> str:
    """One variation of many; some of them hold no policy."""
    chance = Random(number)
    if number and chance.random() < 0.08:
        return chance.choice(BROKEN)
    rules: list[dict[str, Any]] = [
        {
            "name": "private-stays",
            "guard": True,
            "when": "has(hints.private)",
            "then": {"use": "haiku", "failover": "none", "learn": "never"},
        },
        {"name": "long", "when": f"features.context_tokens > {chance.randrange(800, 200_000)}",
         "then": {"use": "gemini"}, "reason": "string(features.context_tokens) + ' tokens'"},
        {"name": "tools", "when": "features.tool_count > 0",
         "then": {"use": chance.choice(("opus", "mid", "requested"))}},
        {"name": "open", "when": "features.requested_model == ''",
         "then": {"use": chance.choice(("small", "frontier", "sol"))}},
    ]  # fmt: skip
    chance.shuffle(rules)
    chains = {
        "frontier": chance.sample(["opus", "gpt", "sol", "gemini", "mid"], 3),
        "mid": chance.sample(["deepseek", "sonnet", "frontier"], 2),
        "small": ["mid", "frontier"],
    }
    return _document(
        "Policy",
        "chaos",
        rules=rules[: chance.randrange(2, 5)],
        default={"use": chance.choice(("requested", "requested", "mid"))},
        pinning=_pinning(chance),
        **({"reuse": {"for": "2s", "key": ["features.requested_model"]}} if chance.random() < 0.2 else {}),
        budgets=_budgets(chance),
        rate_limits=_rate_limits(chance),
        failover={
            "chains": chains,
            "attempts": chance.randrange(1, 5),
            "deadline": chance.choice(("6s", "12s")),
            "breaker": {
                "failures": chance.choice((5, 50, 500)),
                "window": chance.choice(("1s", "5s")),
                "cooldown": chance.choice(("200ms", "1s")),
                "slower_than": chance.choice(("4s", "20s")),
            },
        },
        outcomes=[{"name": "rated", "when": "has(outcome.rating)", "reward": "outcome.rating"}],
    )


def _pinning(chance: Random) -> dict[str, Any]:
    found: dict[str, Any] = {"key": ["hints.session"], "ttl": chance.choice(("2s", "20s", "30m"))}
    if chance.random() < 0.3:
        found["lock_while"] = "features.tool_loop_open"
    if chance.random() < 0.3:
        found["switch_when_saving_usd"] = chance.choice((0.0, 0.001, 1.0))
    if chance.random() < 0.5:
        found["move_when"] = chance.sample(["over_context", "endpoint_down", "guard"], 2)
    return found


def _budgets(chance: Random) -> list[dict[str, Any]]:
    """The first is never used up: by it a team's books go back to the beginning of the run."""
    usd = chance.choice((0.5, 5.0, 50.0, 50.0))
    return [
        {"name": "books", "per": "identity.team", "usd": 100_000, "window": "24h", "over": {"use": "small"}},
        {"name": "team", "per": "identity.team", "usd": usd, "window": "10s", "over": {"reject": 429}},
        {
            "name": "person",
            "per": "identity.name",
            "usd": usd / 6,
            "window": "10s",
            "over": {"use": chance.choice(("haiku", "deepseek"))},
        },
        {"name": "session", "per": "session", "usd": 0.02, "window": "1h", "over": {"use": "deepseek"}},
    ]


def _rate_limits(chance: Random) -> list[dict[str, Any]]:
    """Wide ones mostly; a tight one now and then refuses for a second."""
    tight = chance.random() < 0.1
    return [
        {"name": "person", "per": "identity.name", "requests": 20 if tight else 100_000, "window": "1s"},
        {"name": "team", "per": "identity.team", "tokens": 10_000_000, "concurrent": 40 if tight else 10_000},
    ]


def _document(kind: str, name: str, **fields: Any) -> str:
    """JSON is YAML's flow style."""
    return json.dumps(
        {"apiVersion": "weave/v1", "kind": kind, "metadata": {"name": name}, **fields}, indent=1
    )
