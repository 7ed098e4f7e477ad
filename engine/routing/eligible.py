"""Which models can carry a request at all, asked before anybody chooses.

A need is something the work cannot do without: a model that cannot see is no choice for a screenshot. Wishes
(thinking, parallel calls, sampling) are no needs; a model without them still does the work. Where the policy lets
content go, media are no needs either: a model that cannot see is told that there was a picture.

What a model's providers cannot be given is found out where providers are spoken to, and told to us as `unfit`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.core.catalog import Model
from engine.core.conversation import AS_USUAL, Lossy

# feature -> the capability a model needs once that feature is above zero or true
NEEDS: Mapping[str, str] = {
    "tool_count": "tools",
    "images": "vision",
    "documents": "documents",
    "structured_output": "structured_output",
}

# Those whose loss leaves a request that can still be served, if the policy says so.
MEDIA = frozenset({"vision", "documents"})

NOBODY: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Pool:
    """The models that can carry a request, in catalog order, and why the others cannot."""

    models: tuple[Model, ...]
    excluded: Mapping[str, str]  # model -> why

    def __contains__(self, model: Model) -> bool:
        return model.name not in self.excluded


def eligible(
    models: Iterable[Model],
    features: Mapping[str, Any],
    lossy: Lossy = AS_USUAL,
    unfit: Mapping[str, str] = NOBODY,
) -> Pool:
    """`unfit`: model -> what it cannot be given, where that is known."""
    kept: list[Model] = []
    excluded: dict[str, str] = {}
    needs = [capability for feature, capability in NEEDS.items() if features[feature]]
    if lossy.content == "report":
        needs = [capability for capability in needs if capability not in MEDIA]
    tokens = features["context_tokens"]
    for model in models:
        why = _excluded(model, needs, tokens) or unfit.get(model.name, "")
        if why:
            excluded[model.name] = why
        else:
            kept.append(model)
    return Pool(tuple(kept), excluded)


def _excluded(model: Model, needs: Iterable[str], tokens: int) -> str:
    missing = [capability for capability in needs if capability not in model.can]
    if missing:
        return f"cannot do {', '.join(missing)}"
    if tokens > model.context_tokens:
        return f"holds {model.context_tokens} tokens, the request has about {tokens}"
    return ""
