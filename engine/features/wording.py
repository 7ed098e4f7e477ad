"""What users say of the work, and clients in their name: wrong, right, go on, stop.

Only the beginning of a message is read, and what was read is remembered, for a client repeats it in every step of a
turn. The words are data, `schemas/evidence/words.v1.yaml`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from engine.documents import shipped_yaml

WORDS = "schemas/evidence/words.v1.yaml"
OPENING = 400  # characters of a message in which users say what they think of the work
WHOLE = 80  # characters up to which a message may be nothing but a nod
REMEMBERED = 512


@dataclass(frozen=True, slots=True)
class Wording:
    """What a message of a user says of the work before it."""

    corrects: bool = False
    approves: bool = False
    continues: bool = False
    abandons: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """A command's output that a client put into a user's text. `command` is empty where it is not told."""

    command: str


def wording(words: str) -> Wording:
    return _wording(words[:OPENING])


def interruption(text: str) -> bool:
    """Whether a client's text, or the result of a call, begins by saying that the user stopped the agent."""
    return text.startswith(_interruptions())


def interrupted_result(text: str) -> bool:
    return text.startswith(_interruptions()) or (len(text) < WHOLE and text.strip() in _interrupted_results())


def report(text: str) -> Report | None:
    if not text.startswith(_report_openings()):
        return None
    for begins, command in _reports():
        if text.startswith(begins):
            found = command.search(text[:1_000])
            return Report(found[1] if found is not None else "")
    return None


def edits_in_text(text: str) -> bool:
    return any(mark in text for mark in _text_edits())


def command_in_text(text: str) -> str:
    """The last command that a model wrote into its text for its client to run; empty where there is none."""
    found = list(_text_commands().finditer(text[-4_096:]))
    return (found[-1][1] or found[-1][2] or "").strip() if found else ""


@lru_cache(maxsize=REMEMBERED)
def _wording(opening: str) -> Wording:
    abandons = _any("abandonments").search(opening) is not None
    corrects = not abandons and _any("corrections").search(opening) is not None
    approves = not (corrects or abandons) and _any("approvals").search(opening) is not None
    nod = len(opening) <= WHOLE and _any("continuations").fullmatch(opening.strip(" \n.!")) is not None
    return Wording(corrects and not nod, approves and not nod, nod, abandons)


@cache
def _any(name: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{each})" for each in shipped_yaml(WORDS)[name]), re.IGNORECASE)


def interruption_marks() -> tuple[str, ...]:
    """How the results of calls begin that were cut off."""
    return (*_interruptions(), *_interrupted_results())


@cache
def _interruptions() -> tuple[str, ...]:
    return tuple(shipped_yaml(WORDS)["interruptions"])


@cache
def _interrupted_results() -> frozenset[str]:
    return frozenset(shipped_yaml(WORDS)["interrupted_results"])


@cache
def _reports() -> Sequence[tuple[str, re.Pattern[str]]]:
    entries: list[dict[str, Any]] = shipped_yaml(WORDS)["reports"]
    return [(entry["begins"], re.compile(entry["command"])) for entry in entries]


@cache
def _report_openings() -> tuple[str, ...]:
    return tuple(begins for begins, _ in _reports())


@cache
def _text_edits() -> tuple[str, ...]:
    return tuple(shipped_yaml(WORDS)["text_edits"])


@cache
def _text_commands() -> re.Pattern[str]:
    return re.compile(shipped_yaml(WORDS)["text_commands"], re.DOTALL)
