"""OpenAI's Chat Completions API, from both sides."""

from collections.abc import Mapping
from functools import partial

from engine.protocols.faults import read_fault
from engine.protocols.openai_chat.errors import write_fault
from engine.protocols.openai_chat.reading import NAMES, read_request
from engine.protocols.openai_chat.repairing import repairs
from engine.protocols.openai_chat.reply import read_reply, write_reply
from engine.protocols.openai_chat.streaming import EventReader, EventWriter, tap
from engine.protocols.openai_chat.writing import write_request
from engine.protocols.shape import Protocol


def headers(key: str) -> Mapping[str, str]:
    return {"authorization": f"Bearer {key}"} if key else {}


OPENAI_CHAT = Protocol(
    name=NAMES.name,
    path=NAMES.path,
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
)
