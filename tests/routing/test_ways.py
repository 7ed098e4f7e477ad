"""A request's ways tell health and balance together."""

from dataclasses import replace

from engine.core.catalog import Binding, Catalog
from engine.core.errors import Fault
from engine.core.policy import Breaker
from engine.routing.balance import Balance
from engine.routing.health import Health
from engine.routing.ways import RequestWays

HERE, AWAY = Binding("one", "m"), Binding("two", "m")
RULES = Breaker(failures=1)


def test_a_call_that_serves_makes_its_endpoint_the_session_s_home(catalog: Catalog) -> None:
    model = replace(catalog.models["opus"], served_by=(HERE, AWAY))
    ways = RequestWays(Health(), Balance(), "s", "d1")
    last = ways.order(model, 0.0)[-1]
    ways.began(last, 0.0)
    assert ways.ended(model, last, None, 0.5, RULES, 1.0, True) == []
    assert ways.order(model, 1.0)[0] is last


def test_a_call_that_fails_closes_its_way_and_makes_no_home(catalog: Catalog) -> None:
    model = replace(catalog.models["opus"], served_by=(HERE, AWAY))
    ways = RequestWays(Health(), Balance(), "s", "d1")
    first, last = ways.order(model, 0.0)
    ways.began(last, 0.0)
    changed = ways.ended(model, last, Fault("server_error", "", origin="provider"), None, RULES, 1.0, True)
    assert [(each.endpoint, each.state) for each in changed] == [(last.endpoint, "open")]
    assert not ways.admits(last, RULES, 1.0)
    assert ways.waits(last, 1.0) == RULES.cooldown_seconds
    assert ways.order(model, 1.0)[0] is first


def test_a_call_whose_client_left_is_not_under_way_any_more(catalog: Catalog) -> None:
    model = replace(catalog.models["opus"], served_by=(HERE, AWAY), balance="latency")
    health, balance = Health(), Balance()
    ways = RequestWays(health, balance, "", "d1")
    for binding in (HERE, AWAY):
        balance.served(model, binding, "", 1.0 if binding is HERE else 1.2, 0.0)
    ways.began(HERE, 0.0)
    assert ways.order(model, 0.0)[0] is AWAY
    ways.abandoned(HERE)
    assert ways.order(model, 0.0)[0] is HERE
    assert health.admits(HERE, RULES, 0.0)
