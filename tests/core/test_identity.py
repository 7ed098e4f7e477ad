from engine.core.identity import LOCAL, Identity
from engine.documents import shipped_json


def test_what_policies_see_of_an_identity_is_what_their_schema_says() -> None:
    schema = shipped_json("schemas/input.v1.schema.json")["properties"]["identity"]
    assert list(Identity("ann", "core", "internal").values) == schema["required"]
    assert Identity("ann", "core", "internal").values == {
        "name": "ann",
        "team": "core",
        "data_class": "internal",
    }


def test_who_asks_an_engine_without_keys_is_the_operator_who_may_force_a_model() -> None:
    assert LOCAL.may_force
    assert LOCAL.values == {"name": "local", "team": "", "data_class": ""}
