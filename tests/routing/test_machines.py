"""Breakers, pauses, pins and budgets against references written as plainly as their rules, over any course of events.

The references remember everything and are asked for nothing but the answer; they know no trick of the code that they
judge. What a breaker lets through while it returns is a share and therefore chance: there the reference says
"perhaps", and takes what the code says.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine import turn
from engine.core.catalog import Binding, Model, Price
from engine.core.cost import nanos
from engine.core.decision import Decision
from engine.core.errors import Fault, FaultKind
from engine.core.identity import Identity
from engine.core.policy import Breaker, Budget, Learner
from engine.core.ports import Belief, Option, Standing, Task
from engine.protocols import PROTOCOLS
from engine.routing.balance import Balance
from engine.routing.budgets import Hold, Ledger
from engine.routing.health import Health
from engine.routing.pins import MemoryPins, pin_after
from engine.routing.ways import RequestWays
from engine.snapshot import build

BINDINGS = (Binding("one", "opus"), Binding("one", "haiku"), Binding("two", "opus"))
MODEL = Model("opus", "frontier", 1, 1, frozenset(), Price(0, 0, 0, 0), BINDINGS)

LONGEST_COOLDOWN = 600.0
USUAL_PAUSE = 5.0
ADDRESS = Breaker(
    failures=1, cooldown_seconds=1.0, window_seconds=2.0
)  # the breaker of an endpoint's address


@dataclass(eq=False)
class Call:
    """One call under way, and the request's own view of the ways."""

    binding: Binding
    ways: RequestWays


@dataclass
class Plain:
    """One breaker, as its rules are told: every call is remembered until the breaker changes its state."""

    rules: Breaker
    calls: list[tuple[float, bool, bool]] = field(default_factory=list)  # when it ended; failed; slow
    phase: str = "closed"
    since: float = 0.0  # when the phase began
    cooldown: float = 0.0
    probe: Call | None = None

    def state(self, now: float) -> str:
        if self.phase == "returning" and now >= self.since + self.rules.window_seconds:
            return "closed"
        return self.phase

    def lets(self, now: float) -> bool | None:
        """Whether a call may go; None is perhaps."""
        match self.state(now):
            case "closed":
                return True
            case "open":
                return now >= self.since + self.cooldown
            case "half_open":
                return self.probe is None
            case _:
                return None

    def begins(self, call: Call, now: float) -> None:
        if self.phase == "open" and now >= self.since + self.cooldown:
            self.phase = "half_open"
        if self.phase == "half_open" and self.probe is None:
            self.probe = call

    def forgets(self, call: Call) -> None:
        if self.probe is call:
            self.probe = None

    def ends(self, call: Call, failed: bool, slow: bool, now: float) -> None:
        before, was_probe = self.state(now), self.probe is call
        self.calls.append((now, failed, slow))
        self.forgets(call)
        if was_probe and not failed and not slow:
            self.becomes("returning", now)
        elif was_probe or (before in ("closed", "returning") and self.is_ill(now)):
            again = before in ("half_open", "returning")
            self.cooldown = min(2 * self.cooldown, LONGEST_COOLDOWN) if again else self.rules.cooldown_seconds
            self.becomes("open", now)
        elif before == "closed":
            self.phase = "closed"

    def becomes(self, phase: str, now: float) -> None:
        self.phase, self.since, self.calls = phase, now, []

    def is_ill(self, now: float) -> bool:
        lately = [call for call in self.calls if call[0] >= now - self.rules.window_seconds]
        failures, slow = sum(call[1] for call in lately), sum(call[2] for call in lately)
        many = len(lately) >= 10 and slow / len(lately) > self.rules.slow_share
        return failures >= self.rules.failures or many


def fault(kind: FaultKind, wait: float | None = None, client: bool = False) -> Fault:
    return Fault(kind, kind, origin="client" if client else "provider", retry_after_seconds=wait)


ILL: tuple[FaultKind, ...] = ("server_error", "overloaded", "timeout", "connection")
NEUTRAL: tuple[FaultKind, ...] = ("invalid_request", "authentication", "not_found", "context_exceeded")
WAITS = st.sampled_from([None, 0.5, 3.0, 20.0])


class Breakers(RuleBasedStateMachine):
    @initialize(
        failures=st.integers(1, 4), cooldown=st.sampled_from([2.0, 7.0]), window=st.sampled_from([3.0, 10.0])
    )
    def begin(self, failures: int, cooldown: float, window: float) -> None:
        self.breaker = Breaker(failures, 0.5, 5.0, window, cooldown)
        self.now = 100.0
        self.health = Health()
        self.calls: list[Call] = []
        self.models = {binding: Plain(self.breaker) for binding in BINDINGS}
        self.addresses = {binding.endpoint: Plain(ADDRESS) for binding in BINDINGS}
        self.pauses: dict[Binding, list[tuple[float, str]]] = {binding: [] for binding in BINDINGS}

    @rule(seconds=st.sampled_from([0.25, 1.0, 2.5, 7.0, 31.0]))
    def time_goes_by(self, seconds: float) -> None:
        self.now += seconds

    @rule(binding=st.sampled_from(BINDINGS))
    def a_call_begins_where_it_may(self, binding: Binding) -> None:
        self._begin(binding)

    @rule(binding=st.sampled_from(BINDINGS), count=st.integers(5, 12), slow=st.booleans())
    def many_calls_serve(self, binding: Binding, count: int, slow: bool) -> None:
        for _ in range(count):
            if (call := self._begin(binding)) is not None:
                self._end(call, None, 6.0 if slow else 0.1)

    @rule(binding=st.sampled_from(BINDINGS), count=st.integers(2, 5))
    def a_storm_passes_and_one_call_outlasts_it(self, binding: Binding, count: int) -> None:
        begun = [call for _ in range(count) if (call := self._begin(binding)) is not None]
        for call in begun[1:]:
            self._end(call, fault("server_error"), 0.1)

    def _begin(self, binding: Binding) -> Call | None:
        ways = RequestWays(self.health, Balance(), "", "d1")
        if not ways.admits(binding, self.breaker, self.now):
            return None
        call = Call(binding, ways)
        ways.began(binding, self.now)
        for plain in self._around(binding):
            plain.begins(call, self.now)
        self.calls.append(call)
        return call

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), slow=st.booleans())
    def a_call_serves(self, data: st.DataObject, slow: bool) -> None:
        self._end(self._one(data), None, 6.0 if slow else 0.1)

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), kind=st.sampled_from(ILL), wait=WAITS)
    def a_call_fails(self, data: st.DataObject, kind: FaultKind, wait: float | None) -> None:
        self._end(self._one(data), fault(kind, wait), 0.1)

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def nobody_answers_at_the_address(self, data: st.DataObject) -> None:
        self._end(self._one(data), fault("connection"), 0.1, reached=False)

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), wait=WAITS)
    def a_limit_is_used_up(self, data: st.DataObject, wait: float | None) -> None:
        self._end(self._one(data), fault("rate_limit", wait), 0.1)

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), kind=st.sampled_from((*NEUTRAL, *ILL)), theirs=st.booleans())
    def a_call_ends_in_what_says_nothing(self, data: st.DataObject, kind: FaultKind, theirs: bool) -> None:
        self._end(self._one(data), fault(kind, client=theirs or kind in ILL), 0.1)

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def a_client_leaves(self, data: st.DataObject) -> None:
        call = self._one(data)
        call.ways.abandoned(call.binding)
        for plain in self._around(call.binding):
            plain.forgets(call)

    def _one(self, data: st.DataObject) -> Call:
        return self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))

    def _end(self, call: Call, end: Fault | None, seconds: float, reached: bool = True) -> None:
        if call in self.calls:
            self.calls.remove(call)
        call.ways.ended(MODEL, call.binding, end, seconds, self.breaker, self.now, reached)
        own, address = self._around(call.binding)
        theirs = end is not None and end.origin == "client"
        if end is not None and not theirs and end.kind in ("rate_limit", "overloaded", "server_error"):
            wait = end.retry_after_seconds or (USUAL_PAUSE if end.kind == "rate_limit" else 0.0)
            self.pauses[call.binding].append((self.now + wait, end.kind))
        if reached:
            address.ends(call, failed=False, slow=False, now=self.now)
        else:
            address.ends(call, failed=True, slow=False, now=self.now)
        if reached and (end is None or (end.kind in ILL and not theirs)):
            own.ends(
                call, failed=end is not None, slow=seconds > self.breaker.slower_than_seconds, now=self.now
            )
        own.forgets(call)

    def _around(self, binding: Binding) -> tuple[Plain, Plain]:
        return self.models[binding], self.addresses[binding.endpoint]

    def _lets(self, binding: Binding) -> bool | None:
        if any(until > self.now for until, _ in self.pauses[binding]):
            return False
        answers = [plain.lets(self.now) for plain in self._around(binding)]
        return False if False in answers else None if None in answers else True

    @invariant()
    def a_call_may_go_where_the_rules_let_it(self) -> None:
        for binding in BINDINGS:
            expected = self._lets(binding)
            if expected is not None:
                assert self.health.admits(binding, self.breaker, self.now) is expected

    @invariant()
    def who_must_wait_is_told_how_long(self) -> None:
        for binding in BINDINGS:
            ends = [until for until, _ in self.pauses[binding]]
            ends += [plain.since + plain.cooldown for plain in self._around(binding) if plain.phase == "open"]
            expected = max([0.0, *(end - self.now for end in ends)])
            assert self.health.waits(binding, self.now) == expected

    @invariant()
    def a_limit_is_told_from_an_illness(self) -> None:
        for binding in BINDINGS:
            holding = [pause for pause in self.pauses[binding] if pause[0] > self.now]
            holds = max(holding, key=lambda pause: pause[0], default=(0.0, ""))[1]
            well = all(plain.state(self.now) == "closed" for plain in self._around(binding))
            assert self.health.limited(binding, self.now) is (holds == "rate_limit" and well)

    @invariant()
    def what_is_not_well_is_told_and_nothing_else(self) -> None:
        expected: dict[tuple[str, str], str] = {
            (binding.endpoint, binding.id): plain.state(self.now) for binding, plain in self.models.items()
        }
        expected |= {(name, ""): plain.state(self.now) for name, plain in self.addresses.items()}
        paused = {
            (binding.endpoint, binding.id)
            for binding, ends in self.pauses.items()
            if any(until > self.now for until, _ in ends)
        }
        told = {(each.endpoint, each.model): each.state for each in self.health.conditions(self.now)}
        assert told == {key: state for key, state in expected.items() if state != "closed" or key in paused}


TestBreakers: Any = Breakers.TestCase
TestBreakers.settings = settings(max_examples=250, stateful_step_count=50, deadline=None)


# ---- budgets

TEAM = (
    Budget("minute", "identity.team", 0.000_060, 60.0, reject=429),
    Budget("quarter", "identity.team", 0.000_200, 900.0, use="haiku"),
)
PERSON = (Budget("hour", "identity.name", 0.000_500, 3600.0, reject=402),)
BUDGETS = (*TEAM, *PERSON)


@dataclass
class Spent:
    """Something that was spent, or is held for a request under way. Times are in milliseconds."""

    scopes: tuple[tuple[str, str], ...]
    amount: int
    at: int


class Spending(RuleBasedStateMachine):
    """Every charge is remembered for good; the books may count each for a sixtieth of a window too long, never for
    less. What they hold on disk makes the same books again."""

    @initialize()
    def begin(self) -> None:
        self.now = 1_000_000.0
        self.newest = 0  # in milliseconds
        self.books = Ledger()
        self.books.follow(BUDGETS)
        self.charges: list[Spent] = []  # one for each account
        self.open: dict[str, Spent] = {}
        self.slots: dict[tuple[str, str, int], int] = {}
        self.holds: dict[str, Hold] = {}
        self.made = 0

    @property
    def milliseconds(self) -> int:
        return int(self.now * 1000)

    @rule(seconds=st.sampled_from([0.5, 3.0, 100.0]))
    def the_clock_is_put_back(self, seconds: float) -> None:
        """What had left every window by then may be forgotten already."""
        self.newest = max(self.newest, self.milliseconds)
        self.now -= seconds

    @rule(seconds=st.sampled_from([0.001, 0.4, 5.0, 31.0, 61.0, 400.0, 4000.0]))
    def time_goes_by(self, seconds: float) -> None:
        self.now += seconds

    @rule(
        team=st.sampled_from(["core", "web"]),
        name=st.sampled_from(["ann", "bob"]),
        amount=st.integers(0, 40_000),
    )
    def a_request_asks_for_room(self, team: str, name: str, amount: int) -> None:
        self.made += 1
        id, scopes = f"d{self.made}", (("identity.team", team), ("identity.name", name))
        values = dict(scopes)
        limits = [(budget, values[budget.per]) for budget in BUDGETS if budget.reject]
        full = [
            (budget, value)
            for budget, value in limits
            if amount and self._told(budget, value).taken + amount > nanos(budget.usd)
        ]
        assert self.books.reserve(id, scopes, amount, self.now, limits) == (full[0] if full else None)
        if not full:
            self.open[id] = Spent(scopes, amount, self.milliseconds)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), share=st.sampled_from([0.0, 0.3, 1.0, 1.5]))
    def a_request_comes_to_something(self, data: st.DataObject, share: float) -> None:
        id = data.draw(st.sampled_from(sorted(self.open)))
        held = self.open.pop(id)
        amount = int(held.amount * share)
        assert self.books.settle(id, amount, self.now) == held.scopes
        assert self.books.settle(id, amount, self.now) == ()
        if amount:
            for (
                one
            ) in self.charges:  # what was spent in the future, because the clock was there, is spent now
                if one.scopes[0] in held.scopes:
                    one.at = min(one.at, self.milliseconds)
            self.charges += [Spent((scope,), amount, self.milliseconds) for scope in held.scopes]

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def a_request_comes_to_nothing(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(sorted(self.open)))
        del self.open[id]
        self.books.release(id)

    @rule()
    def what_changed_is_written_down(self) -> None:
        changes = self.books.take()
        for slot, amount in changes.slots.items():
            self.slots[slot] = self.slots.get(slot, 0) + amount
        self.holds |= changes.made
        for id in changes.ended:
            del self.holds[id]

    @rule()
    def a_write_fails_and_comes_again(self) -> None:
        self.books.put_back(self.books.take())

    @rule()
    def the_engine_starts_again(self) -> None:
        """What is on disk is all that is left. What was open is charged in full, when it was asked for."""
        self.what_changed_is_written_down()
        self.books = Ledger()
        self.books.follow(BUDGETS)
        self.books.restore((*slot, amount) for slot, amount in sorted(self.slots.items()) if amount)
        for id, hold in self.holds.items():
            self.books.forfeit(id, hold)
        for one in self.open.values():
            self.charges += [Spent((scope,), one.amount, one.at) for scope in one.scopes if one.amount]
        self.open = {}

    def _told(self, budget: Budget, value: str) -> Standing:
        return self.books.standing(budget, value, self.now)

    def _plain(self, budget: Budget, value: str, longer: int = 0) -> int:
        """What was spent within a window that is so much longer."""
        since = self.milliseconds - int(budget.window_seconds * 1000) - longer
        scope = (budget.per, value)
        return sum(one.amount for one in self.charges if scope in one.scopes and one.at > since)

    @invariant()
    def what_is_held_is_what_is_open(self) -> None:
        for budget in BUDGETS:
            for value in ("core", "web", "ann", "bob"):
                held = sum(one.amount for one in self.open.values() if (budget.per, value) in one.scopes)
                assert self._told(budget, value).reserved == held

    @invariant()
    def what_is_spent_counts_for_its_window_and_little_more(self) -> None:
        for budget in BUDGETS:
            slack = int(budget.window_seconds * 1000) // 60
            for value in ("core", "web", "ann", "bob"):
                told = self._told(budget, value).spent
                ahead = max(0, self.newest - self.milliseconds)
                assert self._plain(budget, value, -ahead) <= told <= self._plain(budget, value, slack)

    @invariant()
    def who_waits_as_long_as_is_told_has_room_and_not_before(self) -> None:
        for budget in BUDGETS:
            for value in ("core", "ann"):
                wait = self.books.room_in(budget, value, 10_000, self.now)
                assert wait is not None
                most = nanos(budget.usd) - 10_000
                if wait:
                    assert self.books.standing(budget, value, self.now + wait - 0.001).spent > most
                assert self.books.standing(budget, value, self.now + wait).spent <= most


TestSpending: Any = Spending.TestCase
TestSpending.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)


# ---- pins

CATALOG = """\
apiVersion: weave/v1
kind: Catalog
metadata: {name: c}
endpoints: {one: {protocol: anthropic-messages, base_url: "http://127.0.0.1:1"}}
models:
  opus: {tier: frontier, context: 200000, output: 64000, can: [tools, vision], usd: {in: 5, out: 25},
         served_by: [{endpoint: one, id: o}]}
  sonnet: {tier: mid, context: 200000, output: 64000, can: [tools, vision], usd: {in: 3, out: 15},
           served_by: [{endpoint: one, id: s}]}
  blind: {tier: small, context: 200000, output: 64000, can: [tools], usd: {in: 0, out: 0},
          served_by: [{endpoint: one, id: b}]}
"""
POLICY = """\
apiVersion: weave/v1
kind: Policy
metadata: {name: p}
rules:
  - {name: private, guard: true, when: has(hints.private), then: {use: blind, failover: none}}
  - {name: hard, when: "has(hints.task) && hints.task == 'debug'", then: {use: opus, escalate: true}}
  - {name: plan, when: "has(hints.task) && hints.task == 'plan'", then: {use: sonnet}}
  - {name: look, when: "has(hints.task) && hints.task == 'context'", then: {use: blind}}
default: {use: requested}
pinning: {key: [hints.session], ttl: 60s}
"""


class NoTrust:
    """Nobody has learned anything."""

    def beliefs(
        self, learner: Learner, task: Task, options: Sequence[Option], against: Option
    ) -> Sequence[Belief]:
        return [Belief(0.0, 0.0) for _ in options]


TIERS = ("opus", "sonnet", "blind")  # the highest first
BY_RULE = {"debug": "opus", "plan": "sonnet", "context": "blind"}
MOST_PINS = 4


class Pinned(RuleBasedStateMachine):
    """A session keeps its model for as long as it asks, unless something stronger speaks."""

    snapshot = build({"catalog.yaml": CATALOG, "p.yaml": POLICY})

    @initialize()
    def begin(self) -> None:
        self.now = 1_000.0
        self.pins = MemoryPins(MOST_PINS)
        self.plain: dict[
            tuple[str, str, str], tuple[str, float]
        ] = {}  # whose, and until when; the last used last

    @rule(seconds=st.sampled_from([1.0, 29.0, 59.0, 60.0, 200.0]))
    def time_goes_by(self, seconds: float) -> None:
        self.now += seconds

    @rule(
        name=st.sampled_from(["ann", "bob"]),
        session=st.sampled_from(["a", "b", ""]),
        requested=st.sampled_from(["opus", "sonnet", "auto"]),
        task=st.sampled_from(["", "debug", "plan", "context"]),
        stronger=st.sampled_from(["", "", "", "private", "forced"]),
        picture=st.booleans(),
        chore=st.booleans(),
    )
    def a_turn_comes(
        self, name: str, session: str, requested: str, task: str, stronger: str, picture: bool, chore: bool
    ) -> None:
        picture = picture and stronger != "private"  # a guard's model that cannot see refuses the request
        headers = {"x-weave-session": session, "x-weave-task": task}
        headers |= {"private": {"x-weave-private": "1"}, "forced": {"x-weave-model": "sonnet"}}.get(
            stronger, {}
        )
        decision = self._decided(
            Identity(name), {key: value for key, value in headers.items() if value}, requested, picture, chore
        )
        expected = self._expected((name, session, requested), task, stronger, picture, chore)
        assert (decision.model, decision.source) == expected

    def _decided(
        self, identity: Identity, headers: dict[str, str], requested: str, picture: bool, chore: bool
    ) -> Decision:
        """As a running engine does it: the pin is looked up, asked, and put back."""
        seen = {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
        }
        content: list[dict[str, Any]] = [
            {"type": "text", "text": "Look at it."},
            *([seen] if picture else []),
        ]
        body = {"model": requested, "max_tokens": 9, "messages": [{"role": "user", "content": content}]}
        request = PROTOCOLS["anthropic-messages"].read_request(body, json.dumps(body).encode())
        facts = turn.read(request, headers, identity, self.snapshot)
        if chore:
            features = {**facts.inputs["features"], "phase": "title"}
            facts = replace(facts, inputs={**facts.inputs, "features": features})
        pin = self.pins.get(facts.pin_key, self.now) if facts.pin_key else None
        decision = turn.decide(facts, self.snapshot, turn.Moment("d", self.now, 0.5, pin, NoTrust()))
        pinning, models = self.snapshot.policy.pinning, self.snapshot.catalog.models
        left = pin_after(decision, facts.inputs["features"], pinning, self.now, pin, models)
        if left is not None:
            self.pins.put(facts.pin_key, left)
        return decision

    def _expected(
        self, key: tuple[str, str, str], task: str, stronger: str, picture: bool, chore: bool
    ) -> tuple[str, str]:
        held = self.plain.pop(key, None)
        if held is not None and held[1] > self.now:
            self.plain[key] = held
        else:
            held = None
        if stronger == "private":
            return "blind", "guard"
        if stronger == "forced":
            return "sonnet", "forced"
        fit = TIERS[:2] if picture else TIERS
        wanted = BY_RULE.get(task) or ("opus" if key[2] == "auto" else key[2])
        model, source = wanted if wanted in fit else "sonnet", "rule" if task else "default"
        if held is not None and held[0] in fit and not chore:
            rises = task == "debug" and held[0] != "opus"
            model, source = ("opus", "escalation") if rises else (held[0], "pin")
        if key[1] and not chore:
            self.plain.pop(key, None)
            self.plain[key] = model, self.now + 60.0
            while len(self.plain) > MOST_PINS:
                del self.plain[next(iter(self.plain))]
        return model, source


TestPinned: Any = Pinned.TestCase
TestPinned.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
