"""Server-sent events: bytes in any chunking become frames, and frames become bytes.

A frame is an event's name and its data; comments, ids and frames without data vanish (WHATWG HTML, section
9.2). Lines end in LF, CRLF or CR; a CR counts at once and swallows the LF that may follow it in the next
chunk. Nothing is decoded before a line is whole, so a character split between chunks is safe. A frame the
stream ends in without its blank line is given all the same: some providers close right behind `[DONE]`.

The work is linear in the bytes whatever their chunking: pieces of a line are kept in a list until it ends.
"""

from engine.core.errors import MALFORMED, Fault, UpstreamError

Frame = tuple[bytes, bytes]  # the event's name, empty where it has none, and its data

LONGEST_FRAME = 10_000_000  # bytes; a provider that sends more without a blank line is broken

_BOM = b"\xef\xbb\xbf"
_LF, _CR = 10, 13


class Frames:
    """Feed bytes, get frames. Raises UpstreamError where a frame is longer than LONGEST_FRAME."""

    __slots__ = ("_after_cr", "_began", "_data", "_longest", "_name", "_pieces", "_size")

    def __init__(self, longest: int = LONGEST_FRAME) -> None:
        self._name = b""
        self._data: list[bytes] = []  # lines of the frame that has not ended
        self._pieces: list[bytes] = []  # of the line that has not ended
        self._size = 0  # bytes of the pieces, and of data that is not one plain line
        self._began = False
        self._after_cr = False
        self._longest = longest

    def feed(self, chunk: bytes) -> list[Frame]:
        if not self._began:
            chunk = self._without_bom(chunk)
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        if not chunk:
            return []
        lines = chunk.splitlines()  # which bytes do at LF, CRLF and CR, and nowhere else
        last = chunk[-1]
        rest = b""
        if last == _CR:
            self._after_cr = True
        elif last != _LF:
            rest = lines.pop()
        if self._pieces and lines:
            pieces = b"".join(self._pieces)
            lines[0] = pieces + lines[0]
            self._pieces = []
            self._size -= len(pieces)
        frames = self._read(lines) if lines else []
        if rest:
            self._pieces.append(rest)
            self._grow(len(rest))
        return frames

    def close(self) -> list[Frame]:
        rest = b"".join(self._pieces)
        self._pieces = []
        return self._read([rest, b""])

    def _read(self, lines: list[bytes]) -> list[Frame]:
        frames: list[Frame] = []
        data = self._data
        for line in lines:
            if not line:
                if data:
                    self._end(frames)
                self._name = b""
            elif not data and line.startswith(b"data: "):
                data.append(line[6:])
            elif line.startswith(b"event: "):
                self._name = line[7:]
            else:
                self._read_rare(line)
        return frames

    def _end(self, frames: list[Frame]) -> None:
        data = self._data
        joined = data[0] if len(data) == 1 else b"\n".join(data)
        if len(joined) > self._longest:
            raise _too_long(self._longest)
        if joined:
            frames.append((self._name, joined))
        data.clear()
        self._size = 0

    def _read_rare(self, line: bytes) -> None:
        """What is rarely seen: fields without a space, and data of several lines. Everything else says nothing."""
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
            self._grow(len(value) + 1)
        elif name == b"event":
            self._name = value.removeprefix(b" ")

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > self._longest:
            self._pieces, self._size = [], 0
            self._data.clear()
            raise _too_long(self._longest)

    def _without_bom(self, chunk: bytes) -> bytes:
        head = b"".join([*self._pieces, chunk])
        if len(head) < len(_BOM) and _BOM.startswith(head):
            self._pieces = [head] if head else []
            return b""
        self._pieces, self._size, self._began = [], 0, True
        return head.removeprefix(_BOM)


def frame(data: bytes, name: bytes = b"") -> bytes:
    """A frame as bytes. `data` is one line, as JSON is."""
    return b"event: %b\ndata: %b\n\n" % (name, data) if name else b"data: %b\n\n" % data


def _too_long(longest: int) -> UpstreamError:
    message = f"the provider sent an event of more than {longest:,} bytes"
    return UpstreamError(Fault("server_error", message, 502, "provider", MALFORMED))
