"""Gemini's parts, one by one."""

import pytest

from engine.core.conversation import Document, Image, Loss, Opaque, Sealed, Text, Thinking, ToolCall
from engine.core.errors import RequestError
from engine.protocols.gemini.parts import named, read_part, standard_base64, write_part
from engine.protocols.turns import made_id

CASES = [
    ("text", {"text": "a"}, [Text("a")]),
    ("empty text", {"text": ""}, []),
    ("a thought", {"text": "hm", "thought": True}, [Thinking("hm")]),
    ("a signed thought", {"text": "hm", "thought": True, "thoughtSignature": "S="},
     [Thinking("hm", Sealed("gemini", {"thoughtSignature": "S="}))]),
    ("a signed text", {"text": "a", "thoughtSignature": "S="},  # W35: text parts too
     [Text("a"), Thinking("", Sealed("gemini", {"thoughtSignature": "S="}))]),
    ("a signature alone", {"thoughtSignature": "S="},
     [Thinking("", Sealed("gemini", {"thoughtSignature": "S="}))]),
    ("a call", {"functionCall": {"id": "c", "name": "f", "args": {"a": 1}}}, [ToolCall("c", "f", '{"a":1}')]),
    ("a call without arguments or id", {"functionCall": {"name": "f"}}, [ToolCall(made_id("seed"), "f", "{}")]),
    ("a signed call", {"functionCall": {"id": "c", "name": "f"}, "thoughtSignature": "S="},
     [Thinking("", Sealed("gemini", {"thoughtSignature": "S=", "call": "c"})), ToolCall("c", "f", "{}")]),
    ("a call marked as foreign",
     {"functionCall": {"id": "c", "name": "f"}, "thoughtSignature": "skip_thought_signature_validator"},
     [ToolCall("c", "f", "{}")]),
    ("the same mark as an SDK encodes it",
     {"functionCall": {"id": "c", "name": "f"},
      "thoughtSignature": "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="}, [ToolCall("c", "f", "{}")]),
    ("snake case", {"function_call": {"id": "c", "name": "f", "args": {"a_b": 1}}, "thought_signature": "S="},
     [Thinking("", Sealed("gemini", {"thoughtSignature": "S=", "call": "c"})), ToolCall("c", "f", '{"a_b":1}')]),
    ("a picture", {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}, [Image("image/png", "AAAA")]),
    ("a picture in the other base64", {"inline_data": {"mime_type": "image/png", "data": "_-8"}},
     [Image("image/png", "/+8=")]),
    ("a PDF", {"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}},
     [Document("application/pdf", "AAAA")]),
    ("a text file", {"inlineData": {"mimeType": "text/plain", "data": "aGk="}},
     [Document("text/plain", text="hi")]),
    ("sound", {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}},
     [Opaque("inlineData",
             Sealed("gemini", {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}}))]),
    ("a picture elsewhere", {"fileData": {"mimeType": "image/png", "fileUri": "https://e.org/a"}},
     [Image("image/png", url="https://e.org/a")]),
    ("a picture elsewhere, of a type its name tells", {"fileData": {"fileUri": "https://e.org/a.JPG?x=1"}},
     [Image("image/jpeg", url="https://e.org/a.JPG?x=1")]),
    ("a file only Google can fetch", {"fileData": {"mimeType": "application/pdf", "fileUri": "gs://b/a.pdf"}},
     [Document("application/pdf",
               sealed=Sealed("gemini",
                             {"fileData": {"mimeType": "application/pdf", "fileUri": "gs://b/a.pdf"}}))]),
    ("code that ran", {"executableCode": {"language": "PYTHON", "code": "1"}, "thoughtSignature": "S="},
     [Opaque("executableCode", Sealed("gemini", {"executableCode": {"language": "PYTHON", "code": "1"},
                                                 "thoughtSignature": "S="}))]),
]  # fmt: skip


@pytest.mark.parametrize(("part", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_part_is_read(part: object, expected: object) -> None:
    assert read_part(part, "p", "seed") == expected


@pytest.mark.parametrize(
    ("part", "path"),
    [
        (7, "p"), ({}, "p"), ({"text": 7}, "p.text"), ({"functionCall": 7}, "p.functionCall"),
        ({"functionCall": {}}, "p.functionCall.name"), ({"functionCall": {"name": ""}}, "p.functionCall.name"),
        ({"inlineData": {"mimeType": "image/png"}}, "p.inlineData.data"),
        ({"fileData": {}}, "p.fileData.fileUri"),
    ],
)  # fmt: skip
def test_a_malformed_part_is_told_its_place(part: object, path: str) -> None:  # W22
    with pytest.raises(RequestError, match=f"^{path}:"):
        read_part(part, "p", "")


@pytest.mark.parametrize(
    "part",
    [Text("a"), Image("image/png", "AAAA"), Document("application/pdf", "AAAA"),
     Document("text/plain", text="grün"), Image("image/png", url="https://e.org/a.png"),
     Opaque("videoMetadata", Sealed("gemini", {"videoMetadata": {"fps": 1}}))],
)  # fmt: skip
def test_a_part_written_is_the_part_read(part: Text) -> None:
    losses: list[Loss] = []
    written = write_part(part, "p", losses)
    assert losses == []
    assert read_part(written, "p", "") == [part]


def test_content_of_other_vendors_is_reported_and_media_leave_a_trace() -> None:
    losses: list[Loss] = []
    assert write_part(Opaque("server_tool_use", Sealed("anthropic-messages", {"a": 1})), "p", losses) is None
    held = Image(sealed=Sealed("openai-chat", {"file_id": "f"}))
    assert write_part(held, "q", losses) == {"text": "[a image that could not be carried]"}
    assert {loss.path for loss in losses} >= {"p", "q"}


def test_names_and_base64_come_in_two_spellings() -> None:
    assert named({"function_call": 1, "thought": 2}) == {"functionCall": 1, "thought": 2}
    plain = {"functionCall": 1}
    assert named(plain) is plain
    assert standard_base64("a-_") == "a+/="
