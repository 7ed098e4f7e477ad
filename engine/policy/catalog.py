"""Catalog documents -> one Catalog, or what is wrong with them.

All catalogs of a set are read together, as if they were one file: names are known across files, and the same
name twice is a mistake wherever the second one stands.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, get_args
from urllib.parse import urlsplit

from engine.core.catalog import TIERS, Binding, Catalog, Endpoint, Model, Price, Tier
from engine.core.errors import Problem
from engine.documents import Document, Path, did_you_mean, shipped_names, shipped_yaml

RESERVED = frozenset({*TIERS, "requested", "auto", "weave", "default"})

# The protocols write these themselves, from the environment; in a file they would be a secret in plain sight.
_CREDENTIAL_HEADERS = frozenset({"authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie"})
_CONNECTION_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection", "content-type"})


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(text: str) -> float:
    """A length of time as files write it: `500ms`, `90s`, `30m`, `24h`, `7d`."""
    number = text.rstrip("mshd")
    return float(number) * _UNITS[text[len(number) :]]


@dataclass(frozen=True, slots=True)
class Page:
    """A document of a known kind. `data` follows the kind's schema, but what is wrong or missing is not there."""

    document: Document
    data: Mapping[str, Any]

    def section(self, name: str) -> Mapping[str, Any]:
        return self.data.get(name) or {}

    def items(self, name: str) -> list[tuple[int, Mapping[str, Any]]]:
        """The well-formed items of a list, with their numbers."""
        found = enumerate(self.data.get(name) or ())
        return [(index, item) for index, item in found if isinstance(item, Mapping)]


def read_catalogs(pages: Sequence[Page]) -> Catalog:
    """Pages without errors only; the order is the order of the pages."""
    endpoints: dict[str, Endpoint] = {}
    models: dict[str, Model] = {}
    aliases: dict[str, str] = {}
    for page in pages:
        endpoints.update({name: _endpoint(name, value) for name, value in page.section("endpoints").items()})
        models.update({name: _model(name, value) for name, value in page.section("models").items()})
        aliases.update(page.section("aliases"))
    return Catalog(endpoints, models, aliases)


def check_catalogs(pages: Sequence[Page]) -> Iterator[Problem]:
    """What the catalogs say that cannot be, or should not."""
    for section in ("endpoints", "models", "aliases"):
        yield from _twice(pages, section)
    endpoints = names_in(pages, "endpoints")
    models = names_in(pages, "models")
    for page in pages:
        yield from _check_endpoints(page)
        yield from _check_models(page, endpoints)
        yield from _check_aliases(page, models)
    yield from _hidden_aliases(pages)
    yield from _check_clients_own(pages)


def names_in(pages: Iterable[Page], section: str) -> tuple[str, ...]:
    """What the pages name in a section, whether or not the rest of it holds."""
    return tuple(name for page in pages for name in _named(page, section))


def _named(page: Page, section: str) -> Iterable[str]:
    written = page.document.data.get(section)
    return written if isinstance(written, Mapping) else ()


def _endpoint(name: str, value: Mapping[str, Any]) -> Endpoint:
    return Endpoint(
        name,
        value["protocol"],
        (value.get("base_url") or _own_address(value["protocol"], value.get("dialect", ""))).rstrip("/"),
        value.get("api_key_env", ""),
        value.get("dialect", ""),
        dict(value.get("headers", {})),
        value.get("auth", "key"),
        **({"cache_ttl_seconds": seconds(value["cache_ttl"])} if "cache_ttl" in value else {}),
    )


def _model(name: str, value: Mapping[str, Any]) -> Model:
    served_by = tuple(
        Binding(binding["endpoint"], binding["id"], float(binding.get("weight", 1)))
        for binding in value["served_by"]
    )
    can = frozenset(value.get("can", ()))
    return Model(
        name,
        tier(value["tier"]),
        value["context"],
        value["output"],
        can,
        _price(value),
        served_by,
        value.get("balance", "weighted"),
    )


def tier(name: str) -> Tier:
    """Raises ValueError for a name that is no tier."""
    for known in get_args(Tier):
        if known == name:
            return known  # type: ignore[no-any-return]  # get_args forgets the types of literals
    raise ValueError(f"{name!r} is no tier")


def _price(value: Mapping[str, Any]) -> Price:
    usd = value.get("usd")
    if usd is None:
        return Price()
    into = float(usd["in"])
    return Price(into, float(usd["out"]), float(usd.get("cached", into)), float(usd.get("cache_write", into)))


def _twice(pages: Sequence[Page], section: str) -> Iterator[Problem]:
    first: dict[str, Page] = {}
    for page in pages:
        for name in _named(page, section):
            earlier = first.setdefault(name, page)
            if earlier is not page:
                yield said_twice(page.document, (section, name), name, earlier.document, (section, name))


def said_twice(document: Document, path: Path, name: str, earlier: Document, earlier_path: Path) -> Problem:
    place = earlier.key_place(earlier_path)
    where = f"line {place.line}" if earlier is document else f"{earlier.file}:{place.line}"
    return document.problem(
        path, "WV304", f"{name!r} is there already", f"see {where}; rename one", at_key=True
    )


def _check_endpoints(page: Page) -> Iterator[Problem]:
    for name, value in page.section("endpoints").items():
        path = ("endpoints", name)
        yield from _check_dialect(page, name, value)
        why = _bad_address(value.get("base_url", ""))
        if why:
            yield page.document.problem((*path, "base_url"), "WV313", f"this address cannot be called: {why}")
        for header in value.get("headers", {}):
            if header.lower() in _CREDENTIAL_HEADERS:
                hint = "name the environment variable that holds the key in api_key_env"
                message = f"the header {header!r} would put a key into a file"
                yield page.document.problem((*path, "headers", header), "WV313", message, hint, at_key=True)
            elif header.lower() in _CONNECTION_HEADERS:
                message = f"the header {header!r} belongs to the connection"
                yield page.document.problem(
                    (*path, "headers", header), "WV313", message, "remove it", at_key=True
                )


def _check_dialect(page: Page, name: str, value: Mapping[str, Any]) -> Iterator[Problem]:
    path = ("endpoints", name)
    protocol, dialect, written = (
        value.get("protocol"),
        value.get("dialect"),
        page.document.data["endpoints"][name],
    )
    file = dialects().get(dialect) if dialect else None
    if dialect and file is None:
        ours = [known for known, one in dialects().items() if protocol in (None, one["protocol"])]
        message = f"there is no dialect {dialect!r}"
        hint = did_you_mean(dialect, ours, f"known: {', '.join(sorted(ours))}")
        yield page.document.problem((*path, "dialect"), "WV325", message, hint)
        return
    if file is not None and protocol not in (None, file["protocol"]):
        message = f"the dialect {dialect!r} is a way of speaking {file['protocol']}, not {protocol}"
        vendor = file["title"].split()[0]
        alike = [
            known
            for known, one in dialects().items()
            if one["protocol"] == protocol and one["title"].split()[0] == vendor
        ]
        hint = f"did you mean {alike[0]!r}?" if alike else f"write protocol: {file['protocol']}"
        yield page.document.problem((*path, "dialect"), "WV326", message, hint)
        return
    if protocol is None:
        return
    if "base_url" not in written and not _own_address(protocol, dialect or ""):
        message = f"{name!r} has no base_url, and its dialect knows none"
        yield page.document.problem(path, "WV313", message, "write where the provider is", at_key=True)
    vendor = _vendor_at(value.get("base_url", ""), protocol) if not dialect else ""
    if vendor:
        message = f"{name!r} is at an address of {dialects()[vendor]['title']} and names no dialect"
        hint = f"write dialect: {vendor}"
        yield page.document.problem((*path, "base_url"), "WV327", message, hint, severity="warning")


@cache
def dialects() -> Mapping[str, Mapping[str, Any]]:
    """The files of all dialects, by name."""
    files = (shipped_yaml(name) for name in shipped_names("schemas/dialects"))
    return {file["dialect"]: file for file in files}


def _own_address(protocol: str, dialect: str) -> str:
    """Where the dialect's own vendor is; empty where that is for operators to say."""
    for name, file in dialects().items():
        if name == dialect or (not dialect and file.get("default") and file["protocol"] == protocol):
            return str(file.get("base_url", ""))
    return ""


def _vendor_at(url: str, protocol: str) -> str:
    """The dialect, other than the default, whose vendor is at this address; local ones are at anybody's."""
    host = _host(url)
    for name, file in dialects().items():
        theirs = _host(file.get("base_url", ""))
        if theirs and theirs == host and file["protocol"] == protocol and not file.get("default"):
            return "" if theirs == "127.0.0.1" else name
    return ""


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _check_clients_own(pages: Sequence[Page]) -> Iterator[Problem]:
    """A client's credential is of one vendor, and nothing in a request says of which, other than how it speaks."""
    first: dict[str, tuple[str, str]] = {}
    for page in pages:
        for name, value in page.section("endpoints").items():
            protocol = value.get("protocol")
            if value.get("auth") != "client" or protocol is None:
                continue
            family = "openai" if protocol.startswith("openai-") else protocol
            host = _host(value.get("base_url") or _own_address(protocol, value.get("dialect", "")))
            earlier, its_host = first.setdefault(family, (name, host))
            if its_host != host:
                message = f"a client's credential would go to two vendors, those of {earlier!r} and {name!r}"
                hint = "leave auth: client at the one whose credentials clients have"
                yield page.document.problem(("endpoints", name, "auth"), "WV332", message, hint)


def _bad_address(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return str(error).lower()
    if port == 0:
        return "port 0 is no port"
    return "" if parts.hostname or not url else "it names no host"


def _check_models(page: Page, endpoints: Sequence[str]) -> Iterator[Problem]:
    for name, value in page.section("models").items():
        path = ("models", name)
        if name in RESERVED:
            message = f"{name!r} means something else in policies"
            yield page.document.problem(path, "WV312", message, "give the model another name", at_key=True)
        if "usd" not in value and "usd" not in page.document.data["models"][name]:
            message = f"{name!r} has no price, so its calls count as free"
            hint = "write usd: {in: 0, out: 0} if they are"
            yield page.document.problem(path, "WV309", message, hint, at_key=True, severity="warning")
        for index, binding in enumerate(value.get("served_by") or ()):
            endpoint = (binding or {}).get("endpoint")
            if endpoint is not None and endpoint not in endpoints:
                message = f"there is no endpoint {endpoint!r}"
                where = (*path, "served_by", index, "endpoint")
                yield page.document.problem(where, "WV302", message, did_you_mean(endpoint, endpoints))


def _check_aliases(page: Page, models: Sequence[str]) -> Iterator[Problem]:
    for pattern, target in page.section("aliases").items():
        if target not in models:
            message = f"there is no model {target!r}"
            yield page.document.problem(("aliases", pattern), "WV301", message, did_you_mean(target, models))


def _hidden_aliases(pages: Sequence[Page]) -> Iterator[Problem]:
    earlier: list[str] = []
    for page in pages:
        for pattern in page.section("aliases"):
            hiding = next((other for other in earlier if other != pattern and _covers(other, pattern)), None)
            if hiding is not None:
                message = f"this alias is never used: {hiding!r} above it matches first"
                hint = "put it above the other"
                path = ("aliases", pattern)
                yield page.document.problem(path, "WV311", message, hint, at_key=True, severity="warning")
            elif "*" in pattern:
                earlier.append(pattern)


def _covers(wide: str, narrow: str) -> bool:
    """Whether everything the narrow pattern matches, the wide one does too; sure for patterns made of `*`."""
    return fnmatchcase(narrow, wide)
