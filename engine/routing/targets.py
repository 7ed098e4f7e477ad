"""What a name in a policy means for one request: a model, and what follows when it fails.

A name is a model, a tier, or `requested`. A tier is the requested model if that is in it, else its first model in
catalog order that can carry the request; where none can, the nearest tier above, then below.
"""

from collections.abc import Mapping, Sequence

from engine.core.catalog import TIERS, Catalog, Model
from engine.core.errors import Fault, RequestError, UnservableError
from engine.routing.eligible import Pool


def named(name: str, requested: Model | None, pool: Pool, catalog: Catalog) -> Model:
    """Raises UnservableError where no model in the catalog can carry the request."""
    if name == "requested":
        name = requested.name if requested is not None else "frontier"
    model = catalog.models.get(name)
    if model is not None and model in pool:
        return model
    for tier in _nearest(model.tier if model is not None else name):
        if requested is not None and requested.tier == tier and requested in pool:
            return requested
        for other in pool.models:
            if other.tier == tier:
                return other
    whys = "; ".join(f"{excluded} {why}" for excluded, why in pool.excluded.items())
    raise UnservableError(Fault("invalid_request", f"no model here can carry this request: {whys}"))


def _nearest(tier: str) -> Sequence[str]:
    tiers: tuple[str, ...] = TIERS
    at = tiers.index(tier)
    return (*reversed(tiers[: at + 1]), *tiers[at + 1 :])


def guarded(name: str, requested: Model | None, pool: Pool, catalog: Catalog) -> Model:
    """A guard's target is not negotiable: where it cannot carry the request, the request is refused. Only the
    token estimate is not held against it; the provider counts better than we do."""
    model = named(name, requested, Pool(tuple(catalog.models.values()), {}), catalog)
    why = pool.excluded.get(model.name, "")
    if why.startswith("cannot"):
        message = f"a guard rule allows only {model.name} here, and {model.name} {why}"
        raise UnservableError(Fault("invalid_request", message))
    return model


def forced(name: str, pool: Pool, catalog: Catalog) -> Model:
    """The model a client insists on, by its exact name. Raises RequestError where that cannot be."""
    model = catalog.models.get(name)
    if model is None:
        raise RequestError(f"x-weave-model asks for {name!r}; it takes one of {', '.join(catalog.models)}")
    if model not in pool:
        raise RequestError(f"x-weave-model asks for {name}, which {pool.excluded[name]}")
    return model


def rises(model: Model, above: Model) -> bool:
    """Whether a model is of a higher tier than another."""
    return TIERS.index(model.tier) < TIERS.index(above.tier)


def chain(model: Model, chains: Mapping[str, tuple[str, ...]], pool: Pool) -> tuple[str, ...]:
    """The chosen model, then what its failover chain names: each a model that can carry the request, once.

    A chain is looked up by the model's name, else by its tier; a tier in it stands for its next model in order.
    """
    targets = [model.name]
    for name in chains.get(model.name) or chains.get(model.tier, ()):
        for follower in pool.models:
            if name in (follower.name, follower.tier) and follower.name not in targets:
                targets.append(follower.name)
                break
    return tuple(targets)
