"""What a model answers: what its script says, else what a small coding agent's model would do next, else an
echo.

The same prompt under the same seed always gives the same answer. The coding habit is a loop that any agent
with tools to read, edit and run things can drive: look, change, run the tests, change again while they fail,
report.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from engine.simulator.dice import roll
from engine.simulator.prompt import Block, Call, Offered, Prompt, Returned, Say, Stop, Think, Tokens, count
from engine.simulator.script import Script, Wanted

MOST_EDITS = 4
_SENTENCE = (
    "the function returns early when its input is empty and the caller checks for that before it goes on so "
    "the change stays small and every test still covers the path it covered before"
)
_WORDS = _SENTENCE.split()

READS = ("read", "read_file", "view", "cat", "open_file")
SEARCHES = ("grep", "glob", "search", "find", "list_files", "ls")
EDITS = ("edit", "write", "apply_patch", "str_replace", "edit_file", "write_file", "multiedit")
SHELLS = ("bash", "shell", "run", "run_command", "exec", "terminal")

_FILE = re.compile(r"[\w./-]*\w\.(?:py|ts|tsx|js|go|rs|java|rb|md|toml|yaml|json)\b")
_BROKEN = re.compile(r"\b([1-9]\d*) (failed|errors?)\b|\bFAILED\b|Traceback \(most recent", re.I)


@dataclass(frozen=True, slots=True)
class Thought:
    """An answer before the wire gives it ids and the cache its figures."""

    blocks: tuple[Block, ...]
    stop: Stop
    sequence: str | None = None


def think(prompt: Prompt, script: Script, seed: int) -> Thought:
    blocks = _say(prompt, script, seed)
    if script.thinking is not None or (prompt.thinking and not isinstance(blocks[0], Think)):
        blocks = (Think(script.thinking or _reasons(prompt, seed)), *blocks)
    if script.refusal:
        return Thought(blocks, "refusal")
    stop: Stop = "tools" if any(isinstance(block, Call) for block in blocks) else "end"
    return _limit(_stop_early(Thought(blocks, stop), prompt), prompt)


def spent(thought: Thought, prompt: Prompt, read: int, written: int) -> Tokens:
    thinking = sum(count(block.text) for block in thought.blocks if isinstance(block, Think))
    output = sum(weight(block) for block in thought.blocks)
    return Tokens(prompt.tokens, read, written, max(output, 1), thinking)


def weight(block: Block) -> int:
    match block:
        case Say(text) | Think(text):
            return count(text)
        case Call(_, name, arguments):
            return 8 + count(name) + count(arguments)


def _say(prompt: Prompt, script: Script, seed: int) -> tuple[Block, ...]:
    if script.speaks:
        return _recite(prompt, script, seed)
    if prompt.choice not in ("auto", "none"):
        return _obey(prompt, seed)
    if prompt.schema is not None:
        return (Say(json.dumps(sample(prompt.schema, prompt.task))),)
    if prompt.json_mode:
        return (Say(json.dumps({"answer": _shortened(prompt.task)})),)
    if prompt.tools and prompt.choice == "auto" and (step := _next_step(prompt)) is not None:
        return step
    if prompt.returned:
        return (Say(_retold(prompt.returned)),)
    if "title" in prompt.system[:2_000].lower() and not prompt.tools:
        return (Say(" ".join(re.findall(r"[\w'-]+", prompt.task)[:6]).capitalize()),)
    if "plan mode is active" in prompt.task.lower():
        file = _file(prompt)
        return (Say(f"1. Read {file} and its callers.\n2. Make the change there.\n3. Run the tests."),)
    return (Say(f"You said: {_shortened(prompt.task)}"),)


def _recite(prompt: Prompt, script: Script, seed: int) -> tuple[Block, ...]:
    texts = [script.text] if script.text else []
    if script.refusal:
        texts.append("I can't help with that.")
    if script.words:
        texts.append(_prose(script.words, prompt.digest, seed))
    if script.image:
        texts.append(_described(prompt))
    if script.stop_sequence:
        met = prompt.stop[0] if prompt.stop else "\n\nHuman:"
        texts.append(f"Counting: one, two, {met} three, four")
    wanted = list(script.calls)
    for index in range(script.parallel):
        offered = prompt.tools[index % len(prompt.tools)] if prompt.tools else Offered(f"tool_{index}", {})
        arguments = sample(offered.schema, f"{prompt.task} {index}")
        wanted.append(Wanted(offered.name, json.dumps(arguments if isinstance(arguments, dict) else {})))
    calls = [
        Call(f"{prompt.digest}/{seed}/{index}", call.name, call.arguments)
        for index, call in enumerate(wanted)
    ]
    if not prompt.parallel:
        calls = calls[:1]
    return (*(Say(text) for text in (" ".join(texts),) if text), *calls) or (Say("."),)


def _obey(prompt: Prompt, seed: int) -> tuple[Block, ...]:
    """A call the client insists on: of the tool it names, else of the next one that makes sense."""
    name = prompt.choice.partition(":")[2]
    if not name and (step := _next_step(prompt)) is not None:
        calls = tuple(block for block in step if isinstance(block, Call))
        if calls:
            return calls
    chosen = next((tool for tool in prompt.tools if tool.name == name), prompt.tools[0])
    return (_call(prompt, chosen, {}, str(seed)),)


def _next_step(prompt: Prompt) -> tuple[Block, ...] | None:
    """What comes next in the coding loop; None where these are no coding agent's tools."""
    read = _tool(prompt, READS)
    search = _tool(prompt, SEARCHES)
    edit = _tool(prompt, EDITS)
    shell = _tool(prompt, SHELLS)
    look = search or read
    if look is None or (edit is None and shell is None and read is None):
        return None
    called = [name.lower() for name in prompt.called]
    file = _file(prompt)
    if not called:
        hints = {"pattern": file.rsplit("/", 1)[-1].split(".")[0]}
        return (Say("I will look at the code first."), _call(prompt, look, hints))
    if read is not None and not any(name in READS for name in called):
        return (_call(prompt, read, {}),)
    if edit is None or shell is None:
        return (Say(f"Here is what I found in {file}. {_retold(prompt.returned)}"),)
    edits = sum(name in EDITS for name in called)
    if called[-1] in EDITS:
        return (_call(prompt, shell, {"command": _test_command(file)}),)
    failed = any(result.is_error or _BROKEN.search(result.text) for result in prompt.returned)
    if called[-1] in SHELLS and not failed:
        return (Say(f"Done: I changed {file} and the tests pass."),)
    if edits >= MOST_EDITS:
        return (Say(f"I could not make the tests pass in {file}; the last failure is above."),)
    hints = {
        "old_string": "return None",
        "new_string": f"return fixed({edits})",
        "content": f"fixed({edits})\n",
    }
    said = "The tests fail; I will correct the change." if edits else "Now I know what to change."
    return (Say(said), _call(prompt, edit, hints))


def _tool(prompt: Prompt, names: tuple[str, ...]) -> Offered | None:
    return next((tool for tool in prompt.tools if tool.name.lower() in names), None)


def _call(prompt: Prompt, tool: Offered, hints: Mapping[str, str], salt: str = "") -> Call:
    file = _file(prompt)
    known = {"file_path": file, "path": file, "filePath": file, "description": "Run the tests", **hints}
    arguments = sample(tool.schema, prompt.task, known)
    return Call(
        f"{prompt.digest}/{salt}", tool.name, json.dumps(arguments if isinstance(arguments, dict) else {})
    )


def _file(prompt: Prompt) -> str:
    found = _FILE.search(prompt.task)
    return found[0] if found else "src/main.py"


def _test_command(file: str) -> str:
    suffix = file.rsplit(".", 1)[-1]
    return {
        "ts": "npx jest",
        "tsx": "npx jest",
        "js": "npx jest",
        "go": "go test ./...",
        "rs": "cargo test",
    }.get(suffix, "python -m pytest -q")


def _stop_early(thought: Thought, prompt: Prompt) -> Thought:
    """Cut the answer at the first stop sequence it holds; nothing follows."""
    for index, block in enumerate(thought.blocks):
        if not isinstance(block, Say):
            continue
        met = [(block.text.find(stop), stop) for stop in prompt.stop if stop in block.text]
        if met:
            position, sequence = min(met)
            kept = (*thought.blocks[:index], Say(block.text[:position]))
            return Thought(kept, "stop_sequence", sequence)
    return thought


def _limit(thought: Thought, prompt: Prompt) -> Thought:
    """Cut the answer at the client's limit of tokens. A call that does not fit whole is not made."""
    left = prompt.model.output_tokens if prompt.max_tokens is None else prompt.max_tokens
    kept: list[Block] = []
    for block in thought.blocks:
        if weight(block) <= left:
            kept.append(block)
            left -= weight(block)
            continue
        if not isinstance(block, Call) and left > 0:
            kept.append(replace(block, text=block.text[: left * 4]))
        return Thought(tuple(kept), "length")
    return thought


def _described(prompt: Prompt) -> str:
    if not prompt.pictures:
        return "I see no image."
    seen = [
        f"{picture.media_type or 'an image'} "
        f"{'at ' + picture.url if picture.url else f'of {picture.size} bytes'}"
        for picture in prompt.pictures
    ]
    return f"I see {len(seen)} image(s): {'; '.join(seen)}."


def _retold(results: tuple[Returned, ...]) -> str:
    told = [
        f"{result.name or 'tool'} {'failed with' if result.is_error else 'returned'}: "
        f"{_shortened(result.text)}"
        for result in results
    ]
    return "; ".join(told)


def _shortened(text: str) -> str:
    return text if len(text) <= 400 else f"{text[:400]}…"


def _reasons(prompt: Prompt, seed: int) -> str:
    return f"Let me think. {_prose(12 + int(roll(seed, prompt.digest) * 12), prompt.digest, seed)}."


def _prose(words: int, digest: str, seed: int) -> str:
    start = int(roll(seed, digest, "prose") * len(_WORDS))
    return " ".join(_WORDS[(start + index) % len(_WORDS)] for index in range(words))


def sample(schema: Mapping[str, Any], about: str, known: Mapping[str, str] | None = None) -> Any:
    """A value that fits a JSON Schema; `known` names what some properties should hold."""
    if "enum" in schema:
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return sample(schema[key][0], about, known)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), "null")
    match kind:
        case "object":
            required = schema.get("required", list(schema.get("properties", {})))
            properties = schema.get("properties", {})
            return {
                name: (known or {}).get(name) or sample(properties.get(name, {}), about, known)
                for name in required
            }
        case "array":
            return [sample(schema.get("items", {}), about, known)] * max(int(schema.get("minItems", 1)), 1)
        case "integer":
            return int(schema.get("minimum", 1))
        case "number":
            return float(schema.get("minimum", 1))
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return about.strip()[:60] or "text"
