"""Google's Gemini API (generateContent), from both sides."""

from collections.abc import Mapping

from engine.protocols.gemini.errors import read_fault, write_fault
from engine.protocols.gemini.reading import NAMES, read_request
from engine.protocols.gemini.repairing import repairs
from engine.protocols.gemini.reply import read_reply, write_reply
from engine.protocols.gemini.streaming import EventReader, EventWriter, tap
from engine.protocols.gemini.writing import write_request
from engine.protocols.shape import Protocol


def headers(key: str) -> Mapping[str, str]:
    return {"x-goog-api-key": key} if key else {}


GEMINI = Protocol(
    name=NAMES.name,
    path=NAMES.path,
    stream_path=NAMES.stream_path,
    count_path=NAMES.count_path,
    count_field=NAMES.count_field,
    keep_alive=NAMES.keep_alive,
    read_request=read_request,
    write_request=write_request,
    read_reply=read_reply,
    write_reply=write_reply,
    event_reader=EventReader,
    event_writer=EventWriter,
    tap=tap,
    repairs=repairs,
    read_fault=read_fault,
    write_fault=write_fault,
    headers=headers,
    limits=NAMES.limits,
)
