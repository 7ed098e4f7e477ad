"""Frames from bytes in any chunking."""

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.errors import UpstreamError
from engine.protocols.sse import Frame, Frames, frame


def frames(chunks: list[bytes], longest: int = 10_000) -> list[Frame]:
    reader = Frames(longest)
    found = [one for chunk in chunks for one in reader.feed(chunk)]
    return found + reader.close()


def in_bites(stream: bytes, seed: int) -> list[bytes]:
    dice = random.Random(seed)
    cuts = sorted(dice.choices(range(len(stream) + 1), k=8))
    return [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


def every_chunking(stream: bytes) -> list[list[bytes]]:
    singles = [stream[at : at + 1] for at in range(len(stream))]
    return [[stream], singles, *(in_bites(stream, seed) for seed in range(5))]


CASES: list[tuple[str, bytes, list[Frame]]] = [
    ("LF", b"data: a\n\ndata: b\n\n", [(b"", b"a"), (b"", b"b")]),
    ("CRLF", b"event: e\r\ndata: a\r\n\r\ndata: b\r\n\r\n", [(b"e", b"a"), (b"", b"b")]),  # G4
    ("CR", b"data: a\r\rdata: b\r\r", [(b"", b"a"), (b"", b"b")]),  # G4
    ("mixed line ends", b"data: a\r\n\ndata: b\n\r\ndata: c\r\n\r", [(b"", b"a"), (b"", b"b"), (b"", b"c")]),
    ("no space after the colon", b"event:e\ndata:a\n\n", [(b"e", b"a")]),  # G3
    ("only one space is taken", b"data:  a \n\n", [(b"", b" a ")]),
    ("comments", b": OPENROUTER PROCESSING\n\n:\ndata: a\n\n", [(b"", b"a")]),  # G5
    ("several lines of data", b"data: a\ndata: b\n\n", [(b"", b"a\nb")]),
    ("an event without data", b"event: ping\n\ndata: a\n\n", [(b"", b"a")]),
    ("ids and unknown fields", b"id: 7\nretry: 3\nfoo\ndata: a\n\n", [(b"", b"a")]),
    ("a byte order mark", b"\xef\xbb\xbfdata: a\n\n", [(b"", b"a")]),
    ("many blank lines", b"\n\n\ndata: a\n\n\n\n\ndata: b\n\n", [(b"", b"a"), (b"", b"b")]),
    ("characters of many bytes", "data: grüße 🎉\n\n".encode(), [(b"", "grüße 🎉".encode())]),
    ("no blank line at the end", b"data: a\n\ndata: [DONE]", [(b"", b"a"), (b"", b"[DONE]")]),
    ("nothing", b"", []),
]


@pytest.mark.parametrize(
    ("stream", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_frames_do_not_depend_on_the_chunking(stream: bytes, expected: list[Frame]) -> None:  # G1
    for chunks in every_chunking(stream):
        assert frames(chunks) == expected


@given(
    st.lists(st.sampled_from([b"data: x", b"data:", b"event: e", b":", b"\n", b"\r", b"\r\n", b"\n\n"])),
    st.data(),
)
def test_any_soup_reads_the_same_in_any_chunking(soup: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(soup)
    cut = data.draw(st.integers(0, len(stream)))
    assert frames([stream[:cut], stream[cut:]]) == frames([stream])
    assert frames([stream[at : at + 1] for at in range(len(stream))]) == frames([stream])


@pytest.mark.parametrize("size", [1, 100, 50_000])
def test_an_event_without_end_is_an_error(size: int) -> None:
    with pytest.raises(UpstreamError, match="more than 10,000 bytes"):
        frames([b"x" * size] * 20_000)


def test_an_event_of_endless_lines_is_an_error() -> None:
    stream = b"data: some words\n" * 2_000
    for size in (1, 17, 20, len(stream)):
        with pytest.raises(UpstreamError):
            frames([stream[at : at + size] for at in range(0, len(stream), size)])


def test_one_event_that_is_too_long_is_an_error() -> None:
    with pytest.raises(UpstreamError):
        Frames(longest=100).feed(b"data: " + b"x" * 200 + b"\n\n")


def test_many_events_that_are_not_too_long_are_none() -> None:
    stream = (b": keep-alive\n\ndata: " + b"x" * 90 + b"\n\n") * 500
    for size in (1, 7, 333, len(stream)):
        assert len(frames([stream[at : at + size] for at in range(0, len(stream), size)], 100)) == 500


def test_a_frame_written_is_a_frame_read() -> None:
    assert frames([frame(b'{"a":1}', b"e"), frame(b"[DONE]")]) == [(b"e", b'{"a":1}'), (b"", b"[DONE]")]


def test_a_megabyte_byte_by_byte_takes_linear_time() -> None:
    stream = b"data: " + b"x" * 1_000_000 + b"\n\n"
    began = time.perf_counter()
    assert len(frames([stream[at : at + 1] for at in range(len(stream))], 10_000_000)) == 1
    assert time.perf_counter() - began < 5
