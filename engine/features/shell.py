"""Shell commands, read as a shell reads them as far as it matters: which programs run, and whose exit code is told.

Quoted text and the bodies of here-documents are no commands, however much they look like some: a commit message may
say that the tests pass. Arguments are a model's JSON, so commands come here still escaped, and are bounded.
"""

import json
import re
from dataclasses import dataclass
from functools import lru_cache

LONGEST = 2_048  # characters of a command that are read
PARTS = 24
REMEMBERED = 64  # commands; several questions are asked of each

TOKEN = re.compile(
    r"""(?P<space>[ \t\r]+|\\\n|(?<![^\s;])\#[^\n]*)
    |(?P<operator>&&|\|\||;;|\|&|[;|&\n])
    |(?P<redirect>&>>?|\d?>>?&?\d?|\d?<{1,3}-?)
    |(?P<word>(?:[^\s"'\\;|&<>()]++|\\.|"(?:\\.|[^"\\]++)*+"|'[^']*+')++)
    |(?P<rest>.)""",
    re.VERBOSE | re.DOTALL,
)
SPECIAL = re.compile(r"""["'\\<>()#]""")
OPERATOR = re.compile(r"(&&|\|\||;;|\|&|[;|&\n])")
HEREDOC = re.compile(r"<<-?\s*(\\?[\"']?)(\w{1,40})[\"']?")
QUOTES = re.compile(r"""\\(.)|["']""", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Simple:
    """A simple command: its words without quotes, and the operator after it."""

    words: tuple[str, ...]
    ends: str


def unescaped(command: str) -> str:
    """The text that JSON-escaped text stands for; itself where the escapes are broken."""
    if "\\" not in command:
        return command
    try:
        text = json.loads(f'"{command}"', strict=False)
    except ValueError:
        return command.replace("\\n", "\n").replace('\\"', '"')
    return text if isinstance(text, str) else command


@lru_cache(maxsize=REMEMBERED)
def simple_commands(command: str) -> tuple[Simple, ...]:
    """The simple commands of a shell line, in order."""
    plain = command[:LONGEST].replace(" 2>&1", "")
    if SPECIAL.search(plain) is None:
        pieces = [*OPERATOR.split(plain, maxsplit=PARTS), ""]
        split = ((tuple(pieces[at].split()), pieces[at + 1]) for at in range(0, len(pieces), 2))
        return tuple(Simple(words, ends) for words, ends in split if words)
    return _read(command)


def _read(command: str) -> tuple[Simple, ...]:
    found: list[Simple] = []
    words: list[str] = []
    skip = False
    for token in TOKEN.finditer(without_heredocs(command)[:LONGEST]):
        match token.lastgroup:
            case "word":
                if skip:
                    skip = False
                else:
                    words.append(_unquoted(token[0]))
            case "operator":
                if words:
                    found.append(Simple(tuple(words), token[0]))
                    words = []
                    if len(found) >= PARTS:
                        break
                skip = False
            case "redirect":
                # `2>&1` has no word of its own after it; `> file` has.
                skip = not token[0][-1].isdecimal() or token[0].isdecimal()
            case _:
                pass
    if words:
        found.append(Simple(tuple(words), ""))
    return tuple(found)


def without_heredocs(command: str) -> str:
    """The command without the bodies of its here-documents."""
    kept: list[str] = []
    while (found := HEREDOC.search(command)) is not None and len(kept) < PARTS:
        line_end = command.find("\n", found.end())
        if line_end < 0:
            break
        kept.append(command[: found.start()] + command[found.end() : line_end + 1])
        closing = re.compile(rf"^[ \t]*{found[2]}[ \t]*$", re.MULTILINE).search(command, line_end)
        command = command[closing.end() :] if closing is not None else ""
    return "".join(kept) + command


def _unquoted(word: str) -> str:
    if '"' in word or "'" in word or "\\" in word:
        return QUOTES.sub(lambda found: found[1] or "", word)
    return word
