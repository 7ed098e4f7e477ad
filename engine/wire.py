"""JSON on the wire: the one door to orjson.

What a caller may rely on:

* `loads` takes UTF-8 bytes or text and raises `ValueError` for anything that is not one JSON value: broken
  or empty text, invalid UTF-8, a lone surrogate escape, `NaN` and `Infinity`, and nesting deeper than 1,024
  levels. Of a key given twice the last value counts. Integers outside 64 bits become floats, so a number that
  must come back exactly has to be forwarded as bytes.
* `dumps` writes compact UTF-8 and raises `ValueError` for what JSON cannot hold: other types, keys that are
  no text, lone surrogates, integers outside 64 bits, nesting deeper than 254. `NaN` and the infinities become
  `null`.
"""

from typing import Any

import orjson


def loads(text: bytes | str) -> Any:
    return orjson.loads(text)


def dumps(value: object) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError as error:
        raise ValueError(str(error)) from error
