"""The tools that judge work, as `schemas/evidence/runs.v1.yaml` tells them, read once."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from engine.core.evidence import RunKind
from engine.documents import shipped_yaml

RUNS = "schemas/evidence/runs.v1.yaml"


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that judges the work. `each`: one output holds several summaries of one run. `wraps`: it runs others.
    `silent`: it prints nothing where it finds nothing."""

    name: str
    kind: RunKind
    words: tuple[str, ...]
    failed: re.Pattern[str]
    passed: re.Pattern[str] | None
    failures: re.Pattern[str] | None
    passes: re.Pattern[str] | None
    total: re.Pattern[str] | None
    ends: re.Pattern[str] | None
    alone: re.Pattern[str] | None
    alone_words: tuple[str, ...]
    each: bool
    wraps: bool
    silent: bool


@dataclass(frozen=True, slots=True)
class Recognisers:
    """Tools are named by their place in the file. `programs`: the tools each program may start, in order, with how
    the words after it must begin."""

    tools: tuple[Tool, ...]
    places: Mapping[str, int]
    programs: Mapping[str, tuple[tuple[re.Pattern[str] | None, int], ...]]
    script: re.Pattern[str]
    launchers: frozenset[str]
    openers: frozenset[str]
    shells: frozenset[str]
    no_run: frozenset[str]
    idle: frozenset[str]
    tellers: frozenset[str]
    inline: frozenset[str]
    inline_options: frozenset[str]
    exit_codes: re.Pattern[str]
    asked_code: re.Pattern[str]
    no_evidence: re.Pattern[str]
    nothing: re.Pattern[str]


@cache
def recognisers() -> Recognisers:
    data = shipped_yaml(RUNS)
    tools = tuple(_tool(entry) for entry in data["tools"])
    return Recognisers(
        tools=tools,
        places={tool.name: at for at, tool in enumerate(tools)},
        programs=_programs(data["tools"]),
        script=re.compile(data["script"]),
        launchers=frozenset(data["launchers"]),
        openers=frozenset(data["openers"]),
        shells=frozenset(data["shells"]),
        no_run=frozenset(data["no_run"]),
        idle=frozenset(data["idle"]),
        tellers=frozenset(data["tellers"]),
        inline=frozenset(data["inline"]),
        inline_options=frozenset(data["inline_options"]),
        exit_codes=re.compile("|".join(data["exit_codes"]), re.MULTILINE),
        asked_code=re.compile(data["asked_code"]),
        no_evidence=re.compile(data["no_evidence"], re.MULTILINE),
        nothing=re.compile(data["nothing"], re.MULTILINE),
    )


def _programs(entries: list[dict[str, Any]]) -> dict[str, tuple[tuple[re.Pattern[str] | None, int], ...]]:
    programs: dict[str, tuple[tuple[re.Pattern[str] | None, int], ...]] = {}
    for at, entry in enumerate(entries):
        for program, then in entry["starts"].items():
            start = (re.compile(then) if then else None, at)
            programs[program] = (*programs.get(program, ()), start)
    return programs


def _tool(entry: Mapping[str, Any]) -> Tool:
    return Tool(
        entry["name"],
        entry["kind"],
        tuple(entry["words"]),
        re.compile(entry["failed"], re.MULTILINE),
        _optional(entry, "passed"),
        _optional(entry, "failures"),
        _optional(entry, "passes"),
        _optional(entry, "total"),
        _optional(entry, "ends"),
        _optional(entry, "alone"),
        tuple(entry.get("alone_words", ())),
        entry.get("each", False),
        entry.get("wraps", False),
        entry.get("silent", False),
    )


def _optional(entry: Mapping[str, Any], name: str) -> re.Pattern[str] | None:
    return re.compile(entry[name], re.MULTILINE) if name in entry else None
