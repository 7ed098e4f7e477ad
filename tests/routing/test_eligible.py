from engine.core.catalog import Catalog
from engine.core.conversation import Lossy
from engine.routing.eligible import eligible

PLAIN = {"tool_count": 0, "images": 0, "documents": 0, "structured_output": False, "context_tokens": 100}


def test_a_plain_request_can_go_anywhere(catalog: Catalog) -> None:
    pool = eligible(catalog.models.values(), PLAIN)
    assert [model.name for model in pool.models] == list(catalog.models)


def test_a_model_that_cannot_see_is_no_choice_for_an_image(catalog: Catalog) -> None:
    pool = eligible(catalog.models.values(), PLAIN | {"images": 1})
    assert catalog.models["local"] not in pool
    assert pool.excluded == {"local": "cannot do vision"}


def test_every_missing_capability_is_named(catalog: Catalog) -> None:
    pool = eligible(catalog.models.values(), PLAIN | {"images": 1, "structured_output": True})
    assert pool.excluded["local"] == "cannot do vision, structured_output"


def test_a_model_whose_window_is_too_small_is_out(catalog: Catalog) -> None:
    pool = eligible(catalog.models.values(), PLAIN | {"context_tokens": 300_000})
    assert [model.name for model in pool.models] == ["gpt"]
    assert pool.excluded["opus"] == "holds 200000 tokens, the request has about 300000"


def test_a_model_that_cannot_be_given_the_request_is_out(catalog: Catalog) -> None:
    lost = {"gpt": "cannot carry messages[0].content[1] (gone)"}
    pool = eligible(catalog.models.values(), PLAIN, Lossy(), lost)
    assert pool.excluded == lost
    assert catalog.models["gpt"] not in pool


def test_media_are_no_need_where_the_policy_lets_content_go(catalog: Catalog) -> None:
    loose = Lossy(content="report")
    assert eligible(catalog.models.values(), PLAIN | {"images": 1, "documents": 2}, loose).excluded == {}
    assert eligible(catalog.models.values(), PLAIN | {"structured_output": True}, loose).excluded == {
        "local": "cannot do structured_output"
    }
