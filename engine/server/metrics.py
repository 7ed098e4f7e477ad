"""What is counted while requests run, for Prometheus. Counting costs about a microsecond and never fails a request.

Labels hold the catalog's names, the protocols', and our own words, never a client's: what a client sends can make no
new series. A reload can, by new names; when a family has `MOST_SERIES` of them, what is new is counted under `other`.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from engine.core.catalog import Model
from engine.core.cost import cost_usd
from engine.core.decision import AttemptRecord, Decision, Result

MOST_SERIES = 1_000
OTHER = "other"

Labels = tuple[str, ...]

FIRST_CONTENT = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0)
DECISION = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1.0)
WHOLE = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


class Counter:
    """A family of sums, by labels."""

    kind = "counter"

    def __init__(self, name: str, labels: Labels, help: str) -> None:
        self.name = name
        self.labels = labels
        self.help = help
        self._sums: dict[Labels, float] = {}

    def add(self, labels: Labels, amount: float = 1) -> None:
        sums = self._sums
        if labels in sums:
            sums[labels] += amount
            return
        if len(sums) >= MOST_SERIES:
            labels = (OTHER,) * len(labels)
        sums[labels] = sums.get(labels, 0) + amount

    def lines(self) -> Iterator[str]:
        for labels, amount in self._sums.items():
            yield sample(self.name, zip(self.labels, labels, strict=True), amount)


class Gauge(Counter):
    """The same, but it may fall."""

    kind = "gauge"


class Histogram:
    """A family of distributions, by labels; a value counts in each bucket that is not below it."""

    kind = "histogram"

    def __init__(self, name: str, labels: Labels, help: str, buckets: Sequence[float]) -> None:
        self.name = name
        self.labels = labels
        self.help = help
        self._buckets = tuple(buckets)
        self._seen: dict[
            Labels, list[float]
        ] = {}  # a count for each bucket and one beyond them, then the sum

    def see(self, labels: Labels, value: float) -> None:
        seen = self._seen.get(labels)
        if seen is None:
            if len(self._seen) >= MOST_SERIES:
                labels = (OTHER,) * len(labels)
            seen = self._seen.setdefault(labels, [0] * (len(self._buckets) + 2))
        seen[bisect_left(self._buckets, value)] += 1
        seen[-1] += value

    def counts(self) -> Iterator[tuple[Labels, float]]:
        """How many values there were."""
        for labels, seen in self._seen.items():
            yield labels, sum(seen[:-1])

    def lines(self) -> Iterator[str]:
        bounds = (*(f"{bound:g}" for bound in self._buckets), "+Inf")
        for labels, seen in self._seen.items():
            named = list(zip(self.labels, labels, strict=True))
            total = 0.0
            for bound, count in zip(bounds, seen, strict=False):
                total += count
                yield sample(f"{self.name}_bucket", [*named, ("le", bound)], total)
            yield sample(f"{self.name}_sum", named, seen[-1])
            yield sample(f"{self.name}_count", named, total)


@dataclass(frozen=True, slots=True)
class Metrics:
    """One for each engine."""

    requests: Counter = field(
        default_factory=lambda: Counter(
            "weave_requests_total",
            ("protocol", "model", "status", "source"),
            "Requests that ended, by what served them; model and source are empty where nothing was decided.",
        )
    )
    tries: Counter = field(
        default_factory=lambda: Counter(
            "weave_attempts_total",
            ("endpoint", "model", "fault"),
            "Calls of providers, by the kind of fault they ended in; empty where they served.",
        )
    )
    tokens: Counter = field(
        default_factory=lambda: Counter(
            "weave_tokens_total",
            ("model", "kind"),
            "Tokens paid for; input holds what was read from a cache and written to one.",
        )
    )
    cost: Counter = field(
        default_factory=lambda: Counter("weave_cost_usd_total", ("model",), "Dollars paid at list prices.")
    )
    saved: Gauge = field(
        default_factory=lambda: Gauge(
            "weave_saved_usd",
            ("requested", "model"),
            "Dollars the requested model would have cost more for the same tokens; below zero where it would have"
            " cost less.",
        )
    )
    first_content: Histogram = field(
        default_factory=lambda: Histogram(
            "weave_first_content_seconds",
            ("model",),
            "From a request's arrival to the first content of its answer.",
            FIRST_CONTENT,
        )
    )
    whole: Histogram = field(
        default_factory=lambda: Histogram(
            "weave_request_seconds", ("protocol",), "From a request's arrival to its end.", WHOLE
        )
    )
    decision: Histogram = field(
        default_factory=lambda: Histogram(
            "weave_decision_seconds", (), "From a whole request to the decision about it.", DECISION
        )
    )
    gone: Counter = field(
        default_factory=lambda: Counter(
            "weave_clients_gone_total", ("protocol",), "Clients that left before their answer was complete."
        )
    )
    turned_away: Counter = field(
        default_factory=lambda: Counter(
            "weave_turned_away_total", ("status",), "Requests refused before anybody read what they ask."
        )
    )

    def decided(self, seconds: float) -> None:
        self.decision.see((), seconds)

    def attempted(self, record: AttemptRecord) -> None:
        fault = record.fault.kind if record.fault is not None else "abandoned" if record.abandoned else ""
        self.tries.add((record.endpoint, record.model, fault))

    def refused(self, protocol: str, status: int) -> None:
        """A request about which nothing was decided."""
        self.requests.add((protocol, "", str(status), ""))

    def concluded(self, decision: Decision, requested: Model | None, result: Result) -> None:
        protocol, model, usage = decision.protocol, result.model, result.usage
        self.requests.add((protocol, model, str(result.status), decision.source))
        self.whole.see((protocol,), result.seconds)
        if result.client_gone:
            self.gone.add((protocol,))
        if not model:
            return
        self.tokens.add((model, "input"), usage.input_tokens)
        self.tokens.add((model, "output"), usage.output_tokens)
        self.tokens.add((model, "cache_read"), usage.cache_read_tokens)
        self.tokens.add((model, "cache_write"), usage.cache_write_tokens)
        self.cost.add((model,), result.cost_usd)
        if requested is not None and requested.name != model:
            self.saved.add((requested.name, model), cost_usd(usage, requested.price) - result.cost_usd)
        if result.first_content_seconds is not None:
            self.first_content.see((model,), result.first_content_seconds)

    def families(self) -> tuple[Counter | Histogram, ...]:
        return (
            self.requests,
            self.tries,
            self.tokens,
            self.cost,
            self.saved,
            self.first_content,
            self.whole,
            self.decision,
            self.gone,
            self.turned_away,
        )


def sample(name: str, labels: Iterable[tuple[str, str]], value: float) -> str:
    """One line of the text."""
    pairs = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels)
    return f"{name}{{{pairs}}} {value!r}" if pairs else f"{name} {value!r}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
