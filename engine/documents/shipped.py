"""Files that come with the package: schemas and policies.

A wheel carries them under `engine/_shipped/`; in a checkout they lie at the root of the repository.
Everything is read once and shared: nobody changes what these functions return.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

from engine.documents.reading import load_trusted

_PACKAGE = Path(__file__).resolve().parent.parent


@cache
def shipped_text(path: str) -> str:
    """The text of a shipped file, named as in `schemas/input.v1.schema.json`. Raises FileNotFoundError."""
    return _locate(path).read_text(encoding="utf-8")


@cache
def shipped_names(folder: str) -> tuple[str, ...]:
    """The files of a shipped folder, sorted, named so that `shipped_text` reads them."""
    return tuple(sorted(f"{folder}/{file.name}" for file in _locate(folder).iterdir() if file.is_file()))


@cache
def shipped_json(path: str) -> Any:
    return json.loads(shipped_text(path))


@cache
def shipped_yaml(path: str) -> Any:
    """Shipped YAML is ours and trusted; what operators write goes through `read` instead."""
    return load_trusted(shipped_text(path))


def _locate(path: str) -> Path:
    in_wheel = _PACKAGE / "_shipped" / path
    return in_wheel if in_wheel.exists() else _PACKAGE.parent / path
