"""What Google's generateContent refuses, in its own words. Checks stop at the first fault.

Google reads JSON into typed messages: a field it does not know is an error wherever it stands, in camelCase and
in snake_case alike. Function schemas are such a message too, with only a part of JSON Schema's keywords.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

from engine.simulator.models import SimulatedModel
from engine.simulator.wire import Refused

SKIP = "skip_thought_signature_validator"
_SKIPS = (SKIP, b64encode(SKIP.encode()).decode())
_OURS = b"simulated thought of "

_TOP = (
    "contents systemInstruction tools toolConfig generationConfig safetySettings cachedContent labels "
    "modelArmorConfig store serviceTier"
)
_CONFIG = (
    "stopSequences responseMimeType responseSchema responseJsonSchema responseModalities candidateCount "
    "maxOutputTokens temperature topP topK seed presencePenalty frequencyPenalty responseLogprobs logprobs "
    "enableEnhancedCivicAnswers speechConfig thinkingConfig imageConfig mediaResolution audioTimestamp"
)
_DATA = (
    "text inlineData fileData functionCall functionResponse executableCode codeExecutionResult "
    "toolCall toolResponse"
)
_BESIDE = "thought thoughtSignature videoMetadata partMetadata mediaResolution"
_TOOL = (
    "functionDeclarations googleSearch googleSearchRetrieval codeExecution urlContext fileSearch "
    "computerUse googleMaps"
)
_DECLARATION = "name description parameters parametersJsonSchema response responseJsonSchema behavior"
_SCHEMA = (
    "type format title description nullable enum maxItems minItems properties required minProperties maxProperties "
    "minLength maxLength pattern example anyOf propertyOrdering default items minimum maximum"
)
_THINKING = "includeThoughts thinkingBudget thinkingLevel"
_TYPES = ("string", "number", "integer", "boolean", "array", "object", "null")
_FORMATS = {
    "string": ("enum", "date-time"),
    "number": ("float", "double"),
    "integer": ("int32", "int64"),
}
_LEVELS = ("minimal", "low", "medium", "high")


def refuse(message: str) -> Refused:
    return Refused(400, "INVALID_ARGUMENT", message)


def faulty(where: str, why: str) -> Refused:
    return refuse(f"* GenerateContentRequest.{where}: {why}")


def named(holder: Mapping[str, Any]) -> dict[str, Any]:
    """Google takes both spellings of a field."""
    return {re.sub(r"_([a-z0-9])", lambda at: at[1].upper(), key): value for key, value in holder.items()}


def known(value: Any, fields: str, where: str) -> dict[str, Any]:
    """The message with its fields in camelCase; refused where one is not known."""
    if not isinstance(value, Mapping):
        raise refuse(f"Invalid value at '{where}' (type.googleapis.com/google.protobuf.Message), {value!r}")
    found = named(value)
    allowed = fields.split()
    for field in found:
        if field not in allowed:
            place = f" at '{where}'" if where else ""
            raise refuse(f'Invalid JSON payload received. Unknown name "{field}"{place}: Cannot find field.')
    return found


def check(body: Mapping[str, Any], model: SimulatedModel) -> dict[str, Any]:
    """The body with the names of its top level in camelCase. Raises Refused."""
    found = known(body, _TOP, "")
    contents = found.get("contents")
    if not isinstance(contents, list) or not contents:
        raise faulty("contents", "contents is not specified")
    names = _check_tools(found.get("tools") or [])
    _check_config(
        known(found.get("generationConfig") or {}, _CONFIG, "generation_config"), model, bool(names)
    )
    _check_choice(found.get("toolConfig"), names)
    if found.get("systemInstruction") is not None:
        _check_parts(found["systemInstruction"], "system_instruction")
    for at, content in enumerate(contents):
        _check_parts(content, f"contents[{at}]")
    _check_turns(_turns(contents), model)
    return found


def _turns(contents: list[Any]) -> list[dict[str, Any]]:
    """Contents of one role that follow one another are one turn: the SDKs keep a stream's pieces apart."""
    turns: list[dict[str, Any]] = []
    for content in contents:
        role = "model" if content.get("role") == "model" else "user"
        if turns and turns[-1]["role"] == role:
            turns[-1]["parts"] += content["parts"]
        else:
            turns.append({"role": role, "parts": list(content["parts"])})
    return turns


def parts_of(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [named(part) for part in content["parts"]]


def _check_parts(content: Any, where: str) -> None:
    found = known(content, "role parts", where)
    if found.get("role") not in (None, "user", "model", "function"):
        raise refuse("Please use a valid role: user, model.")
    parts = found.get("parts")
    if not isinstance(parts, list) or not parts:
        raise faulty(f"{where}.parts", "contents.parts must not be empty.")
    for at, value in enumerate(parts):
        place = f"{where}.parts[{at}]"
        part = known(value, f"{_DATA} {_BESIDE}", place)
        data = [field for field in part if field in _DATA.split()]
        if len(data) != 1 and (data or "thoughtSignature" not in part):
            raise faulty(f"{place}.data", "required oneof field 'data' must have one initialized field")
        _check_data(part, place)


def _check_data(part: dict[str, Any], place: str) -> None:
    match part:
        case {"inlineData": blob}:
            found = known(blob, "mimeType data displayName", f"{place}.inline_data")
            if not found.get("mimeType"):
                raise refuse("Unable to submit request because it has a mimeType parameter without a value.")
            _decoded(str(found.get("data")), f"{place}.inline_data.data")
        case {"fileData": file}:
            known(file, "mimeType fileUri displayName", f"{place}.file_data")
        case {"functionCall": call}:
            found = known(call, "id name args partialArgs willContinue", f"{place}.function_call")
            if not found.get("name"):
                raise faulty(f"{place}.function_call.name", "Name cannot be empty.")
            if not isinstance(found.get("args", {}), dict):
                raise refuse(
                    f"Invalid value at '{place}.function_call.args' (type.googleapis.com/google.protobuf.Struct)"
                )
        case {"functionResponse": response}:
            found = known(
                response, "id name response parts willContinue scheduling", f"{place}.function_response"
            )
            if not found.get("name"):
                raise faulty(f"{place}.function_response.name", "Name cannot be empty.")
            if not isinstance(found.get("response"), dict):
                raise refuse(f"Invalid value at '{place}.function_response.response'")
    if "thoughtSignature" in part:
        _decoded(str(part["thoughtSignature"]), f"{place}.thought_signature")


def _decoded(text: str, where: str) -> bytes:
    plain = text.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except ValueError:
        raise refuse(
            f"Invalid value at '{where}' (TYPE_BYTES), Base64 decoding failed for \"{text[:40]}\""
        ) from None


def _check_turns(contents: list[Any], model: SimulatedModel) -> None:
    if contents[0].get("role") == "model":
        raise refuse("Please ensure that the conversation starts with a user turn.")
    last_task = max(
        (at for at, content in enumerate(contents)
         if content.get("role") != "model" and any("functionResponse" not in part for part in parts_of(content))),
        default=0,
    )  # fmt: skip
    for at, content in enumerate(contents):
        parts = parts_of(content)
        calls = [part for part in parts if "functionCall" in part]
        if content.get("role") == "model" and calls:
            _check_answers(calls, contents[at + 1 :])
            if "signed_calls" in model.quirks and at > last_task:
                _check_signature(calls[0])
        answers = [part for part in parts if "functionResponse" in part]
        before = parts_of(contents[at - 1]) if at else []
        if answers and not any("functionCall" in part or "functionResponse" in part for part in before):
            raise refuse(
                "Please ensure that function response turn comes immediately after a function call turn."
            )


def _check_answers(calls: list[Any], rest: list[Any]) -> None:
    """A call's results stand in the user's contents right behind it."""
    answers: list[str] = []
    for content in rest:
        if content.get("role") == "model":
            break
        answers += [
            part["functionResponse"]["name"] for part in parts_of(content) if "functionResponse" in part
        ]
    wanted = sorted(part["functionCall"]["name"] for part in calls)
    if len(answers) < len(wanted):
        raise refuse(
            "Please ensure that the number of function response parts is equal to the number of function call parts "
            "of the function call turn."
        )
    if sorted(answers) != wanted and len(answers) == len(wanted):
        raise refuse(f"Function response names {sorted(answers)} do not match the calls {wanted}.")


def signature(key: str) -> str:
    return b64encode(_OURS + key.encode()).decode()


def _check_signature(part: dict[str, Any]) -> None:
    given = part.get("thoughtSignature")
    name = part["functionCall"].get("name")
    if not given:
        raise refuse(
            "Function call is missing a thought_signature in functionCall parts. This is required for tools to work "
            f"correctly, and missing thought_signature may lead to degraded model performance. Function call `{name}`."
        )
    if given not in _SKIPS and not _decoded(given, "thought_signature").startswith(_OURS):
        raise refuse("Thought signature is not valid.")


def _check_tools(tools: Any) -> set[str]:
    names: set[str] = set()
    for at, value in enumerate(tools if isinstance(tools, list) else [tools]):
        tool = known(value, _TOOL, f"tools[{at}]")
        for place, declared in enumerate(tool.get("functionDeclarations") or []):
            where = f"tools[{at}].function_declarations[{place}]"
            found = known(declared, _DECLARATION, where)
            name = found.get("name", "")
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}", name):
                raise faulty(f"{where}.name", "Invalid function name. Must start with a letter.")
            names.add(name)
            if found.get("parameters") is not None:
                check_schema(found["parameters"], f"{where}.parameters")
    return names


def check_schema(schema: Any, where: str) -> None:
    """A function's parameters, as far as Google takes them apart."""
    found = known(schema, _SCHEMA, where)
    kind = str(found.get("type", "")).lower()
    if kind not in _TYPES and "anyOf" not in found:
        raise faulty(f"{where}.type", "schema didn't specify the schema type field")
    if not all(isinstance(word, str) for word in found.get("enum", ())):
        raise refuse(f"Invalid value at '{where}.enum' (TYPE_STRING), {found['enum']!r}")
    if "" in found.get("enum", ()):
        raise faulty(f"{where}.enum[0]", "cannot be empty")
    if found.get("format") and found["format"] not in _FORMATS.get(kind, ()):
        raise faulty(f"{where}.format", "only 'enum' and 'date-time' are supported for STRING type")
    if kind == "array" and "items" not in found:
        raise faulty(f"{where}.items", "missing field.")
    fields = found.get("properties") or {}
    for name in found.get("required", ()):
        if name not in fields:
            raise faulty(f"{where}.required[0]", "property is not defined")
    for at, inner in enumerate(fields.values()):
        check_schema(inner, f"{where}.properties[{at}].value")
    if "items" in found:
        check_schema(found["items"], f"{where}.items")
    for at, inner in enumerate(found.get("anyOf", ())):
        check_schema(inner, f"{where}.any_of[{at}]")


def _check_choice(config: Any, names: set[str]) -> None:
    if config is None:
        return
    found = known(
        config, "functionCallingConfig retrievalConfig includeServerSideToolInvocations", "tool_config"
    )
    calling = known(found.get("functionCallingConfig") or {}, "mode allowedFunctionNames", "tool_config")
    mode, allowed = calling.get("mode", "AUTO"), calling.get("allowedFunctionNames") or []
    if mode not in ("AUTO", "ANY", "NONE", "VALIDATED", "MODE_UNSPECIFIED"):
        raise refuse(f"Invalid value at 'tool_config.function_calling_config.mode', \"{mode}\"")
    if allowed and mode not in ("ANY", "VALIDATED"):
        raise refuse("Function calling config is set with allowed_function_names but the mode is not ANY.")
    if missing := [name for name in allowed if name not in names]:
        raise refuse(f"allowed_function_names names {missing[0]}, which is not declared.")
    if mode == "ANY" and not names:
        raise refuse("Function calling config is set without function_declarations.")


def _check_config(config: dict[str, Any], model: SimulatedModel, has_tools: bool) -> None:
    if len(config.get("stopSequences") or ()) > 5:
        raise faulty("generation_config.stop_sequences", "at most 5 stop sequences are supported")
    limit = config.get("maxOutputTokens")
    if limit is not None and (not isinstance(limit, int) or not 0 < limit <= model.output_tokens):
        raise refuse(f"max_output_tokens must be between 1 and {model.output_tokens}, got {limit}")
    temperature = config.get("temperature")
    if temperature is not None and not 0 <= temperature <= 2:
        raise faulty("generation_config.temperature", f"{temperature} is out of range [0, 2]")
    for field in ("responseSchema", "responseJsonSchema"):
        if config.get(field) is not None and config.get("responseMimeType") != "application/json":
            raise faulty(f"generation_config.{field}", "response mime type must be application/json")
    if config.get("responseSchema") is not None:
        check_schema(config["responseSchema"], "generation_config.response_schema")
    if (
        config.get("responseMimeType") == "application/json"
        and has_tools
        and "signed_calls" not in model.quirks
    ):
        raise refuse("Function calling with a response mime type: 'application/json' is unsupported")
    if config.get("thinkingConfig") is not None:
        _check_thinking(
            known(config["thinkingConfig"], _THINKING, "generation_config.thinking_config"), model
        )


def _check_thinking(thinking: dict[str, Any], model: SimulatedModel) -> None:
    level, budget = thinking.get("thinkingLevel"), thinking.get("thinkingBudget")
    if level is not None and budget is not None:
        raise refuse("You can only set only one of thinking budget and thinking level.")
    if not model.reasons:
        raise refuse("Thinking is not enabled for this model.")
    if level is not None and ("signed_calls" not in model.quirks or str(level).lower() not in _LEVELS):
        raise refuse("Thinking level is not supported for this model.")
    if budget is not None and budget not in (-1, 0) and not 128 <= budget <= 24_576:
        raise refuse(f"The thinking budget {budget} is invalid. Please choose a value between 128 and 24576.")
