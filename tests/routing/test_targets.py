import pytest

from engine.core.catalog import Catalog
from engine.core.errors import RequestError, UnservableError
from engine.routing.eligible import Pool
from engine.routing.targets import chain, forced, guarded, named, rises


def pool_of(catalog: Catalog, **excluded: str) -> Pool:
    kept = tuple(model for name, model in catalog.models.items() if name not in excluded)
    return Pool(kept, excluded)


def test_a_model_s_name_means_that_model(catalog: Catalog) -> None:
    assert named("haiku", None, pool_of(catalog), catalog).name == "haiku"


def test_a_tier_means_its_first_model_in_catalog_order(catalog: Catalog) -> None:
    assert named("frontier", None, pool_of(catalog), catalog).name == "opus"


def test_a_tier_means_the_requested_model_where_that_is_in_it(catalog: Catalog) -> None:
    assert named("frontier", catalog.models["gpt"], pool_of(catalog), catalog).name == "gpt"
    assert named("small", catalog.models["gpt"], pool_of(catalog), catalog).name == "haiku"


def test_requested_means_what_the_client_asked_for_or_the_frontier(catalog: Catalog) -> None:
    assert named("requested", catalog.models["local"], pool_of(catalog), catalog).name == "local"
    assert named("requested", None, pool_of(catalog), catalog).name == "opus"


def test_a_model_that_cannot_carry_the_request_gives_way_to_its_tier_then_upwards(catalog: Catalog) -> None:
    without_haiku = pool_of(catalog, haiku="cannot do vision")
    assert named("haiku", None, without_haiku, catalog).name == "local"
    without_small = pool_of(catalog, haiku="no", local="no")
    assert named("haiku", None, without_small, catalog).name == "sonnet"
    only_small = pool_of(catalog, opus="no", gpt="no", sonnet="no")
    assert named("frontier", None, only_small, catalog).name == "haiku"


def test_a_request_nobody_can_carry_is_refused_with_each_reason(catalog: Catalog) -> None:
    nobody = pool_of(catalog, **dict.fromkeys(catalog.models, "cannot do vision"))
    with pytest.raises(UnservableError, match="opus cannot do vision; gpt cannot do vision"):
        named("frontier", None, nobody, catalog)


def test_a_guard_s_model_is_never_replaced_but_refused(catalog: Catalog) -> None:
    with pytest.raises(
        UnservableError, match="a guard rule allows only local here, and local cannot do vision"
    ):
        guarded("local", None, pool_of(catalog, local="cannot do vision"), catalog)


def test_a_guard_s_model_is_not_refused_for_an_estimate(catalog: Catalog) -> None:
    tight = pool_of(catalog, local="holds 32000 tokens, the request has about 33000")
    assert guarded("local", None, tight, catalog).name == "local"


def test_a_forced_model_is_taken_by_its_exact_name_only(catalog: Catalog) -> None:
    # W57: a near miss must not pin another model
    assert forced("haiku", pool_of(catalog), catalog).name == "haiku"
    with pytest.raises(RequestError, match="x-weave-model asks for 'haik'; it takes one of opus, gpt"):
        forced("haik", pool_of(catalog), catalog)


def test_a_forced_model_that_cannot_carry_the_request_is_an_error(catalog: Catalog) -> None:
    # W57: what excludes a model beats what forces it
    with pytest.raises(RequestError, match="local, which cannot do vision"):
        forced("local", pool_of(catalog, local="cannot do vision"), catalog)


def test_only_a_higher_tier_rises(catalog: Catalog) -> None:
    models = catalog.models
    assert rises(models["opus"], models["sonnet"])
    assert not rises(models["gpt"], models["opus"])
    assert not rises(models["haiku"], models["opus"])


def test_a_chain_goes_by_model_then_by_tier_and_names_no_model_twice(catalog: Catalog) -> None:
    pool, opus = pool_of(catalog), catalog.models["opus"]
    assert chain(opus, {"frontier": ("frontier", "mid")}, pool) == ("opus", "gpt", "sonnet")
    assert chain(opus, {"opus": ("sonnet",), "frontier": ("mid",)}, pool) == ("opus", "sonnet")
    assert chain(opus, {"frontier": ("opus", "mid", "mid")}, pool) == ("opus", "sonnet")
    assert chain(opus, {}, pool) == ("opus",)


def test_a_chain_leaves_out_who_cannot_carry_the_request(catalog: Catalog) -> None:
    pool = pool_of(catalog, sonnet="cannot do vision")
    assert chain(catalog.models["opus"], {"frontier": ("mid", "small")}, pool) == ("opus", "haiku")
