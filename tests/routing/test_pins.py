from dataclasses import replace

import pytest

from engine.core.catalog import Catalog
from engine.core.decision import Decision, Source
from engine.core.policy import Pinning
from engine.core.ports import Pin
from engine.routing.pins import MemoryPins, pin_after, pin_elsewhere, session_of

KEYS = ("hints.session", "features.client_session", "features.first_user_hash")


def inputs(
    hint: str = "", session: str = "", hashed: str = "", name: str = "ann"
) -> dict[str, dict[str, str]]:
    return {
        "hints": {"session": hint} if hint else {},
        "features": {"client_session": session, "first_user_hash": hashed, "phase": "execute"},
        "identity": {"name": name},
    }


def decision(source: Source = "rule", session: str = "abc") -> Decision:
    return Decision(
        "d1", 0.0, "p", "s", ("opus",), "r", source, "because", "opus", "openai-chat", session=session
    )


def test_the_first_key_that_is_present_names_the_session() -> None:
    assert session_of(KEYS, inputs(hint="a", session="b")) == session_of(KEYS, inputs(hint="a", session="c"))
    assert session_of(KEYS, inputs(session="b", hashed="x")) == session_of(
        KEYS, inputs(session="b", hashed="y")
    )
    assert session_of(KEYS, inputs()) == ""


def test_a_sub_agent_has_a_session_of_its_own_though_a_hint_names_the_same_for_all() -> None:
    # W53: a header that stands in a client's configuration is sent by every agent of it
    def asked(session: str, hashed: str, subagent: bool) -> str:
        told = inputs(hint="job", session=session, hashed=hashed)
        return session_of(KEYS, {**told, "features": {**told["features"], "subagent": subagent}})

    main, one, other = asked("a", "x", False), asked("a/1", "y", True), asked("a/2", "z", True)
    assert main == session_of(KEYS, inputs(hint="job"))
    assert len({main, one, other}) == 3
    assert one == asked("a/1", "changed", True)
    assert asked("", "y", True) != asked("", "z", True)


def test_two_callers_with_one_session_id_do_not_share_a_pin() -> None:
    # W53: a session is the session's id within its caller, never the caller alone
    assert session_of(KEYS, inputs(session="b", name="ann")) != session_of(
        KEYS, inputs(session="b", name="bob")
    )


def test_a_session_s_name_cannot_be_read_back() -> None:
    assert "secret" not in session_of(KEYS, inputs(session="secret"))


@pytest.mark.parametrize("source", ["escalation", "rule", "learner", "default", "pin"])
def test_a_decision_about_a_session_s_work_pins_it(source: Source) -> None:
    pin = pin_after(decision(source), {"phase": "execute"}, Pinning(ttl_seconds=60), 1000.0)
    assert pin == Pin("opus", "r", 1000.0, 1060.0, raised=source == "escalation")


@pytest.mark.parametrize("source", ["guard", "budget", "forced", "sealed"])
def test_a_guard_a_budget_or_a_forced_model_speaks_for_one_request(source: Source) -> None:
    assert pin_after(decision(source), {"phase": "execute"}, Pinning(), 0.0) is None


def test_a_guard_moves_a_session_for_good_where_the_policy_says_so() -> None:
    moving = Pinning(move_when=frozenset({"guard"}))
    held = Pin("haiku", "earlier", 0.0, 99.0)
    pin = pin_after(decision("guard"), {"phase": "execute", "context_tokens": 1}, moving, 10.0, held)
    assert pin is not None
    assert (pin.model, pin.rule, pin.moved) == ("opus", "r", 10.0)
    assert pin_after(decision("guard"), {"phase": "classifier"}, moving, 10.0, held) is None


def test_a_session_that_its_model_no_longer_holds_moves_for_good_unless_the_policy_says_otherwise(
    catalog: Catalog,
) -> None:
    held = Pin("local", "earlier", 0.0, 99.0)
    long = {"phase": "execute", "context_tokens": 50_000}
    moved = pin_after(decision(), long, Pinning(), 10.0, held, catalog.models)
    assert moved is not None
    assert (moved.model, moved.moved) == ("opus", 10.0)
    staying = Pinning(ttl_seconds=60, move_when=frozenset())
    assert pin_after(decision(), long, staying, 10.0, held, catalog.models) == replace(held, expires=70.0)
    fits = {**long, "context_tokens": 9_000}  # it left for another reason
    changed = pin_after(decision(), fits, staying, 10.0, held, catalog.models)
    assert changed is not None
    assert changed.model == "opus"


def test_a_session_without_a_way_to_its_model_goes_on_with_its_plan_elsewhere() -> None:
    held = Pin("haiku", "r", 0.0, 99.0, "cheap-first", 1, {"session_test_failures": 2}, raised=True)
    moved = pin_elsewhere(held, "sonnet", Pinning(ttl_seconds=60), 10.0)
    assert moved == replace(held, model="sonnet", expires=70.0, moved=10.0)


@pytest.mark.parametrize("phase", ["title", "probe", "classifier", "summary"])
def test_background_calls_pin_nothing(phase: str) -> None:
    # W54: a title call arrives just before the real turn
    assert pin_after(decision(), {"phase": phase}, Pinning(), 0.0) is None


def test_without_a_session_there_is_nothing_to_pin() -> None:
    assert pin_after(decision(session=""), {"phase": "execute"}, Pinning(), 0.0) is None


def test_a_pin_is_forgotten_when_its_time_is_over() -> None:
    pins = MemoryPins()
    pins.put("a", Pin("opus", "r", 0.0, 10.0))
    assert pins.get("a", 9.9) is not None
    assert pins.get("a", 10.0) is None


def test_the_least_recently_used_pin_makes_room() -> None:
    pins = MemoryPins(most=2)
    for key in ("a", "b"):
        pins.put(key, Pin("opus", "r", 0.0, 10.0))
    pins.get("a", 1.0)
    pins.put("c", Pin("opus", "r", 0.0, 10.0))
    assert pins.get("b", 1.0) is None
    assert pins.get("a", 1.0) is not None
