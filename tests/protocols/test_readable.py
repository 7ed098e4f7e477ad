"""Files in base64 that are text."""

from base64 import b64encode
from typing import Any

import orjson
import pytest

from engine.core.catalog import Model
from engine.core.conversation import Document
from engine.protocols import PROTOCOLS
from engine.protocols.readable import is_text, readable

NOTES = "first line\nzweite Zeile: Grüße"


def encoded(text: str) -> str:
    return b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("media", "text"),
    [
        ("text/plain", True),
        ("text/csv; charset=utf-8", True),
        ("application/json", True),
        ("application/vnd.api+json", True),
        ("IMAGE/SVG+XML", True),
        ("application/pdf", False),
        ("image/png", False),
        ("", False),
    ],
)
def test_text_is_known_by_its_media_type(media: str, text: bool) -> None:
    assert is_text(media) is text


def test_what_is_no_text_after_all_stays_as_it_came() -> None:
    for data in ("AP8=", "no base64!", "gIGC"):
        document = Document("text/plain", data)
        assert readable(document) is document
    assert readable(Document("text/plain", encoded(NOTES))).text == NOTES
    pdf = Document("application/pdf", encoded(NOTES))
    assert readable(pdf) is pdf


SENT: dict[str, dict[str, Any]] = {
    "anthropic-messages": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {
                        "type": "document",
                        "source": {
                            "type": "base64",
                            "media_type": "application/json",
                            "data": encoded(NOTES),
                        },
                    }
                ],
            }
        ]
    },
    "openai-chat": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {
                        "type": "file",
                        "file": {
                            "filename": "a.json",
                            "file_data": f"data:application/json;base64,{encoded(NOTES)}",
                        },
                    }
                ],
            }
        ]
    },
    "openai-responses": {
        "input": [
            {
                "role": "user",
                "content": [
                    {
                        "type": "input_file",
                        "filename": "a.json",
                        "file_data": f"data:application/json;base64,{encoded(NOTES)}",
                    }
                ],
            }
        ]
    },
}


@pytest.mark.parametrize("target", list(PROTOCOLS))
@pytest.mark.parametrize("source", list(SENT))
def test_a_text_in_base64_reaches_every_vendor_as_text(source: str, target: str, model: Model) -> None:
    if source == target:
        return
    body = {"model": "m", "max_tokens": 99, **SENT[source]}
    request = PROTOCOLS[source].read_request(body, orjson.dumps(body))
    encoded_request = PROTOCOLS[target].write_request(request, model, "some-model")
    written = orjson.dumps(encoded_request.body).decode()
    if target == "gemini":
        assert f'"mimeType":"text/plain","data":"{encoded(NOTES)}"' in written
    else:
        assert orjson.dumps(NOTES).decode()[1:-1] in written
    assert not [loss for loss in encoded_request.dropped if loss.stake == "content"]
