"""Anthropic's Messages API, from both sides."""

from collections.abc import Mapping
from functools import partial

from engine.protocols.anthropic_messages.errors import write_fault
from engine.protocols.anthropic_messages.reading import NAMES, read_request
from engine.protocols.anthropic_messages.repairing import repairs
from engine.protocols.anthropic_messages.reply import read_reply, write_reply
from engine.protocols.anthropic_messages.streaming import EventReader, EventWriter, tap
from engine.protocols.anthropic_messages.writing import write_request
from engine.protocols.faults import read_fault
from engine.protocols.shape import Protocol

VERSION = "2023-06-01"


def headers(key: str) -> Mapping[str, str]:
    return {"anthropic-version": VERSION, **({"x-api-key": key} if key else {})}


ANTHROPIC_MESSAGES = Protocol(
    name=NAMES.name,
    path=NAMES.path,
    count_path=NAMES.count_path,
    keep_alive=NAMES.keep_alive,
    last_words=NAMES.last_words,
    read_request=read_request,
    write_request=write_request,
    read_reply=read_reply,
    write_reply=write_reply,
    event_reader=EventReader,
    event_writer=EventWriter,
    tap=tap,
    repairs=repairs,
    read_fault=partial(read_fault, NAMES),
    write_fault=write_fault,
    headers=headers,
    limits=NAMES.limits,
    forwards=("anthropic-version", "anthropic-beta"),
)
