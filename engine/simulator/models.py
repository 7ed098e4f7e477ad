"""The providers that are played and the models they serve: pace, price, ability, and each vendor's odd
rules."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from engine.simulator.dice import roll

Dialect = Literal[
    "anthropic", "openai", "openrouter", "deepseek", "vllm", "google",
    "glm", "kimi", "qwen", "mistral", "groq", "cerebras", "xai", "fireworks", "ollama", "lmstudio",
]  # fmt: skip

# A rule that only some models of a vendor have.
Quirk = Literal[
    "adaptive_thinking",  # takes `thinking: adaptive`; models without it want a budget
    "system_messages",  # takes system messages inside the conversation
    "no_prefill",  # the last message may not be the model's own
    "one_sampler",  # temperature or top_p, not both
    "max_completion_tokens",  # refuses `max_tokens`, `stop` and, while it reasons, samplers
    "reasons_unasked",  # reasons even when no effort was named
    "long_tool_ids",  # takes tool call ids of 64 letters; others take 40
    "replays_reasoning",  # wants its reasoning back within a tool loop
    "signed_calls",  # wants its calls back with their signatures, and thinks in levels, not budgets
]


# Stands for a key, so that a catalog without any can point here. Real credentials are judged as vendors judge them.
KEY_HEADER = "x-simulator-key"


@dataclass(frozen=True, slots=True)
class Provider:
    """`base` is what an endpoint's base_url has after the host and the provider's name."""

    name: str
    protocol: str
    dialect: Dialect
    base: str
    wants_key: bool = True


PROVIDERS: Mapping[str, Provider] = {
    "anthropic": Provider("anthropic", "anthropic-messages", "anthropic", ""),
    "openai": Provider("openai", "openai-chat", "openai", "/v1"),
    "responses": Provider("responses", "openai-responses", "openai", "/v1"),
    "google": Provider("google", "gemini", "google", "/v1beta"),
    "openrouter": Provider("openrouter", "openai-chat", "openrouter", "/api/v1"),
    "deepseek": Provider("deepseek", "openai-chat", "deepseek", "/v1"),
    "onprem": Provider("onprem", "openai-chat", "vllm", "/v1", wants_key=False),
}


@dataclass(frozen=True, slots=True)
class Usd:
    """List price per million tokens."""

    input: float
    cached: float
    cache_write: float
    output: float


@dataclass(frozen=True, slots=True)
class SimulatedModel:
    """One model at one provider. `solves` is the chance to solve work of a kind; kinds it does not name:
    `""`."""

    name: str
    tier: Literal["frontier", "mid", "small"]
    provider: str
    id: str
    context_tokens: int
    output_tokens: int
    can: tuple[str, ...]
    usd: Usd
    first_token_seconds: float
    token_seconds: float
    solves: Mapping[str, float] = field(default_factory=dict)
    quirks: frozenset[Quirk] = frozenset()
    weight: float = 1.0

    @property
    def reasons(self) -> bool:
        return "thinking" in self.can


def solves(model: str, kind: str, task: str, seed: int, models: Iterable[SimulatedModel]) -> bool:
    """Whether a model, by its catalog name or its provider's id, solves a task of a kind. Always the same
    answer."""
    for known in models:
        if model in (known.name, known.id):
            chance = known.solves.get(kind, known.solves.get("", 0.0))
            # One roll per task, whatever the model: who is able to more solves all that the others solve.
            return roll(seed, kind, task) < chance
    return False


def find(models: Iterable[SimulatedModel], provider: str, id: str) -> SimulatedModel | None:
    """The model a provider serves under an id; Anthropic's also answer to the id with a date at its end."""
    bare = re.sub(r"-\d{8}$", "", id)
    for model in models:
        if model.provider == provider and model.id in (id, bare):
            return model
    return None


_EVERYTHING = ("tools", "parallel_tools", "vision", "documents", "thinking", "structured_output")
_OPUS = Usd(5, 0.5, 6.25, 25)
_SONNET = Usd(3, 0.3, 3.75, 15)
_FRONTIER = {"": 1.0}
_ABLE = {"": 0.92, "debug": 0.6, "architecture": 0.6}
_MID = {"": 0.85, "debug": 0.45, "architecture": 0.4}
_SMALL = {"": 0.55, "docs": 0.95, "rename": 0.9, "context": 0.97, "debug": 0.15, "architecture": 0.1}

MODELS: tuple[SimulatedModel, ...] = (
    SimulatedModel(
        "opus", "frontier", "anthropic", "claude-opus-4-5", 200_000, 64_000, _EVERYTHING, _OPUS,
        1.6, 0.014, _FRONTIER, frozenset({"one_sampler"}), weight=3,
    ),
    SimulatedModel(
        "opus", "frontier", "openrouter", "anthropic/claude-opus-4.5", 200_000, 64_000, _EVERYTHING, _OPUS,
        1.9, 0.016, _FRONTIER,
    ),
    SimulatedModel(
        "opus-next", "frontier", "anthropic", "claude-opus-5-5", 1_000_000, 128_000, _EVERYTHING, _OPUS,
        1.8, 0.012, _FRONTIER,
        frozenset({"adaptive_thinking", "system_messages", "no_prefill", "one_sampler"}),
    ),
    SimulatedModel(
        "gpt", "frontier", "openai", "gpt-5.4", 400_000, 128_000, _EVERYTHING, Usd(2.5, 0.25, 2.5, 15),
        1.4, 0.011, _FRONTIER, frozenset({"max_completion_tokens", "long_tool_ids"}),
    ),
    SimulatedModel(
        "gpt-thinker", "frontier", "openai", "gpt-5", 400_000, 128_000, _EVERYTHING,
        Usd(1.25, 0.125, 1.25, 10), 4.0, 0.011, _FRONTIER,
        frozenset({"max_completion_tokens", "long_tool_ids", "reasons_unasked"}),
    ),
    SimulatedModel(
        "gpt-plain", "mid", "openai", "gpt-4.1", 1_047_576, 32_768,
        ("tools", "parallel_tools", "vision", "documents", "structured_output"), Usd(2, 0.5, 2, 8),
        0.8, 0.009, _MID,
    ),
    SimulatedModel(
        "sonnet", "mid", "anthropic", "claude-sonnet-4-5", 200_000, 64_000, _EVERYTHING, _SONNET,
        1.0, 0.012, _ABLE, frozenset({"one_sampler"}), weight=3,
    ),
    SimulatedModel(
        "sonnet", "mid", "openrouter", "anthropic/claude-sonnet-4.5", 200_000, 64_000, _EVERYTHING, _SONNET,
        1.2, 0.014, _ABLE,
    ),
    SimulatedModel(
        "deepseek", "mid", "deepseek", "deepseek-chat", 128_000, 8_192,
        ("tools", "parallel_tools", "thinking"), Usd(0.28, 0.028, 0.28, 0.42),
        1.1, 0.02, _MID, frozenset({"replays_reasoning"}),
    ),
    SimulatedModel(
        "haiku", "small", "anthropic", "claude-haiku-4-5", 200_000, 64_000, _EVERYTHING, Usd(1, 0.1, 1.25, 5),
        0.5, 0.006, _SMALL, frozenset({"one_sampler"}),
    ),
    SimulatedModel(
        "gpt-mini", "small", "openai", "gpt-5-mini", 400_000, 128_000, _EVERYTHING, Usd(0.25, 0.025, 0.25, 2),
        0.9, 0.007, _SMALL, frozenset({"max_completion_tokens", "long_tool_ids", "reasons_unasked"}),
    ),
    SimulatedModel(
        "sol", "frontier", "responses", "gpt-5.5", 400_000, 128_000, _EVERYTHING, Usd(2.5, 0.25, 2.5, 15),
        1.4, 0.011, _FRONTIER, frozenset({"max_completion_tokens", "long_tool_ids"}),
    ),
    SimulatedModel(
        "gemini", "frontier", "google", "gemini-3-flash-preview", 1_048_576, 65_536, _EVERYTHING, Usd(2, 0.2, 2, 12),
        1.5, 0.008, _FRONTIER, frozenset({"signed_calls"}),
    ),
    SimulatedModel(
        "gemini-older", "mid", "google", "gemini-2.5-flash", 1_048_576, 65_536, _EVERYTHING,
        Usd(0.3, 0.03, 0.3, 2.5), 0.7, 0.006, _MID,
    ),
    SimulatedModel(
        "local", "small", "onprem", "qwen-coder", 131_072, 8_192, ("tools",), Usd(0, 0, 0, 0),
        0.3, 0.018, _SMALL,
    ),
)  # fmt: skip
