"""/metrics, read as a scraper reads it: by a strict reader of the text format, and against what was asked."""

import asyncio
import re
from typing import Any

LINE = re.compile(r'([a-zA-Z_:][\w:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? (\S+)')
LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\\n]|\\[\\"n])*)"')

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(text: str) -> Samples:
    """Raises AssertionError for what Prometheus would not take."""
    kinds: dict[str, str] = {}
    samples: Samples = {}
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            continue
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in kinds, f"{name} is there twice"
            assert kind in ("counter", "gauge", "histogram")
            assert kind != "counter" or name.endswith("_total"), name
            kinds[name] = kind
            family = name
            continue
        found = LINE.fullmatch(line)
        assert found, line
        name, labels, value = found.groups()
        endings = ("_bucket", "_sum", "_count") if kinds[family] == "histogram" else ("",)
        assert name in [family + ending for ending in endings], f"{name} is no sample of {family}"
        key = (name, frozenset(LABEL.findall(labels or "")))
        assert key not in samples, f"{line} is there twice"
        samples[key] = float(value)
    _check_histograms(samples, [name for name, kind in kinds.items() if kind == "histogram"])
    return samples


def _check_histograms(samples: Samples, names: list[str]) -> None:
    for name in names:
        for (found, labels), count in samples.items():
            if found != f"{name}_count":
                continue
            buckets = [
                value
                for (other, told), value in samples.items()
                if other == f"{name}_bucket" and labels == {pair for pair in told if pair[0] != "le"}
            ]
            assert buckets == sorted(buckets)
            assert buckets[-1] == count


def value(samples: Samples, name: str, **labels: str) -> float:
    """The sum of what has these labels."""
    return sum(value for (found, told), value in samples.items() if found == name and labels.items() <= told)


def run(coroutine: Any) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await coroutine

    asyncio.run(bounded())


def test_what_was_asked_is_what_is_told(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            for _ in range(3):
                await it.ask("[[sim: text=hello]]", stream=True)
            await it.chat("[[sim: text=hello]]")
            await it.ask("hello", model="nobody")
            it.simulator.fail(model="opus", status=529)
            await it.ask("[[sim: text=hello]]")
            await it.client.get("/health", headers={"origin": "https://evil.example"})
            reply = await it.client.get("/metrics")
            assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
            seen = read(reply.text)
            assert value(seen, "weave_requests_total") == 6
            assert value(seen, "weave_requests_total", protocol="anthropic-messages", status="200") == 4
            assert value(seen, "weave_requests_total", status="404", model="") == 1
            assert value(seen, "weave_attempts_total", fault="overloaded") == 2  # both endpoints of opus
            assert value(seen, "weave_attempts_total", fault="") == 5
            assert value(seen, "weave_tokens_total", kind="output") > 0
            assert value(seen, "weave_cost_usd_total") > 0
            assert value(seen, "weave_decision_seconds_count") == 5
            assert value(seen, "weave_first_content_seconds_count") == 5
            assert value(seen, "weave_turned_away_total", status="403") == 1
            assert value(seen, "weave_policy_info") == 1
            assert value(seen, "weave_running") == 0
            assert value(seen, "weave_sessions") == 1
            assert value(seen, "weave_journal_lost_total") == 0

    run(play())


def test_a_breaker_that_is_open_is_told(house: Any) -> None:
    async def play() -> None:
        async with house() as it:
            it.simulator.fail(model="opus", status=500)
            for _ in range(8):
                await it.ask("[[sim: text=hello]]")
            seen = read((await it.client.get("/metrics")).text)
            assert value(seen, "weave_breaker_state", state="open") == 2  # both of its endpoints

    run(play())


def test_what_clients_send_makes_no_series(house: Any) -> None:
    async def play() -> None:
        async with house() as it:

            async def series() -> int:
                return len(read((await it.client.get("/metrics")).text))

            await it.ask("hello", model="first")
            await it.client.get("/first")
            before = await series()
            for number in range(30):
                await it.ask("hello", model=f"model-{number}")
                await it.ask(
                    "hello", headers={"x-weave-task": f"task-{number}", "x-weave-model": f"m{number}"}
                )
                await it.client.get(f"/path-{number}", headers={"user-agent": f"agent-{number}"})
            assert await series() <= before + 1  # one status more

    run(play())


def test_budgets_are_told_with_what_is_spent(house: Any) -> None:
    budget = "budgets: [{name: day, per: identity.name, usd: 50, window: 24h, over: {reject: 429}}]\n"

    async def play() -> None:
        async with house() as it:
            policy = it.policy.read_text()
        assert "\nbudgets:" not in policy
        async with house(policy=policy + budget) as it:
            await it.ask("[[sim: words=50]]")
            seen = read((await it.client.get("/metrics")).text)
            assert value(seen, "weave_budget_limit_usd", budget="day", value="local") == 50
            assert 0 < value(seen, "weave_budget_spent_usd", budget="day") < 1
            assert value(seen, "weave_budget_reserved_usd", budget="day") == 0

    run(play())
