"""What OpenAI refuses of tools: their names, their schemas, and how a request chooses among them."""

import re
from collections.abc import Mapping
from typing import Any

from engine.simulator.models import Dialect
from engine.simulator.openai_refusals import empty, missing, refuse, too_long, wrong_type
from engine.simulator.wire import Refused

_NAME = re.compile(r"^[a-zA-Z0-9_-]+$")


def check_tools(body: Mapping[str, Any], dialect: Dialect) -> None:
    tools = body.get("tools")
    if tools is not None and not isinstance(tools, list):
        raise wrong_type("tools", "an array of objects", tools)
    if tools == [] and dialect != "vllm":
        raise empty("tools")
    if not tools:
        for name in ("tool_choice", "parallel_tool_calls"):
            if body.get(name) not in (None, "none") and dialect == "openai":
                raise refuse(f"'{name}' is only allowed when 'tools' are specified.", name)
        return
    if len(tools) > 128:
        raise refuse(
            "Invalid 'tools': array too long. Expected an array with maximum length 128, but got an array "
            "with "
            f"length {len(tools)} instead.",
            "tools",
            "array_above_max_length",
        )
    if dialect == "openrouter":
        # It hosts tools of its own and leaves schemas to whoever serves the model.
        tools = [tool for tool in tools if not str(tool.get("type")).startswith("openrouter:")]
    strict = dialect == "openai"
    names = [_check_tool(tool, f"tools[{index}]", strict) for index, tool in enumerate(tools)]
    choice = body.get("tool_choice")
    _check_choice("required" if choice == "any" and dialect == "mistral" else choice, names)


def _check_tool(tool: Any, at: str, strict: bool) -> str:
    kind = tool.get("type") if isinstance(tool, dict) else None
    if kind not in ("function", "custom"):
        raise refuse(
            f"Invalid value: '{kind}'. Supported values are: 'function' and 'custom'.",
            f"{at}.type",
            "invalid_value",
        )
    if not isinstance(tool.get(kind), dict):
        raise missing(f"{at}.{kind}")
    inner = tool[kind]
    check_name(inner.get("name"), f"{at}.{kind}.name")
    for field in inner:
        if kind == "function" and field not in ("name", "description", "parameters", "strict"):
            raise refuse(
                f"Unknown parameter: '{at}.function.{field}'.", f"{at}.function.{field}", "unknown_parameter"
            )
    if strict and kind == "function" and inner.get("parameters") is not None:
        _check_schema(inner, f"{at}.function.parameters")
    return str(inner["name"])


def check_name(name: Any, at: str) -> None:
    if not isinstance(name, str):
        raise missing(at) if name is None else wrong_type(at, "a string", name)
    if not name:
        raise refuse(
            f"Invalid '{at}': empty string. Expected a string with minimum length 1, but got an empty "
            "string instead.",
            at,
            "empty_string",
        )
    if not _NAME.match(name):
        raise refuse(
            f"Invalid '{at}': string does not match pattern. Expected a string that matches the pattern "
            "'^[a-zA-Z0-9_-]+$'.",
            at,
            "invalid_value",
        )
    if len(name) > 64:
        raise too_long(at, name, 64)


def _check_schema(function: Mapping[str, Any], at: str) -> None:
    schema = function["parameters"]
    kind = schema.get("type") if isinstance(schema, dict) else None
    if kind != "object" and schema != {}:
        raise _bad_schema(
            function, f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{kind}\"'.", at
        )
    _check_node(function, schema, (), at)


def _check_node(function: Mapping[str, Any], schema: Any, place: tuple[str, ...], at: str) -> None:
    """Arrays name their items; strict objects close themselves and require all they have."""
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "array" and "items" not in schema:
        raise _bad_schema(function, f"In context={place}, array schema missing items.", at)
    properties = schema.get("properties", {})
    if function.get("strict") and schema.get("type") == "object":
        if schema.get("additionalProperties") is not False:
            raise _bad_schema(
                function,
                f"In context={place}, 'additionalProperties' is required to be supplied and to be false.",
                at,
            )
        if set(schema.get("required", ())) != set(properties):
            raise _bad_schema(
                function,
                f"In context={place}, 'required' is required to be supplied and to be an array including "
                "every key "
                "in properties.",
                at,
            )
    for name, inner in properties.items():
        _check_node(function, inner, (*place, "properties", name), at)
    _check_node(function, schema.get("items"), (*place, "items"), at)


def _bad_schema(function: Mapping[str, Any], why: str, at: str) -> Refused:
    return refuse(
        f"Invalid schema for function '{function['name']}': {why}", at, "invalid_function_parameters"
    )


def _check_choice(choice: Any, names: list[str]) -> None:
    if choice in (None, "none", "auto", "required"):
        return
    if isinstance(choice, str):
        raise refuse(
            f"Invalid value: '{choice}'. Supported values are: 'none', 'auto', and 'required'.",
            "tool_choice",
            "invalid_value",
        )
    if not isinstance(choice, dict):
        raise wrong_type("tool_choice", "one of an object or string", choice)
    kind = choice.get("type")
    if kind == "allowed_tools":
        return
    if kind not in ("function", "custom"):
        raise refuse(
            f"Invalid value: '{kind}'. Supported values are: 'function', 'allowed_tools', and 'custom'.",
            "tool_choice.type",
            "invalid_value",
        )
    name = (choice.get(kind) or {}).get("name")
    if name is None:
        raise missing(f"tool_choice.{kind}")
    if name not in names:
        raise refuse(f"Tool choice '{name}' not found in 'tools' parameter.", "tool_choice")
