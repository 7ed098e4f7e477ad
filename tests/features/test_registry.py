"""The schema of inputs and the registry say the same; the schema drives CEL's type checker, so it must be exact."""

import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from engine.core.conversation import Message, Request, Text, Tuning
from engine.documents import shipped_json, shipped_yaml
from engine.features import FEATURES, features, hints, survey
from engine.features.hints import HINTS
from engine.features.history import NEUTRAL
from engine.features.registry import requested_tier

SCHEMA: dict[str, Any] = shipped_json("schemas/input.v1.schema.json")
PROPERTIES: dict[str, Any] = SCHEMA["properties"]
REQUEST = Request("openai-chat", "m", (), (Message("user", (Text("hello"),)),), (), Tuning(), False, b"", {})


def _inputs(**hinted: str) -> dict[str, Any]:
    headers = {f"x-weave-{name}": value for name, value in hinted.items()}
    identity = {"name": "me", "team": "core", "data_class": "internal"}
    return {
        "features": features(survey(REQUEST, headers), None),
        "hints": hints(headers),
        "identity": identity,
    }


def test_the_schema_is_a_valid_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_the_schema_names_exactly_the_features_there_are_all_of_them_required() -> None:
    names = {*FEATURES, "requested_tier", *NEUTRAL}
    assert set(PROPERTIES["features"]["properties"]) == names
    assert set(PROPERTIES["features"]["required"]) == names
    assert set(features(survey(REQUEST, {}), None)) == names


def test_the_schema_names_exactly_the_hints_there_are_none_of_them_required() -> None:
    assert set(PROPERTIES["hints"]["properties"]) == set(HINTS)
    assert "required" not in PROPERTIES["hints"]


def test_real_inputs_follow_the_schema() -> None:
    hinted = {
        "task": "debug",
        "phase": "plan",
        "session": "s",
        "agent": "a",
        "latency": "fast",
        "private": "1",
        "model": "opus",
        "max-cost": "0.5",
    }
    Draft202012Validator(SCHEMA).validate(_inputs())
    Draft202012Validator(SCHEMA).validate(_inputs(**hinted))


@pytest.mark.parametrize("name", FEATURES)
def test_a_feature_is_described_in_the_schema_by_its_docstring(name: str) -> None:
    described = PROPERTIES["features"]["properties"][name]["description"]
    docstring = FEATURES[name].__doc__
    assert docstring is not None
    assert described.startswith(docstring.strip())


def test_the_requested_tier_is_described_in_the_schema_by_its_docstring() -> None:
    docstring = requested_tier.__doc__
    assert docstring is not None
    assert PROPERTIES["features"]["properties"]["requested_tier"]["description"] == docstring.strip()


def test_every_field_is_described_in_a_sentence() -> None:
    for group in PROPERTIES.values():
        for field in group["properties"].values():
            assert re.search(r"^[A-Z].+\.$", field["description"])


def test_the_schema_lists_the_clients_and_languages_the_markers_know() -> None:
    markers = shipped_yaml("schemas/clients.v1.yaml")
    fields = PROPERTIES["features"]["properties"]
    assert set(fields["client"]["enum"]) == {client["name"] for client in markers["clients"]} | {"other"}
    assert set(fields["language"]["enum"]) == {*markers["languages"], "none"}
    assert {marker["phase"] for marker in markers["phases"]} <= set(fields["phase"]["enum"])
