"""The values literals stand for, decoded as the specification says; cel-python gets some of them wrong."""

import re

from engine.policy.expression.runtime import INT_MAX, INT_MIN, UINT_MAX

_SIMPLE = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", "?": "?", '"': '"', "'": "'", "`": "`",
}  # fmt: skip
_ESCAPE = re.compile(
    r"\\(?:(?P<hex>[xX][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})|(?P<octal>[0-3][0-7]{2})|(?P<one>[\s\S]?))"
)


class LiteralError(Exception):
    """A literal without a value, and where it stands."""

    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(message)
        self.line, self.column, self.message = line, column, message


class BadLiteralError(ValueError):
    """A literal without a value; its place is not known here."""


def integer(text: str) -> int:
    value = _number(text)
    if INT_MIN <= value <= INT_MAX:
        return value
    raise BadLiteralError(f"{text} is out of the range of int")


def unsigned(text: str) -> int:
    value = _number(text[:-1])
    if 0 <= value <= UINT_MAX:
        return value
    raise BadLiteralError(f"{text} is out of the range of uint")


def _number(text: str) -> int:
    if len(text) > 40:
        raise BadLiteralError("the number is too long")
    return int(text, 16 if "x" in text else 10)


def string(text: str) -> str:
    """A quoted string, raw (`r'…'`) or cooked, short or in triple quotes."""
    raw, body = _unquote(text)
    return body if raw else _ESCAPE.sub(_character, body)


def byte_string(text: str) -> bytes:
    """In bytes, \\x and octal escapes are bytes, the others are characters in UTF-8."""
    raw, body = _unquote(re.sub(r"^([rR]?)[bB]([rR]?)", r"\1\2", text))
    if raw:
        return body.encode()
    out = bytearray()
    position = 0
    for found in _ESCAPE.finditer(body):
        out += body[position : found.start()].encode()
        octet = found["octal"] or (found["hex"] if found["hex"] and found["hex"][0] in "xX" else None)
        if octet is not None:
            out.append(int(octet.lstrip("xX"), 8 if found["octal"] else 16))
        else:
            out += _character(found).encode("utf-8", "surrogatepass")
        position = found.end()
    return bytes(out + body[position:].encode())


def _unquote(text: str) -> tuple[bool, str]:
    raw = text[0] in "rR"
    body = text[1:] if raw else text
    width = 3 if body[:3] in ('"""', "'''") and len(body) >= 6 else 1
    return raw, body[width:-width]


def _character(found: re.Match[str]) -> str:
    if found["one"] is not None:
        if found["one"] in _SIMPLE:
            return _SIMPLE[found["one"]]
        raise BadLiteralError(f"\\{found['one']} is no escape; a backslash itself is written \\\\")
    code = int(found["octal"], 8) if found["octal"] else int(found["hex"][1:], 16)
    if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        raise BadLiteralError(f"{found.group()} is no character")
    return chr(code)


def quoted(value: str) -> str:
    """A string as a literal that any CEL parser, cel-python's too, reads back as it is."""
    return '"' + "".join(map(_quoted_character, value)) + '"'


def _quoted_character(character: str) -> str:
    if character in '"\\' or not (character.isascii() and character.isprintable()):
        return f"\\U{ord(character):08x}"
    return character


def quoted_bytes(value: bytes) -> str:
    return 'b"' + "".join(f"\\x{octet:02x}" for octet in value) + '"'
