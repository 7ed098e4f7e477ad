"""Server-sent events: bytes in any chunking become frames, and frames become bytes.

A frame is an event's name and its data; comments, ids and frames without data vanish (WHATWG HTML, section
9.2). Lines end in LF, CRLF or CR; a CR counts at once and swallows the LF that may follow it in the next
chunk. Nothing is decoded before a frame is whole, so a character split between chunks is safe. A frame the
stream ends in without its blank line is given all the same: some providers close right behind `[DONE]`.

The work is linear in the bytes whatever their chunking: pieces are kept in a list until a blank line is seen.
"""

from engine.core.errors import Fault, UpstreamError

Frame = tuple[bytes, bytes]  # the event's name, empty where it has none, and its data

LONGEST_FRAME = 10_000_000  # bytes; a provider that sends more without a blank line is broken

_BOM = b"\xef\xbb\xbf"


class Frames:
    """Feed bytes, get frames. Raises UpstreamError where a frame is longer than LONGEST_FRAME."""

    __slots__ = ("_after_cr", "_began", "_longest", "_pieces", "_size")

    def __init__(self, longest: int = LONGEST_FRAME) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._began = False
        self._after_cr = False
        self._longest = longest

    def feed(self, chunk: bytes) -> list[Frame]:
        if not self._began:
            chunk = self._without_bom(chunk)
        if self._after_cr or b"\r" in chunk:
            chunk = self._with_plain_lines(chunk)
        if not chunk:
            return []
        if b"\n\n" not in chunk and not (chunk[0] == 10 and self._pieces and self._pieces[-1][-1] == 10):
            self._keep(chunk)
            return []
        if self._pieces:
            self._pieces.append(chunk)
            chunk = b"".join(self._pieces)
        *blocks, rest = chunk.split(b"\n\n")
        self._pieces, self._size = [], 0
        if rest:
            self._keep(rest)
        frames = []
        for block in blocks:
            if len(block) > self._longest:
                raise _too_long(self._longest)
            frame = parse(block)
            if frame is not None:
                frames.append(frame)
        return frames

    def close(self) -> list[Frame]:
        rest = b"".join(self._pieces)
        self._pieces, self._size = [], 0
        frame = parse(rest)
        return [] if frame is None else [frame]

    def _keep(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > self._longest:
            self._pieces, self._size = [], 0
            raise _too_long(self._longest)

    def _without_bom(self, chunk: bytes) -> bytes:
        head = b"".join([*self._pieces, chunk])
        if len(head) < len(_BOM) and _BOM.startswith(head):
            self._pieces = [head] if head else []
            return b""
        self._pieces, self._size, self._began = [], 0, True
        return head.removeprefix(_BOM)

    def _with_plain_lines(self, chunk: bytes) -> bytes:
        if not chunk:
            return chunk
        if self._after_cr and chunk[0] == 10:
            chunk = chunk[1:]
        self._after_cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def parse(block: bytes) -> Frame | None:
    """One frame from the lines between two blank lines; None where they hold no data."""
    if block.startswith(b"data: ") and b"\n" not in block:
        return b"", block[6:]
    name = b""
    data: list[bytes] = []
    for line in block.split(b"\n"):
        if line.startswith(b"data:"):
            data.append(line[6:] if line.startswith(b"data: ") else line[5:])
        elif line.startswith(b"event:"):
            name = line[7:] if line.startswith(b"event: ") else line[6:]
        elif line == b"data":
            data.append(b"")
    joined = data[0] if len(data) == 1 else b"\n".join(data)
    return (name, joined) if joined else None


def frame(data: bytes, name: bytes = b"") -> bytes:
    """A frame as bytes. `data` is one line, as JSON is."""
    return b"event: %b\ndata: %b\n\n" % (name, data) if name else b"data: %b\n\n" % data


def _too_long(longest: int) -> UpstreamError:
    message = f"the provider sent an event of more than {longest:,} bytes"
    return UpstreamError(Fault("server_error", message, status=502, origin="provider"))
