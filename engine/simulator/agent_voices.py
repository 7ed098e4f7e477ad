"""How scripted agents speak: as Claude Code does in Anthropic's format, and as opencode does in OpenAI's."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Purpose = str  # "title", "plan", "context" or "work"


@dataclass(frozen=True, slots=True)
class Heard:
    """A reply as an agent takes it: what it keeps in its history, and what it is to do."""

    message: Mapping[str, Any]
    text: str
    calls: tuple["Wish", ...]


@dataclass(frozen=True, slots=True)
class Wish:
    """A tool call of the model's."""

    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Tool:
    name: str
    description: str
    properties: tuple[str, ...]

    @property
    def schema(self) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": {
                name: {"type": "string", "description": f"The {name}."} for name in self.properties
            },
            "required": list(self.properties),
            "additionalProperties": False,
        }


READ = Tool("Read", "Reads a file of the repository and returns its lines with numbers.", ("file_path",))
GREP = Tool("Grep", "Searches the repository for a pattern and returns the lines that match.", ("pattern",))
EDIT = Tool(
    "Edit", "Replaces one text in a file by another; fails where the old text is not found exactly once.",
    ("file_path", "old_string", "new_string"),
)  # fmt: skip
BASH = Tool(
    "Bash", "Runs a command in the repository and returns what it prints.", ("command", "description")
)


class Voice(Protocol):
    protocol: str
    path: str

    def headers(self, session: str, subagent: str) -> dict[str, str]: ...
    def body(
        self,
        purpose: Purpose,
        system: str,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Tool],
        stream: bool,
    ) -> dict[str, Any]: ...
    def user(self, text: str) -> dict[str, Any]: ...
    def hear(self, reply: Mapping[str, Any]) -> Heard: ...
    def results(self, results: Sequence[tuple[Wish, str, bool]]) -> list[dict[str, Any]]: ...


class ClaudeCode:
    """Requests in the manner of Claude Code: session in a header, cache marks, the tools always along."""

    protocol = "anthropic-messages"
    path = "/v1/messages"

    def headers(self, session: str, subagent: str) -> dict[str, str]:
        headers = {
            "anthropic-version": "2023-06-01",
            "user-agent": "claude-cli/2.1.330 (external, cli)",
            "x-app": "cli",
            "x-claude-code-session-id": session,
        }
        return {**headers, "x-claude-code-agent-id": subagent} if subagent else headers

    def body(
        self,
        purpose: Purpose,
        system: str,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Tool],
        stream: bool,
    ) -> dict[str, Any]:
        mark = {"cache_control": {"type": "ephemeral"}}
        opening = "You are Claude Code, Anthropic's official CLI for Claude."
        body: dict[str, Any] = {
            "model": "claude-haiku-4-5" if purpose == "title" else "claude-opus-4-5",
            "max_tokens": 512 if purpose == "title" else 8_000,
            "system": [{"type": "text", "text": opening}, {"type": "text", "text": system, **mark}],
            "messages": [*messages[:-1], _marked(messages[-1])],
            "stream": stream,
        }
        if tools:
            body["tools"] = [
                {"name": tool.name, "description": tool.description, "input_schema": tool.schema}
                for tool in tools
            ]
        if purpose == "plan":
            body["thinking"] = {"type": "enabled", "budget_tokens": 4_000}
        return body

    def user(self, text: str) -> dict[str, Any]:
        return {"role": "user", "content": [{"type": "text", "text": text}]}

    def hear(self, reply: Mapping[str, Any]) -> Heard:
        blocks = reply["content"]
        text = "".join(block["text"] for block in blocks if block["type"] == "text")
        calls = tuple(
            Wish(block["id"], block["name"], block["input"])
            for block in blocks
            if block["type"] == "tool_use"
        )
        return Heard({"role": "assistant", "content": blocks}, text, calls)

    def results(self, results: Sequence[tuple[Wish, str, bool]]) -> list[dict[str, Any]]:
        blocks = [
            {
                "type": "tool_result",
                "tool_use_id": wish.id,
                "content": text,
                **({"is_error": True} if failed else {}),
            }
            for wish, text, failed in results
        ]
        return [{"role": "user", "content": blocks}]


def _marked(message: Mapping[str, Any]) -> dict[str, Any]:
    """The message with a cache mark on its last block."""
    *blocks, last = message["content"]
    return {**message, "content": [*blocks, {**last, "cache_control": {"type": "ephemeral"}}]}


class Opencode:
    """Requests in the manner of opencode: session in headers, a sub-agent as a session with a parent."""

    protocol = "openai-chat"
    path = "/v1/chat/completions"

    def headers(self, session: str, subagent: str) -> dict[str, str]:
        own = f"ses_{subagent or session}"
        headers = {"user-agent": "opencode/1.18.33", "x-session-affinity": own, "x-session-id": own}
        return {**headers, "x-parent-session-id": f"ses_{session}"} if subagent else headers

    def body(
        self,
        purpose: Purpose,
        system: str,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Tool],
        stream: bool,
    ) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": "gpt-5.4",
            "max_completion_tokens": 512 if purpose == "title" else 8_000,
            "messages": [{"role": "system", "content": f"You are opencode. {system}"}, *messages],
        }
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        if tools:
            body["tools"] = [_function(tool) for tool in tools]
            body["tool_choice"] = "auto"
        if purpose == "plan":
            body["reasoning_effort"] = "high"
        return body

    def user(self, text: str) -> dict[str, Any]:
        return {"role": "user", "content": text}

    def hear(self, reply: Mapping[str, Any]) -> Heard:
        message = reply["choices"][0]["message"]
        kept = {"role": "assistant", "content": message.get("content")}
        if message.get("reasoning_content"):
            kept["reasoning_content"] = message["reasoning_content"]
        if message.get("tool_calls"):
            kept["tool_calls"] = message["tool_calls"]
        calls = tuple(
            Wish(call["id"], call["function"]["name"], json.loads(call["function"]["arguments"] or "{}"))
            for call in message.get("tool_calls") or ()
        )
        return Heard(kept, message.get("content") or "", calls)

    def results(self, results: Sequence[tuple[Wish, str, bool]]) -> list[dict[str, Any]]:
        return [{"role": "tool", "tool_call_id": wish.id, "content": text} for wish, text, _ in results]


def _function(tool: Tool) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {"name": tool.name.lower(), "description": tool.description, "parameters": tool.schema},
    }


VOICES: dict[str, Voice] = {"anthropic-messages": ClaudeCode(), "openai-chat": Opencode()}
