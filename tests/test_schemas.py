"""The published schemas are the reference manual: every field has its sentence, and none needs the network."""

import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator

from engine.core.catalog import TIERS, Capability
from engine.core.decision import Outcome
from engine.core.policy import RetryCause
from engine.documents import shipped_json
from engine.protocols import PROTOCOLS
from engine.turn import outcome_values

SCHEMAS = [
    "schemas/catalog.v1.schema.json",
    "schemas/policy.v1.schema.json",
    "schemas/outcomes.v1.schema.json",
    "schemas/stats.v1.schema.json",
    "schemas/dialect.v1.schema.json",
]


def described(schema: dict[str, Any], root: dict[str, Any]) -> str:
    if "description" in schema:
        return str(schema["description"])
    name = schema.get("$ref", "").removeprefix("#/$defs/")
    return str(root["$defs"].get(name, {}).get("description", "")) if name else ""


def fields(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, list):
        for item in schema:
            yield from fields(item, path)
        return
    if not isinstance(schema, dict):
        return
    for name, field in schema.get("properties", {}).items():
        yield f"{path}.{name}", field
        yield from fields(field, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield f"{path}.{key}", schema[key]
            yield from fields(schema[key], f"{path}.{key}")
    for name, each in schema.get("$defs", {}).items():
        yield from fields(each, f"{path}#{name}")


ALL = [(name, path, field) for name in SCHEMAS for path, field in fields(shipped_json(name))]


@pytest.mark.parametrize(("name", "path", "field"), ALL, ids=[f"{name}{path}" for name, path, _ in ALL])
def test_every_field_has_one_plain_sentence(name: str, path: str, field: dict[str, Any]) -> None:
    sentence = described(field, shipped_json(name))
    assert re.fullmatch(r"[A-Z].*\.", sentence), path
    assert len(sentence) <= 160, path


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_valid_and_needs_no_network(name: str) -> None:
    schema = shipped_json(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$id"].startswith("urn:weave:")
    references = re.findall(r'"\$ref": "([^"]*)"', str(schema).replace("'", '"'))
    assert all(reference.startswith("#/$defs/") for reference in references)


@pytest.mark.parametrize("name", SCHEMAS)
def test_mappings_are_closed_and_lists_are_bounded(name: str) -> None:
    """What nothing reads is refused, and no list or map can grow until checking it takes minutes."""
    whole = shipped_json(name)
    for path, field in [("", whole), *fields(whole)]:
        if field.get("type") == "object" and "properties" in field:
            assert field.get("additionalProperties") is False, path
        if field.get("type") == "array" and name != SCHEMAS[2]:
            assert "maxItems" in field, path


def test_the_schemas_list_what_the_engine_knows() -> None:
    catalog, policy = (shipped_json(name) for name in SCHEMAS[:2])
    model = catalog["$defs"]["model"]["properties"]
    retry_on = policy["properties"]["failover"]["properties"]["retry_on"]["items"]["enum"]
    assert set(catalog["$defs"]["endpoint"]["properties"]["protocol"]["enum"]) == set(PROTOCOLS)
    assert tuple(model["tier"]["enum"]) == TIERS
    assert set(model["can"]["items"]["enum"]) == set(get_args(Capability))
    assert {str(cause) for cause in retry_on} == set(get_args(RetryCause))


def test_outcome_expressions_read_what_outcomes_hold() -> None:
    fields = shipped_json(SCHEMAS[2])["properties"]
    outcome = Outcome("id", 0.0, rating=0.5, labels={"ci": "green"})
    assert outcome_values(outcome).keys() == fields.keys()
    assert set(shipped_json(SCHEMAS[2])["required"]) == outcome_values(Outcome("id", 0.0)).keys()
