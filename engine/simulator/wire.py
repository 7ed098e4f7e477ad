"""What a vendor's wire format is to the simulator: one record of functions, filled once per format."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from engine.simulator.models import Provider, SimulatedModel
from engine.simulator.prompt import Answer, Prompt


class Refused(Exception):  # noqa: N818  # the vendor says no, which is an answer and not an error of ours
    """The vendor rejects a request. `kind` is the vendor's word for what it is, `param` and `code` are
    OpenAI's."""

    def __init__(
        self, status: int, kind: str, message: str, param: str | None = None, code: str | int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.param = param
        self.code = code
        self.retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came, its JSON parsed. Header names are lower case."""

    provider: Provider
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    models: tuple[SimulatedModel, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """One event of a stream. `tokens` is what of the answer it carries; 0 for ceremony."""

    data: bytes
    tokens: int = 0


Operation = Literal["answer", "count", "models", "model"]


@dataclass(frozen=True, slots=True)
class Wire:
    """How one vendor's format is spoken. `path` is what comes after the provider's base.

    route       method and path -> what is asked for; None where the vendor has nothing
    allow       refuses a request without credentials
    broken      the refusal of a body that is no JSON object
    read        validates as the vendor does and says what is asked
    counted     the reply to a request to count a prompt's tokens
    whole       a whole reply
    frames      the same as a stream
    listed      models as the vendor lists them
    trouble     a status and a message -> the refusal a vendor would send; an empty message takes the vendor's
    own
    refusal     a refusal's body; the text is the request's id
    error_frame the same as an event of a stream, after so many others
    garbage     an event that is no JSON
    headers     headers of every reply; the text is the request's id
    told        what the path says of a request, under names that no body has
    """

    route: Callable[[str, str], Operation | None]
    allow: Callable[[Provider, Mapping[str, str]], None]
    broken: Callable[[str], Refused]
    read: Callable[[Asked, Operation], Prompt]
    counted: Callable[[Prompt], dict[str, Any]]
    whole: Callable[[Answer, Prompt, Provider], dict[str, Any]]
    frames: Callable[[Answer, Prompt, Provider], Iterator[Frame]]
    listed: Callable[[tuple[SimulatedModel, ...], str | None], dict[str, Any]]
    trouble: Callable[[int, str], Refused]
    refusal: Callable[[Refused, Provider, str], dict[str, Any]]
    error_frame: Callable[[Refused, Provider, int], bytes]
    garbage: bytes
    headers: Callable[[Provider, str], dict[str, str]]
    told: Callable[[str], dict[str, Any]] = lambda _path: {}


def pieces(text: str, size: int = 18) -> Iterator[str]:
    """A text as a model streams it: a few words at a time, the first piece short."""
    start = 0
    while start < len(text):
        end = start + (size if start else 4)
        if end < len(text) and (space := text.find(" ", end, end + 12)) > 0:
            end = space
        yield text[start:end]
        start = end
