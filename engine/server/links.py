"""Signed links: whoever has one may say what became of one decision or session, until it expires, and nothing else.

    <what it names and until when, as JSON in base64url> . <HMAC-SHA256 of that, in base64url>

A CI job needs no key then: `curl -X POST "$LINK?result=passed"`. The secret is in the environment of the engine and
of whoever makes links; nothing is kept of a link, so to take links back is to change the secret.
"""

import binascii
import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from time import gmtime, strftime

from engine import wire
from engine.core.errors import Fault, WeaveError

SECRET = "WEAVE_LINK_SECRET"  # noqa: S105 - the name of the variable
SHORTEST_SECRET = 16
LONGEST_TOKEN = 2_000


class LinkError(WeaveError):
    """A link that cannot be made or is not taken; the message says why and what to do."""

    def __init__(self, message: str, status: int = 403) -> None:
        super().__init__(Fault("permission", message, status, "client"))


@dataclass(frozen=True, slots=True)
class Link:
    """One of `decision` and `session` is set. `expires` is in seconds since the epoch."""

    decision: str
    session: str
    expires: float

    @property
    def about(self) -> str:
        return f"decision {self.decision}" if self.decision else f"session {self.session}"


def secret_of(environment: Mapping[str, str]) -> bytes:
    secret = environment.get(SECRET, "")
    if not secret:
        raise LinkError(
            f"links need a secret: set {SECRET} to the same text for the engine and for who makes them"
        )
    if len(secret) < SHORTEST_SECRET:
        raise LinkError(
            f"{SECRET} is too short to keep links safe; it takes {SHORTEST_SECRET} characters or more"
        )
    return secret.encode()


def sign(link: Link, secret: bytes) -> str:
    told = {"decision": link.decision, "session": link.session, "expires": int(link.expires)}
    text = urlsafe_b64encode(wire.dumps({name: value for name, value in told.items() if value}))
    return f"{text.decode().rstrip('=')}.{_signature(text.rstrip(b'='), secret)}"


def read_link(token: str, secret: bytes, now: float) -> Link:
    """Raises LinkError: 403 for what was not signed with this secret, 410 for what has expired."""
    text, _, signature = token.partition(".")
    expected = _signature(text.encode("utf-8", "replace"), secret)
    if len(token) > LONGEST_TOKEN or not hmac.compare_digest(
        expected.encode(), signature.encode("utf-8", "replace")
    ):
        raise LinkError("this link was not made here, or was cut short on its way")
    try:
        told = wire.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        link = Link(told.get("decision", ""), told.get("session", ""), float(told["expires"]))
    except (ValueError, KeyError, AttributeError, binascii.Error) as error:
        raise LinkError("this link was made by another version of the engine") from error
    if now >= link.expires:
        when = strftime("%Y-%m-%d %H:%M UTC", gmtime(link.expires))
        raise LinkError(f"this link expired on {when}; make another with 'weave-engine outcome link'", 410)
    return link


def page(link: Link) -> str:
    """What a person sees who opens a link. Opening it records nothing: chat programs open every link they see."""
    until = strftime("%Y-%m-%d %H:%M UTC", gmtime(link.expires))
    return f"""<!doctype html>
<meta charset="utf-8"><title>weave-engine: what became of the work?</title>
<h1>What became of the work?</h1>
<p>This link takes the outcome of {escape(link.about)}, until {until}.</p>
<form method="post" action="?result=passed"><button>It passed</button></form>
<form method="post" action="?result=failed"><button>It failed</button></form>
<p>From a CI job: <code>curl -X POST "&lt;this address&gt;?result=passed"</code>, <code>?result=failed</code>, or
with a JSON body such as <code>{{"tests_failed": 2, "tests_passed": 40}}</code>.</p>
"""


def _signature(text: bytes, secret: bytes) -> str:
    digest = hmac.new(secret, b"weave outcome link\0" + text, hashlib.sha256).digest()
    return urlsafe_b64encode(digest).decode().rstrip("=")
